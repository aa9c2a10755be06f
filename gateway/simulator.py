"""A local provider that speaks OpenAI's and Anthropic's wire: for the demo and for tests.

Usage is honest: prompt tokens are counted with the model family's own encoding over what
was *received*, completion tokens over what was *delivered*, cached tokens by a simulated
prompt cache. ``GET /sim/served`` says what it has served, so that a ledger can be
compared with its provider's own count. Answers are deterministic (``simulator_answer``).

``python -m gateway.simulator --port 9100`` runs it on its own.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from compressor.measure import measure
from compressor.media import media_rule
from compressor.tokens import TokenCounter, load_counter
from gateway.simulator_answer import Answer, answer, cut, prompt_text
from gateway.simulator_cache import PromptCache
from gateway.simulator_media import MEDIA, make
from gateway.simulator_reader import answer_from_notes
from gateway.simulator_reply import Choice, Served, chat_error
from gateway.simulator_routes import STORED, WIRES, SimWire
from gateway.simulator_store import SimStore
from gateway.simulator_wire import SimError, SimRequest, parse_body

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Clock = Callable[[], float]

_JSON = (b"content-type", b"application/json")
_SSE = (b"content-type", b"text/event-stream; charset=utf-8")
_INLINE_BYTES = 32_768


@dataclass(frozen=True, slots=True)
class SimSettings:
    """What the provider is like.

    ``models`` maps a model name to its context window in tokens; empty means any name is
    served with a window of 1,048,576. ``ttft_ms``, ``prefill_ms_per_1k`` and
    ``per_token_ms`` are latencies in milliseconds. ``api_key``: the only key accepted,
    None for any. ``max_output`` is the completion limit where a body names none, tokens.
    ``reads`` plants an effective context: tokens up to which the questions of a probe are
    answered right, by kind of reading; ``noise`` is the share of wrong answers within it.
    """

    models: Mapping[str, int] = field(default_factory=dict)
    encoding: str = "o200k_base"
    ttft_ms: float = 0.0
    prefill_ms_per_1k: float = 0.0
    per_token_ms: float = 0.0
    cache_ttl_s: float = 300.0
    api_key: str | None = None
    max_output: int = 4096
    reads: Mapping[str, int] = field(default_factory=dict)
    noise: float = 0.0


@dataclass(slots=True)
class Tally:
    """What one model has served; the prompt includes cached tokens."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    completion_tokens: int = 0


class Simulator:
    """The provider as an ASGI application; ``tallies`` holds what it served, by model.

    ``clock`` gives UTC epoch seconds; it dates replies and ages the prompt cache.
    """

    def __init__(self, settings: SimSettings, counter: TokenCounter, clock: Clock) -> None:
        self._settings, self._counter, self._clock = settings, counter, clock
        self._cache = PromptCache(counter, settings.cache_ttl_s)
        self._media = media_rule("openai_tiles")
        self._serial = 0
        self._last_headers: dict[str, str] = {}
        self._store = SimStore(self._serve_row, clock)
        self.tallies: dict[str, Tally] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    def served(self) -> dict[str, Any]:
        """What was served so far, as ``GET /sim/served`` says it."""
        return {
            "requests": sum(tally.requests for tally in self.tallies.values()),
            "models": {model: asdict(tally) for model, tally in sorted(self.tallies.items())},
        }

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        wire = WIRES.get(path.removesuffix("/count_tokens"))
        if method == "GET" and path == "/sim/served":
            await _reply(send, 200, json.dumps(self.served()).encode())
        elif method == "GET" and path == "/sim/headers":
            await _reply(send, 200, json.dumps(self._last_headers).encode())
        elif method == "GET" and path == "/v1/models":
            await _reply(send, 200, json.dumps(self._model_list()).encode())
        elif method == "POST" and wire is not None:
            await self._generate(wire, scope, receive, send)
        elif path.startswith(STORED + MEDIA):
            await self._stored(scope, receive, send)
        else:
            message = f"Invalid URL ({method} {path})"
            await _reply(send, 404, chat_error(SimError(message, status=404)))

    def _model_list(self) -> dict[str, Any]:
        names = self._settings.models or self.tallies
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "simulator"}
            for name in sorted(names)
        ]
        return {"object": "list", "data": data}

    async def _generate(self, wire: SimWire, scope: Scope, receive: Receive, send: Send) -> None:
        self._last_headers = {k.decode(): v.decode("latin-1") for k, v in scope["headers"]}
        raw = await _read(receive)
        if raw is None:
            return
        try:
            account = self._account(scope)
            large = len(raw) > _INLINE_BYTES
            work = (wire, raw, scope["path"].endswith("/count_tokens"))
            made = await asyncio.to_thread(self._make, *work) if large else self._make(*work)
        except SimError as refused:
            await _reply(send, refused.status, wire.error(refused))
            return
        if isinstance(made, bytes):
            await _reply(send, 200, made)
            return
        request, served = made
        served = self._with_cache(wire, account, request, served)
        wait_ms = self._settings.ttft_ms
        wait_ms += self._settings.prefill_ms_per_1k * served.prompt_tokens / 1000
        if wait_ms:
            await asyncio.sleep(wait_ms / 1000)
        if request.stream:
            await self._stream(wire, request, served, (receive, send))
            return
        if self._settings.per_token_ms:
            await asyncio.sleep(self._settings.per_token_ms * served.completion_tokens / 1000)
        self._tally(served, served.completion_tokens)
        await _reply(send, 200, wire.body(served, request), (_JSON, _id_header(served)))

    async def _stored(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Files, batches, pictures and sound."""
        raw = await _read(receive)
        if raw is None:
            return
        headers = {k.decode(): v.decode("latin-1") for k, v in scope["headers"]}
        try:
            self._account(scope)
            work = (scope["method"], scope["path"], raw, headers)
            made = self._made if scope["path"].startswith(MEDIA) else self._store.answer
            status, kind, body = await asyncio.to_thread(lambda: made(*work))
        except SimError as refused:
            await _reply(send, refused.status, chat_error(refused))
            return
        await _reply(send, status, body, ((b"content-type", kind),))

    def _made(
        self, _: str, path: str, raw: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes, bytes]:
        """Pictures and sound, counted."""
        made = make(path, raw, headers.get("content-type", ""), self._counter.count)
        tally = self.tallies.setdefault(made.model, Tally())
        tally.requests += 1
        tally.prompt_tokens += made.prompt_tokens
        tally.completion_tokens += made.completion_tokens
        return 200, made.kind, made.body

    def _serve_row(self, path: str, raw: bytes) -> tuple[int, dict[str, Any]]:
        """One row of a batch, served and counted."""
        wire = WIRES[path]
        try:
            made = self._make(wire, raw, only_count=False)
        except SimError as refused:
            return refused.status, json.loads(wire.error(refused))
        if isinstance(made, bytes):
            raise TypeError("a row of a batch is never only counted")
        request, served = made
        served = replace(served, id=f"{wire.prefix}row", created=int(self._clock()))
        self._tally(served, served.completion_tokens)
        return 200, json.loads(wire.body(served, request))

    def _account(self, scope: Scope) -> str:
        headers = dict(scope["headers"])
        secret = headers.get(b"x-api-key") or headers.get(b"authorization", b"")
        key = str(secret, "latin-1").removeprefix("Bearer ").strip()
        if self._settings.api_key is not None and key != self._settings.api_key:
            raise SimError("Incorrect API key provided.", code="invalid_api_key", status=401)
        return key

    def _make(
        self, wire: SimWire, raw: bytes, only_count: bool
    ) -> bytes | tuple[SimRequest, Served]:
        """Parse, count, answer; touches nothing that another request sees."""
        body = parse_body(raw)
        if only_count:
            body = {"max_tokens": 1, **body}
        request = wire.parse(body)
        window = self._settings.models.get(request.model, 0 if self._settings.models else 1_048_576)
        if not window:
            raise SimError(
                f"The model `{request.model}` does not exist or you do not have access to it.",
                code="model_not_found",
                status=404,
            )
        prompt_tokens = measure(request.conversation, self._counter, self._media).prompt_tokens
        if only_count:
            return json.dumps({"input_tokens": prompt_tokens}).encode()
        if prompt_tokens > window:
            raise SimError(
                f"This model's maximum context length is {window} tokens. However, your "
                f"messages resulted in {prompt_tokens} tokens. Please reduce the length of "
                f"the messages.",
                param="messages",
                code="context_length_exceeded",
            )
        said = answer_from_notes(
            prompt_text(request), prompt_tokens, self._settings.reads, self._settings.noise
        )
        choices = tuple(self._choice(request, index, said) for index in range(request.choices))
        return request, Served("", 0, request.model, choices, prompt_tokens, 0, 0)

    def _choice(self, request: SimRequest, index: int, said: str | None) -> Choice:
        made = answer(request, index) if said is None else Answer(said)
        limit = request.max_tokens or self._settings.max_output
        thought = made.reasoning_tokens
        if thought >= limit:
            return Choice(replace(made, text="", calls=(), reasoning_tokens=limit), limit, "length")
        if made.calls:
            tokens = thought + sum(
                self._counter.count(f"{c.name}\n{c.arguments}") for c in made.calls
            )
            if tokens > limit:  # the call was cut before it was whole
                return Choice(replace(made, calls=()), limit, "length")
            return Choice(made, tokens, "tool_calls")
        text = cut(made.text, limit - thought, self._counter)
        tokens = thought + self._counter.count(text)
        return Choice(replace(made, text=text), tokens, "stop" if text == made.text else "length")

    def _with_cache(
        self, wire: SimWire, account: str, request: SimRequest, served: Served
    ) -> Served:
        """``served`` with its id, date and what the prompt cache read and wrote."""
        self._serial += 1
        now = self._clock()
        digest = hashlib.blake2b(f"{self._serial}:{now}".encode(), digest_size=12).hexdigest()
        served = replace(served, id=wire.prefix + digest, created=int(now))
        key = (account, request.model)
        use = (
            self._cache.explicit(key, request.conversation, request.cache_marks, now)
            if wire.explicit_cache
            else self._cache.automatic(key, request.conversation, served.prompt_tokens, now)
        )
        return replace(served, cached_tokens=use.read, cache_write_tokens=use.written)

    async def _stream(
        self, wire: SimWire, request: SimRequest, served: Served, ends: tuple[Receive, Send]
    ) -> None:
        """Send the events; a client that leaves is billed for what was made until then."""
        receive, send = ends
        left = asyncio.ensure_future(_until_gone(receive))
        delivered = 0
        start = {"type": "http.response.start", "status": 200}
        await send({**start, "headers": [_SSE, _id_header(served)]})
        try:
            for event in wire.events(served, request):
                if self._settings.per_token_ms and event.tokens:
                    await asyncio.sleep(self._settings.per_token_ms * event.tokens / 1000)
                if left.done():
                    return
                delivered += event.tokens
                await send({"type": "http.response.body", "body": event.data, "more_body": True})
            delivered = served.completion_tokens
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            left.cancel()
            self._tally(served, delivered)

    def _tally(self, served: Served, completion_tokens: int) -> None:
        tally = self.tallies.setdefault(served.model, Tally())
        tally.requests += 1
        tally.prompt_tokens += served.prompt_tokens
        tally.cached_tokens += served.cached_tokens
        tally.cache_write_tokens += served.cache_write_tokens
        tally.completion_tokens += completion_tokens


def create_simulator(settings: SimSettings, clock: Clock) -> Simulator:
    """The provider, its encoding loaded.

    Raises:
        compressor.errors.UnknownEncoding: ``settings.encoding`` is not packaged.
    """
    return Simulator(settings, load_counter(settings.encoding), clock)


def _id_header(served: Served) -> tuple[bytes, bytes]:
    return (b"x-request-id", served.id.encode())


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or None when the client left while sending it."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _reply(
    send: Send, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = (_JSON,)
) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _lengths(text: str) -> dict[str, int]:
    """``literal=20000,multi=8000`` as a mapping."""
    pairs = (pair.split("=", 1) for pair in text.split(",") if pair)
    return {kind: int(tokens) for kind, tokens in pairs}


def main() -> None:
    """Run the simulator until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m gateway.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--fd", type=int, default=None, help="a bound socket, instead of a port")
    parser.add_argument("--ttft-ms", type=float, default=0.0)
    parser.add_argument("--prefill-ms-per-1k", type=float, default=0.0)
    parser.add_argument("--per-token-ms", type=float, default=0.0)
    parser.add_argument(
        "--reads", default="", help="planted effective context: literal=20000,multi=8000"
    )
    parser.add_argument("--noise", type=float, default=0.0, help="wrong answers within it, share")
    parser.add_argument("--api-key", default=None, help="the only key accepted (default: any)")
    options = parser.parse_args()
    import uvicorn

    settings = SimSettings(
        ttft_ms=options.ttft_ms,
        prefill_ms_per_1k=options.prefill_ms_per_1k,
        per_token_ms=options.per_token_ms,
        api_key=options.api_key,
        reads=_lengths(options.reads),
        noise=options.noise,
    )
    app = create_simulator(settings, lambda: time.time_ns() / 1e9)
    config = uvicorn.Config(app, host=options.host, port=options.port, log_level="warning")
    given = None if options.fd is None else [socket.socket(fileno=options.fd)]
    uvicorn.Server(config).run(sockets=given)


if __name__ == "__main__":
    main()

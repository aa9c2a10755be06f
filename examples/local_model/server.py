"""An OpenAI-wire server around any transformers chat model, small enough to read at once.

    python examples/local_model/server.py --model .cache/local-model --port 8100

POST /v1/chat/completions (streaming or not), GET /v1/models, GET /healthz. One reply is
generated at a time; a few requests may wait, more are told to come back (503). A client
that goes away stops its generation. For real load use vLLM: the wire is the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from engine import DTYPES, Ask, CannotServe, Engine, Outcome, Prompt
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from wire import assistant_message, error_body, parse_ask, wants_usage

BODY_BYTES = 8 * 2**20
RETRY_AFTER_S = 5
POLL_S = 0.25

log = logging.getLogger("local_model")


@dataclass(slots=True)
class Reply:
    """One reply in the making; ``pieces`` ends with None, then ``outcome`` is set."""

    prompt: Prompt
    pieces: asyncio.Queue[str | None]
    cancelled: threading.Event = field(default_factory=threading.Event)
    outcome: Outcome | None = None
    failure: str | None = None

    def usage(self) -> dict[str, int]:
        """Tokens as OpenAI reports them."""
        made = self.outcome.completion_tokens if self.outcome is not None else 0
        return {
            "prompt_tokens": self.prompt.tokens,
            "completion_tokens": made,
            "total_tokens": self.prompt.tokens + made,
        }


class Desk:
    """Lets one generation run and ``waiting`` others queue."""

    def __init__(self, engine: Engine, waiting: int) -> None:
        self.engine = engine
        self._places = waiting + 1
        self._taken = 0
        self._turn = asyncio.Semaphore(1)

    @property
    def full(self) -> bool:
        """Whether one more request would wait too long."""
        return self._taken >= self._places

    async def start(self, ask: Ask, gone: Callable[[], Any]) -> Reply | None:
        """A reply whose generation has begun; None if the client left while it waited."""
        self._taken += 1
        try:
            prompt = await asyncio.to_thread(self.engine.prepare, ask)
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._turn.acquire(), POLL_S)
                    break
                if await gone():
                    self._taken -= 1
                    return None
        except BaseException:
            self._taken -= 1
            raise
        reply = Reply(prompt, asyncio.Queue())
        loop = asyncio.get_running_loop()
        worker = loop.run_in_executor(None, self._run, ask, reply, loop)
        worker.add_done_callback(lambda _: self._done(reply))
        return reply

    def _run(self, ask: Ask, reply: Reply, loop: asyncio.AbstractEventLoop) -> None:
        def emit(text: str) -> None:
            if text:
                loop.call_soon_threadsafe(reply.pieces.put_nowait, text)

        try:
            reply.outcome = self.engine.generate(ask, reply.prompt, emit, reply.cancelled)
        except Exception:
            log.exception("a generation failed")
            reply.failure = "the generation failed; the server's log says why"

    def _done(self, reply: Reply) -> None:
        self._taken -= 1
        self._turn.release()
        reply.pieces.put_nowait(None)


def create_app(desk: Desk, model_name: str, clock_ns: Callable[[], int]) -> FastAPI:
    """The HTTP application; ``clock_ns`` gives UTC epoch nanoseconds."""
    app = FastAPI(title="local model", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        return {"status": "ok", "model": model_name, "busy": desk.full}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        listed = {"id": model_name, "object": "model", "created": 0, "owned_by": "local"}
        return {"object": "list", "data": [listed]}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        try:
            body = json.loads(await limited_body(request))
            ask = parse_ask(body)
            if desk.full:
                return busy()
            reply = await desk.start(ask, request.is_disconnected)
        except CannotServe as error:
            return fault(400, str(error), error.code)
        except (ValueError, RecursionError) as error:
            return fault(400, f"the body is not JSON: {error}", "invalid_json")
        if reply is None:
            return Response(status_code=499)
        head = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": clock_ns() // 10**9,
            "model": model_name,
        }
        if body.get("stream") is True:
            events = stream(reply, head, tools=bool(ask.tools), usage=wants_usage(body))
            return StreamingResponse(events, media_type="text/event-stream")
        return await whole(request, reply, head, tools=bool(ask.tools))

    return app


async def limited_body(request: Request) -> bytes:
    """The request's body, at most 8 MB of it."""
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > BODY_BYTES:
            raise CannotServe(f"the body is larger than {BODY_BYTES} bytes", "too_large")
    return bytes(body)


async def whole(request: Request, reply: Reply, head: dict[str, Any], *, tools: bool) -> Response:
    """The reply as one JSON object; stops generating when the client is gone."""
    text = ""
    try:
        while True:
            try:
                piece = await asyncio.wait_for(reply.pieces.get(), POLL_S)
            except TimeoutError:
                if await request.is_disconnected():
                    return Response(status_code=499)
                continue
            if piece is None:
                break
            text += piece
    finally:
        reply.cancelled.set()
    if reply.outcome is None:
        return fault(500, reply.failure or "the generation failed", "server_error")
    message, called = assistant_message(text, tools=tools, request_id=head["id"][9:17])
    finish = "tool_calls" if called else reply.outcome.finish
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return JSONResponse(
        {**head, "object": "chat.completion", "choices": [choice], "usage": reply.usage()}
    )


async def stream(
    reply: Reply, head: dict[str, Any], *, tools: bool, usage: bool
) -> AsyncIterator[bytes]:
    """The reply as server-sent events; leaving early stops the generation."""

    def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = {**head, "object": "chat.completion.chunk", "choices": [choice]}
        return sse({**chunk, "usage": None} if usage else chunk)

    text = ""
    try:
        yield event({"role": "assistant", "content": ""})
        while (piece := await reply.pieces.get()) is not None:
            text += piece
            if not tools:
                yield event({"content": piece})
        if reply.outcome is None:
            yield sse(error_body(reply.failure or "the generation failed", "server_error"))
            return
        finish = reply.outcome.finish
        if tools:  # a call can be told from text only when it is complete
            message, called = assistant_message(text, tools=True, request_id=head["id"][9:17])
            calls = [{"index": n, **call} for n, call in enumerate(message.get("tool_calls", []))]
            yield event({"content": message["content"], **({"tool_calls": calls} if calls else {})})
            finish = "tool_calls" if called else finish
        yield event({}, finish)
        if usage:
            end = {**head, "object": "chat.completion.chunk", "choices": []}
            yield sse({**end, "usage": reply.usage()})
        yield b"data: [DONE]\n\n"
    finally:
        reply.cancelled.set()


def sse(value: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"


def fault(status: int, message: str, code: str) -> JSONResponse:
    """An error reply."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse(error_body(message, kind, code), status)


def busy() -> JSONResponse:
    """The reply to one request too many."""
    body = error_body("too many requests are waiting for the model", "server_error", "overloaded")
    return JSONResponse(body, 503, {"retry-after": str(RETRY_AFTER_S)})


def main() -> int:
    """Load the model, listen, serve until a signal; 0, or 2 where it cannot start."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a transformers model folder")
    parser.add_argument("--name", help="the model's name on the wire (the folder's name)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8100, help="0 takes a free one")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=DTYPES, default="auto")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--max-new", type=int, default=1024, help="most tokens of one reply")
    parser.add_argument("--waiting", type=int, default=4, help="requests that may queue")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
        engine = Engine(options.model, options.device, options.dtype, options.max_new)
    except (OSError, ValueError, ImportError) as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 2
    name = options.name or options.model.resolve().name
    address = f"http://{options.host}:{listener.getsockname()[1]}/v1"
    print(f"serving {name} on {engine.device} at {address}", flush=True)
    app = create_app(Desk(engine, options.waiting), name, time.time_ns)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
    uvicorn.Server(config).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())

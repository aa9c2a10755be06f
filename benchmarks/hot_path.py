"""Where the gateway's own CPU goes: microseconds a request, and a stage, in one process.

    python benchmarks/hot_path.py
    python benchmarks/hot_path.py --size 32768 --profile 40
    python benchmarks/hot_path.py --only 60     # that many requests and no more, for a counter

No sockets: the ASGI application is called as a server would call it, with a provider that
answers from memory, everything on (authentication, exact counts, features, decision, hold,
settlement, receipt, metrics). Every request has another text. CPU of the process, the
ledger's writer thread included; a figure is the least of many short blocks, which a busy
machine disturbs least, with the median beside it. Stages are timed inside whole requests: alone and
in a loop, their code and data already in the processor's caches, they cost half as much.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import random
import statistics
import tempfile
import time
import types
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import uvloop

from gateway import aside, auth, pipeline, prepare, settle
from gateway import headers as header_rules
from gateway.app import App, create_app
from gateway.auth import hash_of, new_secret
from gateway.settings import parse as parse_settings
from gateway.shell import Shell
from gateway.upstream import failover
from gateway.upstream.protocol import Outbound
from gateway.wire.protocol import Wire
from gateway.wire.registry import WIRES

_CONFIG = """\
version: 1
database: sqlite:///{folder}/weir.db
upstreams:
  mock: {{ kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: k, provider: openai }}
models:
  gpt-6-luna: {{ upstream: mock, tier: small }}
  gpt-6.1-sol: {{ upstream: mock, tier: mid }}
  gpt-5-mini: {{ upstream: mock, tier: small }}
routing: {{ mode: route, baseline: gpt-6.1-sol }}
budget: 1000000 per month
teams: {{ bench: {{ budget: 900000 per month, keys: [bench] }} }}
keys: {{ bench: "{hash}" }}
"""
_SENTENCES = (
    "The gauge at the lower weir shows the level of the river each morning.",
    "When the flow rises above the notice mark, the upper gate is opened.",
    "Our team has to answer forty customers before noon and two are on leave.",
    "Please keep the tone friendly and mention the discount of 15 percent.",
    "The invoice INV-20391 was sent to accounts@example.com on 3 March 2024.",
    "She said that the shipment would arrive in Hamburg by the end of the week.",
    "A pump moves 12.5 litres a second while the valve is half open.",
    "Nobody had told the engineer that the sensor was replaced in the spring.",
    "The function returns None where the configuration has no such key.",
    "It was raining in Lisbon, and the conference started an hour late.",
    "What should I tell Maria about the renewal of the contract?",
    "Compare both offers and say which one is better for a small office.",
)
_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-6-luna",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "A low dam that regulates a river."},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 200,
        "completion_tokens": 8,
        "total_tokens": 208,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
}
_BLOCK = 40


class _Opened:
    """An answer from memory: whole, or one event a chunk."""

    status = 200

    def __init__(self, body: bytes, events: list[bytes] | None) -> None:
        self._body, self._events = body, events
        kind = "application/json" if events is None else "text/event-stream"
        self.headers: Mapping[str, str] = {"content-type": kind}

    async def read(self) -> bytes:
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        for event in self._events or ():
            yield event

    async def close(self) -> None:
        return


class _Upstream:
    """A provider that answers from memory."""

    name = "mock"

    def __init__(self, chunks: int) -> None:
        self._body = json.dumps(_ANSWER).encode()
        self._events = list(_events(chunks))

    async def send(self, call: Outbound) -> _Opened:
        return _Opened(self._body, self._events if call.stream else None)

    async def close(self) -> None:
        return


def _events(chunks: int) -> Iterator[bytes]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    for number in range(chunks):
        choice = {"index": 0, "delta": {"content": f" word{number}"}, "finish_reason": None}
        yield b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"
    choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
    yield b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"
    usage = {**head, "choices": [], "usage": _ANSWER["usage"]}
    yield b"data: " + json.dumps(usage).encode() + b"\n\ndata: [DONE]\n\n"


def bodies(size: int, *, stream: bool, lot: int = 0) -> Iterator[bytes]:
    """Endless different bodies of about ``size`` bytes; no two lots share one.

    A text that comes again is counted from memory, and tells the gateway that its first answer
    was no good, so each part of a measurement has a lot of its own.
    """
    rng = random.Random(7)
    number = 0
    while True:
        number += 1
        text = [f"Case {lot}/{number}:"]
        left = size - 330
        while left > 0:
            sentence = rng.choice(_SENTENCES)
            text.append(sentence)
            left -= len(sentence) + 1
        messages = [
            {"role": "system", "content": "You help the staff of a town. Answer in short."},
            {"role": "user", "content": " ".join(text) + f" What is asked in case {lot}/{number}?"},
        ]
        body = {"model": "gpt-6.1-sol", "messages": messages, "max_tokens": 64}
        yield json.dumps({**body, "stream": True} if stream else body).encode()


class Bench:
    """The application and what a server would hand it."""

    def __init__(self, app: App, secret: str, source: Iterator[bytes]) -> None:
        self.app, self.source = app, source
        self.headers = [
            (b"host", b"127.0.0.1"),
            (b"authorization", f"Bearer {secret}".encode()),
            (b"content-type", b"application/json"),
        ]
        self._never = asyncio.Event()

    async def request(self, raw: bytes) -> None:
        """One request through the whole application."""
        told = False

        async def receive() -> MutableMapping[str, Any]:
            nonlocal told
            if told:
                await self._never.wait()
            told = True
            return {"type": "http.request", "body": raw, "more_body": False}

        scope = {
            "type": "http",
            "path": "/v1/chat/completions",
            "method": "POST",
            "headers": self.headers,
        }
        await self.app(scope, receive, _checked)

    async def block(self) -> float:
        """CPU of one block of requests, microseconds a request."""
        work = [next(self.source) for _ in range(_BLOCK)]
        began = time.process_time()
        for raw in work:
            await self.request(raw)
        return (time.process_time() - began) / _BLOCK * 1e6


async def _checked(message: MutableMapping[str, Any]) -> None:
    if message["type"] == "http.response.start" and message["status"] != 200:
        raise SystemExit(f"a request failed with status {message['status']}")


class Timers:
    """CPU of each stage inside whole requests, caches as cold as they are there."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def watch(self, label: str, owner: object, name: str) -> None:
        """Time every call of ``owner.name`` from now on."""
        work: Callable[..., Any] = getattr(owner, name)
        self.spent[label] = 0.0

        def timed(*args: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return work(*args, **named)
            finally:
                self.spent[label] += time.thread_time() - began

        setattr(owner, name, timed)


def watched(shell: Shell) -> Timers:
    """Timers of every stage; they do not overlap."""
    timers = Timers()
    parse = types.SimpleNamespace(parse=WIRES["chat"].parse)
    timers.watch("parse", parse, "parse")
    wires = cast("dict[str, Wire]", WIRES)
    wires["chat"] = replace(WIRES["chat"], parse=parse.parse)
    for label, owner, name in (
        ("headers in", header_rules, "read"),
        ("key", auth, "identify"),
        ("session, brake", pipeline, "_question"),
        ("count", aside, "measure"),
        ("features, score", shell.snapshot.complexity, "score"),
        ("kind of question", prepare, "classify"),
        ("decide", prepare, "decide"),
        ("fit, body, record", prepare, "carry_out"),
        ("worst case", pipeline, "worst_case"),
        ("hold", shell.ledger, "hold"),
        ("read the answer", failover, "read_plain"),
        ("receipt", settle, "_receipt"),
        ("settle", shell.ledger, "settle"),
        ("metrics", shell.telemetry, "settled"),
        ("tightest budget", shell.ledger, "tightest"),
        ("headers out", pipeline, "weir_headers"),
    ):
        timers.watch(label, owner, name)
    return timers


async def stages(bench: Bench, count: int) -> dict[str, list[float]]:
    """Microseconds a request of each stage, one value a block."""
    timers = watched(bench.app.shell)
    found: dict[str, list[float]] = {label: [] for label in timers.spent}
    found["all the rest"] = []
    for _ in range(count):
        before = dict(timers.spent)
        whole = await bench.block()
        values = {k: (v - before[k]) / _BLOCK * 1e6 for k, v in timers.spent.items()}
        for label, value in values.items():
            found[label].append(value)
        found["all the rest"].append(whole - sum(values.values()))
    return found


async def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    secret = new_secret()
    with tempfile.TemporaryDirectory() as folder:
        text = _CONFIG.format(folder=folder, hash=hash_of(secret))
        settings = parse_settings(text, str(Path(folder) / "weir.yaml"))
        app = create_app(settings, upstreams={"mock": _Upstream(options.chunks)})
        await app.start()
        bench = Bench(app, secret, bodies(options.size, stream=False))
        for _ in range(options.only):
            await bench.request(next(bench.source))
        if not options.only:
            await _measured(bench, options)
        await app.stop()


async def _measured(bench: Bench, options: argparse.Namespace) -> None:
    for _ in range(5):
        await bench.block()
    whole = [await bench.block() for _ in range(options.blocks)]
    _print("the whole request", whole)
    if options.chunks:
        bench.source = bodies(options.size, stream=True, lot=1)
        streamed = [await bench.block() for _ in range(max(8, options.blocks // 4))]
        _print(f"a stream of {options.chunks} chunks", streamed)
        added = (min(streamed) - min(whole)) / options.chunks
        print(f"{'  a chunk':<28} {added:8.1f} us")
    bench.source = bodies(options.size, stream=False, lot=2)
    if options.profile:
        await _profiled(bench, options)
    print("of which, in whole requests:")
    for name, values in (await stages(bench, options.blocks)).items():
        _print(f"  {name}", values)


async def _profiled(bench: Bench, options: argparse.Namespace) -> None:
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(options.blocks):
        await bench.block()
    profiler.disable()
    pstats.Stats(profiler).sort_stats(options.sort).print_stats(options.profile)


def _print(name: str, values: list[float]) -> None:
    print(f"{name:<28} {min(values):8.1f} us least {statistics.median(values):8.1f} us median")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1024, help="bytes of a request's body")
    parser.add_argument("--blocks", type=int, default=60, help="blocks of 40 requests")
    parser.add_argument("--chunks", type=int, default=50, help="of a stream; 0: none")
    parser.add_argument("--profile", type=int, default=0, help="lines of a profile to print")
    parser.add_argument("--only", type=int, default=0, help="requests to send, nothing measured")
    parser.add_argument("--sort", default="tottime", help="order of the profile")
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()

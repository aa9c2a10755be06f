"""Fakes at the edges: an upstream whose every fault is scripted, on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from gateway.upstream.protocol import Outbound

Fault = Callable[[asyncio.StreamWriter, asyncio.StreamReader, Mapping[str, Any]], Awaitable[None]]
USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}


def completion(text: str = "All is well.", usage: object = None) -> bytes:
    """A whole chat answer."""
    return json.dumps(
        {
            "id": "chatcmpl-f",
            "object": "chat.completion",
            "created": 1,
            "model": "fault",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                }
            ],
            "usage": USAGE if usage is None else usage,
        }
    ).encode()


def event(text: str | None = None, finish: str | None = None, **more: object) -> bytes:
    """One event of a chat stream."""
    data = {
        "id": "chatcmpl-f",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "fault",
        "choices": [
            {
                "index": 0,
                "delta": {} if text is None else {"content": text},
                "finish_reason": finish,
            }
        ],
        **more,
    }
    return b"data: " + json.dumps(data).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
FIVE = [event(f"word{n} ") for n in range(5)]
END = event(finish="stop")


def usage_event(usage: object) -> bytes:
    """The last event of a stream whose usage was asked for."""
    return event(choices=[], usage=usage)


def head(status: int, kind: str = "application/json", *more: str) -> bytes:
    """A status line and headers."""
    lines = [f"HTTP/1.1 {status} Status", f"Content-Type: {kind}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def plain(status: int, body: bytes, *headers: str, kind: str = "application/json") -> Fault:
    """A whole answer."""

    async def answer(
        writer: asyncio.StreamWriter, _: asyncio.StreamReader, __: Mapping[str, Any]
    ) -> None:
        writer.write(head(status, kind, f"Content-Length: {len(body)}", *headers) + body)

    return answer


def sse(*pieces: bytes, chunked: bool = True, cut: bool = False, wait_s: float = 0.01) -> Fault:
    """A stream of these pieces; ``cut`` resets the connection where its end should be."""

    async def answer(
        writer: asyncio.StreamWriter, _: asyncio.StreamReader, __: Mapping[str, Any]
    ) -> None:
        framing = "Transfer-Encoding: chunked" if chunked else "Connection: close"
        writer.write(head(200, "text/event-stream", framing))
        for piece in pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
            await asyncio.sleep(wait_s)
        if cut:
            writer.transport.abort()
        elif chunked:
            writer.write(b"0\r\n\r\n")
        else:
            writer.close()

    return answer


async def reset(
    writer: asyncio.StreamWriter, _: asyncio.StreamReader, __: Mapping[str, Any]
) -> None:
    """The connection is reset before any byte."""
    writer.transport.abort()


async def cut_body(
    writer: asyncio.StreamWriter, _: asyncio.StreamReader, __: Mapping[str, Any]
) -> None:
    """Half of the announced body, then the end."""
    body = completion()
    writer.write(head(200, "application/json", f"Content-Length: {len(body)}") + body[:40])
    await writer.drain()
    writer.close()


async def silent(
    writer: asyncio.StreamWriter, reader: asyncio.StreamReader, _: Mapping[str, Any]
) -> None:
    """No answer at all, until the other side goes."""
    await reader.read(1)


async def drip(
    writer: asyncio.StreamWriter, _: asyncio.StreamReader, __: Mapping[str, Any]
) -> None:
    """A header line every little while, never the end of them."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    with contextlib.suppress(ConnectionError):
        for n in range(100):
            writer.write(f"X-Drip-{n}: x\r\n".encode())
            await writer.drain()
            await asyncio.sleep(0.2)


def stall(*pieces: bytes) -> Fault:
    """A stream that falls silent after these pieces, until the other side goes."""

    async def answer(
        writer: asyncio.StreamWriter, reader: asyncio.StreamReader, _: Mapping[str, Any]
    ) -> None:
        writer.write(head(200, "text/event-stream", "Connection: close"))
        for piece in pieces:
            writer.write(piece)
        await writer.drain()
        await reader.read(1)

    return answer


async def endless(
    writer: asyncio.StreamWriter, _: asyncio.StreamReader, __: Mapping[str, Any]
) -> None:
    """A stream that goes on until somebody closes it."""
    writer.write(head(200, "text/event-stream", "Connection: close"))
    with contextlib.suppress(ConnectionError):
        for n in range(10_000):
            writer.write(event(f"w{n} "))
            await writer.drain()
            await asyncio.sleep(0.02)


def error(status: int, code: str, *headers: str) -> Fault:
    """A provider's JSON error."""
    body = {"error": {"message": f"upstream says {code}", "type": "t", "param": None, "code": code}}
    return plain(status, json.dumps(body).encode(), *headers)


def html(status: int) -> Fault:
    """A proxy's error page."""
    return plain(status, b"<html><body>Bad gateway</body></html>", kind="text/html")


GZIPPED = gzip.compress(b"".join([*FIVE, END, usage_event(USAGE), DONE]))

FAULTS: Mapping[str, Fault] = {
    "fine": plain(200, completion(), "Set-Cookie: a=b", "x-request-id: req_1", "X-Internal: no"),
    "no-usage": plain(200, completion(usage={})),
    "reset": reset,
    "e400": error(400, "bad_field"),
    "e401": plain(
        401,
        b'{"error":{"message":"Incorrect API key provided: sk-fault-secret","code":"k"}}',
    ),
    "e400-secret": plain(400, b'{"error":{"message":"no: sk-fault-secret","code":"k"}}'),
    "e404": error(404, "model_not_found"),
    "e408": error(408, "timeout"),
    "e429": error(429, "rate_limit_exceeded", "Retry-After: 17"),
    "e500": error(500, "server_error"),
    "e503": error(503, "overloaded", "Retry-After: 9"),
    "e504": html(504),
    "html502": html(502),
    "html200": plain(200, b"<html>hello</html>", kind="text/html"),
    "empty200": plain(200, b""),
    "list200": plain(200, b"[]"),
    "hollow200": plain(200, b"{}"),
    "error200": error(200, "server_error"),
    "redirect": plain(302, b"", "Location: http://127.0.0.1:1/v1/chat/completions"),
    "cut-body": cut_body,
    "not-gzip": plain(200, completion(), "Content-Encoding: gzip"),
    "gzip": plain(200, gzip.compress(completion()), "Content-Encoding: gzip"),
    "silent": silent,
    "drip": drip,
    "absurd-negative": plain(200, completion(usage={"prompt_tokens": -5, "completion_tokens": 1})),
    "absurd-text": plain(200, completion(usage={"prompt_tokens": "many", "completion_tokens": []})),
    "absurd-huge": plain(
        200, completion(usage={"prompt_tokens": 10**30, "completion_tokens": 10**30})
    ),
    "s-fine": sse(*FIVE, END, usage_event(USAGE), DONE),
    "s-close": sse(*FIVE, END, usage_event(USAGE), DONE, chunked=False),
    "s-glued": sse(b": hello\n\n", b"".join([*FIVE, END, usage_event(USAGE), DONE])),
    "s-crlf": sse(b"".join([*FIVE, END, usage_event(USAGE), DONE]).replace(b"\n", b"\r\n")),
    "s-gzip": plain(200, GZIPPED, "Content-Encoding: gzip", kind="text/event-stream"),
    "s-no-usage": sse(*FIVE, END, DONE),
    "s-absurd": sse(*FIVE, END, usage_event({"prompt_tokens": "x", "completion_tokens": -1}), DONE),
    "s-no-done": sse(*FIVE, END, usage_event(USAGE)),
    "s-clean-cut": sse(*FIVE),
    "s-clean-cut-close": sse(*FIVE, chunked=False),
    "s-clean-cut-once": sse(*FIVE),
    "s-reset": sse(*FIVE, cut=True),
    "s-reset-first": sse(cut=True),
    "s-empty": sse(),
    "s-comments": sse(b": processing\n\n", b": processing\n\n", *FIVE, END, DONE),
    "s-json": plain(200, completion()),
    "s-html": sse(b"<html>nothing here</html>"),
    "s-html-after": sse(*FIVE, b"<html>gone</html>\n\n"),
    "s-malformed-end": sse(*FIVE, b'data: {"id": "chatcmpl-f", "choi'),
    "s-error": sse(*FIVE, b'data: {"error":{"message":"overloaded","code":"server_error"}}\n\n'),
    "s-error-secret": sse(
        *FIVE, b'data: {"error":{"message":"boom sk-fault-secret","code":"server_error"}}\n\n'
    ),
    "s-error-first": sse(b'data: {"error":{"message":"overloaded","code":"server_error"}}\n\n'),
    "s-stall": stall(*FIVE),
    "s-stall-first": stall(),
    "s-endless": endless,
}


class FaultServer:
    """An upstream on a real socket: the `model` of a body names what it does.

    ``calls`` counts requests by model, ``open`` the connections that are open now, by the
    model of their last request; ``bodies`` holds the last body by model.
    """

    def __init__(self, faults: Mapping[str, Fault] = FAULTS) -> None:
        self._faults = faults
        self.calls: Counter[str] = Counter()
        self.open: Counter[str] = Counter()
        self.bodies: dict[str, bytes] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FaultServer:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                model, body = await self._request(reader)
                self.calls[model] += 1
                self.open[model] += 1
                try:
                    await self._faults[model](writer, reader, body)
                    await writer.drain()
                finally:
                    self.open[model] -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(Exception):
                await writer.wait_closed()

    async def _request(self, reader: asyncio.StreamReader) -> tuple[str, Mapping[str, Any]]:
        raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[1:]
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in raw if line)
        }
        data = await reader.readexactly(int(headers["content-length"]))
        body = json.loads(data)
        self.bodies[body["model"]] = data
        self.headers[body["model"]] = headers
        return body["model"], body


class FakeReply:
    """A reply in memory; what is an exception in ``pieces`` is raised in its turn."""

    def __init__(
        self, status: int, pieces: Sequence[bytes | Exception], headers: Mapping[str, str]
    ) -> None:
        self.status, self.headers, self._pieces = status, headers, pieces
        self.closed = False

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces in turn."""
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def close(self) -> None:
        """Remembered."""
        self.closed = True


class FakeUpstream:
    """A provider in memory: answers are given in order, the last one again and again.

    ``during`` is called with each call while it is under way.
    """

    name = "fake"

    def __init__(self, *answers: FakeReply | Exception) -> None:
        self._answers = list(answers)
        self.calls: list[Outbound] = []
        self.during: Callable[[Outbound], object] = lambda call: None

    async def send(self, call: Outbound) -> FakeReply:
        """The next answer."""
        self.calls.append(call)
        seen = self.during(call)
        if isinstance(seen, Awaitable):
            await seen
        answer = self._answers[min(len(self.calls), len(self._answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        """Nothing to close."""


def plain_reply(body: bytes | None = None, status: int = 200, **headers: str) -> FakeReply:
    """A whole answer in memory."""
    return FakeReply(status, [completion() if body is None else body], headers)


def stream_reply(*pieces: bytes | Exception) -> FakeReply:
    """A stream in memory."""
    return FakeReply(200, pieces, {"content-type": "text/event-stream"})

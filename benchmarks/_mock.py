"""A provider as light as possible: fixed replies over httptools, whole or streamed.

It must cost far less than what is measured through it, so it reads of a request only
where it ends and whether it asks for a stream.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any, cast

import httptools
import uvloop

MODEL = "gpt-4.1-mini"
_USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 24,
    "total_tokens": 144,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
_TEXT = "A weir is a low dam that measures and regulates the flow of a river."


def _whole() -> bytes:
    message = {"role": "assistant", "content": _TEXT, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL}
    body = json.dumps({**head, "choices": [choice], "usage": _USAGE}).encode()
    start = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
    return start + str(len(body)).encode() + b"\r\n\r\n" + body


def _framed(payload: bytes) -> bytes:
    event = b"data: " + payload + b"\n\n"
    return f"{len(event):x}\r\n".encode() + event + b"\r\n"


def _events(chunks: int) -> list[bytes]:
    """The chunked events of one stream, the response head in front of the first."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}

    def event(delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _framed(json.dumps({**head, "choices": [choice], "usage": None}).encode())

    start = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    first = start + event({"role": "assistant", "content": ""})
    middle = [event({"content": f" word{i}"}) for i in range(chunks)]
    usage = _framed(json.dumps({**head, "choices": [], "usage": _USAGE}).encode())
    return [first, *middle, event({}, "stop") + usage + _framed(b"[DONE]") + b"0\r\n\r\n"]


class Pace:
    """Seconds between the events of a stream: more where many are open, so that the mock's
    own core is not what is measured."""

    def __init__(self, least: float, per_stream: float = 0.00005) -> None:
        self._least, self._per_stream, self.open = least, per_stream, 0

    def wait(self) -> float:
        """Until the next event."""
        return max(self._least, self.open * self._per_stream)


class Mock(asyncio.Protocol):
    """One connection. A stream's events are written one by one."""

    def __init__(self, whole: bytes, events: list[bytes], pace: Pace) -> None:
        self._whole, self._events, self._pace = whole, events, pace
        self._parser: Any = httptools.HttpRequestParser(self)
        self._streams = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls back."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Look for the stream flag, which stands at the end of the bodies sent here."""
        tail = body[-300:]
        if b'"stream":true' in tail or b'"stream": true' in body[:300] or b'"stream": true' in tail:
            self._streams = True

    def on_message_complete(self) -> None:
        """Answer."""
        if not self._streams:
            self._transport.write(self._whole)
            return
        self._streams = False
        self._pace.open += 1
        self._next(0)

    def _next(self, index: int) -> None:
        closing = self._transport.is_closing()
        if not closing:
            self._transport.write(self._events[index])
        if closing or index + 1 == len(self._events):
            self._pace.open -= 1
        else:
            asyncio.get_running_loop().call_later(self._pace.wait(), self._next, index + 1)


async def serve(port: int, chunks: int, interval: float) -> None:
    """Serve until killed."""
    whole, events, pace = _whole(), _events(chunks), Pace(interval)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Mock(whole, events, pace), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--chunks", type=int, default=50)
    parser.add_argument("--interval-ms", type=float, default=5.0)
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.chunks, options.interval_ms / 1000))

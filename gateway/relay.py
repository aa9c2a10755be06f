"""The answer's way back to the client: bytes as they came, facts on the side.

The status line goes out only when the provider's status is known. A cut stream ends with
an error event, never with an invented end; a client that left is noticed at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import orjson

from billing.errors import UsageInvalid
from gateway.errors import BrokenOff, GatewayError, StreamBroken, UpstreamFailed, body_of
from gateway.exchange import Exchange, Reply
from gateway.stream import EventTooLarge
from gateway.upstream.protocol import Opened
from gateway.wire.protocol import Wire

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
HeaderList = Sequence[tuple[bytes, bytes]]

_COMMENT = b": waiting for the provider\n\n"
_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


async def send_plain(send: Send, status: int, headers: HeaderList, body: bytes) -> None:
    """One whole answer."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})


def read_plain(reply: Reply, body: bytes, upstream: str, wire: Wire) -> None:
    """Fill the reply from a whole JSON answer.

    Raises:
        UpstreamFailed: a success that is not JSON, is empty, or carries an error.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        data = None
    if not isinstance(data, dict):
        raise UpstreamFailed(f"upstream {upstream!r} answered 200 with something that is no JSON")
    problem = wire.unsound(data)
    if problem is not None:
        take_usage(reply, data.get("usage"), wire)  # what is no answer may still be billed
        raise UpstreamFailed(f"upstream {upstream!r} answered 200 {problem}")
    said = wire.answer(data)
    take_usage(reply, said.usage, wire)
    reply.response_model = said.model
    reply.service_tier = said.service_tier
    reply.provider_id = said.provider_id
    reply.finish_reason = said.finish_reason
    reply.completed = True
    if reply.keep:
        reply.said = wire.text(data).encode("utf-8", "replace")
    if reply.usage is None:
        reply.text_pieces = [wire.text(data).encode("utf-8", "replace")]


def take_usage(reply: Reply, raw: object, wire: Wire) -> None:
    """Read a provider's usage report; one that is empty or contradicts itself is missing."""
    if not isinstance(raw, dict):
        return
    reply.raw_usage = raw
    try:
        usage = wire.usage(raw)
    except UsageInvalid:
        usage = None
    # No prompt is empty: a report of nothing at all is no report.
    reply.usage = usage if usage is not None and usage.billed_tokens else None


class Heart:
    """Says something on a stream that is silent: a comment, which every reader of events skips.

    Only whole events are sent, so between two sends is always a place for one.
    """

    __slots__ = ("_every_s", "_send", "_task", "_timer", "quiet")

    def __init__(self) -> None:
        self.quiet = True
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Future[None] | None = None

    def start(self, send: Send, every_s: float) -> None:
        """Beat from now on, unless ``every_s`` is 0."""
        if every_s:
            self._send, self._every_s = send, every_s
            self._again()

    def stop(self) -> None:
        """No more beats."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _again(self) -> None:
        self.quiet = True
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._beat)

    def _beat(self) -> None:
        waiting = self._task is not None and not self._task.done()  # a client that does not read
        if self.quiet and not waiting:
            self._task = asyncio.ensure_future(_body(self._send, _COMMENT))
        self._again()


class StreamRelay:
    """One stream from provider to client."""

    def __init__(
        self, ex: Exchange, opened: Opened, wire: Wire, secrets: Sequence[str] = ()
    ) -> None:
        self._ex, self._opened, self._wire = ex, opened, wire
        request = ex.request
        choices = request.facts.choices if request is not None else 1
        hide = wire.asks_usage and request is not None and not request.wants_usage
        self._state = wire.stream(hide_usage=hide, choices=choices, secrets=secrets)
        self._chunks: AsyncIterator[bytes] = opened.chunks()
        self._first: bytes = b""
        self._heart = Heart()

    async def begin(self) -> None:
        """Wait for the first event, while another upstream could still be tried.

        Raises:
            UpstreamFailed: closed, broken or in error before any event.
            UpstreamTimeout: silent for too long.
        """
        state = self._state
        try:
            while not state.events:  # a comment keeps a connection open and says nothing
                chunk = await anext(self._chunks, None)
                if chunk is None:
                    self._first += state.rest()
                    break
                self._first += state.feed(chunk)
        except EventTooLarge as error:
            raise UpstreamFailed(str(error)) from None
        self._ex.reply.ttft_ms = (time.perf_counter() - self._ex.started) * 1000
        if not state.events:
            raise BrokenOff("the upstream closed its stream before the first event")
        if state.error is not None and not state.provider_id:
            self._fill()
            raise UpstreamFailed("the upstream answered 200 with an error as its first event")

    async def run(self, send: Send, headers: HeaderList, heartbeat_s: float = 0.0) -> None:
        """Relay to the end; whatever happens, the reply holds what is known.

        Args:
            heartbeat_s: a comment goes out when nothing else did for so long, so that nobody in
                between takes the connection for dead; 0: never.

        Raises:
            StreamBroken: the stream was cut; the client has been told in the stream.
        """
        reply, heart = self._ex.reply, self._heart
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [*headers, *_STREAM_HEADERS],
                }
            )
            await _body(send, self._first)
            heart.start(send, heartbeat_s)
            broken = await self._pump(send)
            heart.stop()
            if broken is None:
                broken = self._verdict()
            if broken is not None:
                event = self._told(broken)
                await send({"type": "http.response.body", "body": event, "more_body": False})
                reply.outcome = "cut"
                raise broken
            if self._state.whole:
                await _body(send, self._state.closing)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            reply.completed = self._state.whole
        except asyncio.CancelledError:
            if not self._ex.client_gone:  # the drain time is over: the cut must not look whole
                gone = StreamBroken("the answer is incomplete: the gateway is shutting down")
                event = self._told(gone)
                await send({"type": "http.response.body", "body": event, "more_body": False})
            raise
        finally:
            heart.stop()
            self._fill()
            await self._opened.close()

    async def _pump(self, send: Send) -> StreamBroken | None:
        heart = self._heart
        try:
            async for chunk in self._chunks:
                out = self._state.feed(chunk)
                if out:
                    heart.quiet = False
                    await send({"type": "http.response.body", "body": out, "more_body": True})
            await _body(send, self._state.rest())
        except (GatewayError, EventTooLarge) as error:
            return StreamBroken(f"the answer is incomplete: {error}")
        return None

    def _told(self, error: StreamBroken) -> bytes:
        return self._wire.error_event(body_of(error, self._wire.name, self._ex.request_id))

    def _verdict(self) -> StreamBroken | None:
        """A stream that neither finished nor said so was cut, however cleanly it closed."""
        if self._state.error is not None or self._state.whole:
            return None
        return StreamBroken("the answer is incomplete: the upstream closed its stream early")

    def _fill(self) -> None:
        reply, state = self._ex.reply, self._state
        take_usage(reply, state.usage, self._wire)
        reply.metered = state.metered
        reply.response_model = state.model
        reply.service_tier = state.service_tier
        reply.provider_id = state.provider_id
        reply.finish_reason = state.finish_reason
        if state.error is not None:
            reply.outcome = "error"
        if reply.keep:
            reply.said = state.text().encode("utf-8", "replace")
        if reply.usage is None or not state.metered:
            reply.text_pieces = [state.text().encode("utf-8", "replace")]


async def _body(send: Send, data: bytes) -> None:
    if data:
        await send({"type": "http.response.body", "body": data, "more_body": True})

"""One connection of the lean client, and the reply that is read on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, cast

import httptools

from gateway.errors import BrokenOff, Unanswered, UpstreamFailed, UpstreamTimeout
from gateway.upstream.patience import Patience
from gateway.upstream.protocol import MAX_REPLY_BYTES, Timeouts
from gateway.upstream.unpack import Unpacker, unpacker

MAX_HEAD_BYTES = 64 * 1024
HIGH_WATER = 256 * 1024  # unread bytes at which the provider is told to wait


class Owner(Protocol):
    """Who keeps connections for the next request."""

    name: str

    def keep(self, connection: Connection) -> None:
        """It may be used again."""

    def forget(self, connection: Connection) -> None:
        """It is gone."""


class Connection(asyncio.Protocol):
    """One socket: feeds the parser and the reply that is being read, if any."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._parser: Any = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._reply: LeanReply | None = None
        self._headers: dict[str, str] = {}
        self._received = 0
        self._interim = False
        self._paused = False
        self._lost = False

    @property
    def usable(self) -> bool:
        """Whether another request may go out on it."""
        return not self._lost and not self._transport.is_closing()

    def begin(self, reply: LeanReply, head: bytes, body: bytes) -> None:
        """Send a request whose answer goes to ``reply``."""
        self._reply, self._headers, self._received = reply, {}, 0
        self._transport.writelines((head, body))

    def finish(self, *, again: bool) -> None:
        """The reply is not read further; the connection is kept, or closed."""
        self._reply = None
        self.resume()
        if again and self.usable and not self._transport.get_write_buffer_size():
            self._owner.keep(self)
        else:
            self.abort()

    def abort(self) -> None:
        """Close now; what is on its way is dropped."""
        self._reply = None
        self._owner.forget(self)
        self._transport.abort()

    def pause(self) -> None:
        """The reader is behind: the provider has to wait."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """The reader has caught up."""
        if self._paused:
            self._paused = False
            if not self._lost:
                self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls back."""
        reply = self._reply
        if reply is None:  # nobody asked: whatever this is, it is no answer
            self.abort()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(reply, "sent what is not HTTP")
            return
        if not reply.status and self._received > MAX_HEAD_BYTES:
            self._fail(reply, f"sent a head of more than {MAX_HEAD_BYTES} bytes")

    def _fail(self, reply: LeanReply, what: str) -> None:
        kind = BrokenOff if reply.status else Unanswered
        reply.fail(kind(f"upstream {self._owner.name!r} {what}"))
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The reply ends here, whole or not."""
        self._lost = True
        self._owner.forget(self)
        reply, self._reply = self._reply, None
        if reply is None or reply.complete:
            return
        if not self._received:
            reply.unanswered()
        elif reply.status and exc is None and self._until_close():
            reply.end(again=False)
        elif reply.status:
            reply.fail(BrokenOff(f"upstream {self._owner.name!r} broke off its answer"))
        else:
            reply.fail(Unanswered(f"upstream {self._owner.name!r} broke off its head"))

    def _until_close(self) -> bool:
        """Whether the end of the body is told by closing the connection alone."""
        chunked = "chunked" in self._headers.get("transfer-encoding", "").lower()
        return not chunked and "content-length" not in self._headers

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; a repeated one is joined."""
        if self._reply is None or self._reply.status:
            return  # a trailer
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self._headers.get(key)
        self._headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        """The head is in; an interim one (1xx) is forgotten."""
        status = self._parser.get_status_code()
        if status < 200:
            self._interim, self._headers = True, {}
        elif self._reply is not None:
            self._reply.start(status, self._headers)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._reply is not None:
            self._reply.feed(body)

    def on_message_complete(self) -> None:
        """The body is whole."""
        if self._interim:
            self._interim = False
        elif self._reply is not None:
            self._reply.end(again=bool(self._parser.should_keep_alive()))


class LeanReply:
    """A reply on a ``Connection``; one reader."""

    def __init__(self, name: str, connection: Connection, limits: Timeouts) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.complete = False
        self._name, self._connection, self._limits = name, connection, limits
        self._loop = asyncio.get_running_loop()
        self._pieces: list[bytes] = []
        self._unread = 0
        self._again = self._dead = self._closed = False
        self._error: UpstreamFailed | UpstreamTimeout | None = None
        self._unpack: Unpacker | None = None
        self._waiter: asyncio.Future[None] | None = None
        now = self._loop.time()
        self._since, self._until = now, now + limits.total
        self._patience = Patience(limits, now)
        self._timer = self._loop.call_at(now + min(limits.first_byte, limits.total), self._check)

    async def begun(self) -> bool:
        """Wait for the status; False where the connection closed before any byte came.

        Raises:
            UpstreamFailed, UpstreamTimeout.
        """
        while not self.status:
            if self._error is not None:
                raise self._error
            if self._dead:
                self.stop()
                return False
            await self._wait()
        return True

    async def read(self) -> bytes:
        """See ``Opened.read``."""
        if self.complete and self._unpack is None and self._unread <= MAX_REPLY_BYTES:
            pieces, self._pieces = self._pieces, []
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces, size = [], 0
        async for piece in self.chunks():
            size += len(piece)
            if size > MAX_REPLY_BYTES:
                await self.close()
                raise UpstreamFailed(
                    f"upstream {self._name!r} sent more than {MAX_REPLY_BYTES} bytes"
                )
            pieces.append(piece)
        return b"".join(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        """See ``Opened.chunks``."""
        while True:
            if self._pieces:
                pieces, self._pieces, self._unread = self._pieces, [], 0
                data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
                self._connection.resume()
                if self._unpack is None:
                    yield data
                    continue
                for piece in self._unpack.feed(data):
                    yield piece
            elif self._error is not None:
                raise self._error
            elif self.complete:
                if self._unpack is not None:
                    self._unpack.end()
                return
            else:
                await self._wait()

    async def close(self) -> None:
        """See ``Opened.close``."""
        if not self._closed:
            self.stop()
            self._connection.finish(again=self.complete and self._again)

    def stop(self) -> None:
        """Nobody waits any more."""
        self._closed = True
        self._timer.cancel()

    async def _wait(self) -> None:
        self._since = self._loop.time()
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        """The head is in."""
        self.status, self.headers = status, headers
        coding = headers.get("content-encoding")
        if coding is not None:
            self._unpack = unpacker(coding, self._name)
        self._wake()

    def feed(self, body: bytes) -> None:
        """More of the body is in."""
        if not self._patience.begun:
            self._patience.heard(body)
            if self._limits.idle < self._limits.first_byte:
                self._timer.cancel()
                self._timer = self._loop.call_later(self._limits.idle, self._check)
        self._pieces.append(body)
        self._unread += len(body)
        if self._unread > HIGH_WATER:
            self._connection.pause()
        self._wake()

    def end(self, *, again: bool) -> None:
        """The body is whole; ``again``: the connection may be used for another request."""
        self.complete, self._again = True, again
        self._timer.cancel()
        self._wake()

    def fail(self, error: UpstreamFailed | UpstreamTimeout) -> None:
        """Nothing more will come; what came can still be read."""
        if self._error is None:
            self._error = error
        self._timer.cancel()
        self._wake()

    def unanswered(self) -> None:
        """The connection closed before any byte of an answer."""
        self._dead = True
        self._wake()

    def _check(self) -> None:
        """Time is up, unless something came meanwhile or nobody is waiting for it."""
        now, limits = self._loop.time(), self._limits
        if self.complete or self._error is not None:
            return
        if not self.status:
            what = (
                f"sent no status within {limits.first_byte:g} s; raise "
                f"upstreams.{self._name}.timeouts.first_byte if its models need longer"
            )
        elif now >= self._until:
            what = f"took more than {limits.total:g} s"
        else:
            due = now + limits.idle if self._waiter is None else self._patience.due(self._since)
            if due <= now:
                self.fail(UpstreamTimeout(self._patience.exceeded(self._name)))
            else:
                self._timer = self._loop.call_at(min(due, self._until), self._check)
            return
        self.fail(UpstreamTimeout(f"upstream {self._name!r} {what}"))

"""The edge of the server: a request's head is bounded in size and in time.

uvicorn's parser takes headers of any size for as long as they come. Here a head over 64 KiB is
answered 431, and a connection whose first head is not in after half a minute is closed.

A worker that steps aside for a new one answers what still comes on its connections, each for
the last time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

MAX_HEAD_BYTES = 64 * 1024
HEAD_S = 30.0
ASIDE_S = 2.0
"""So long is answered what clients send that do not know yet that this process goes."""
_MESSAGE = f"the request's headers are larger than {MAX_HEAD_BYTES} bytes; send less"
_BODY = orjson.dumps(
    {
        "error": {
            "message": _MESSAGE,
            "type": "invalid_request_error",
            "param": None,
            "code": "headers_too_large",
        }
    }
)
_PLAIN = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)
Message = MutableMapping[str, Any]


async def _too_large(
    scope: object,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"connection", b"close"),
        (b"content-length", str(len(_BODY)).encode()),
    ]
    await send({"type": "http.response.start", "status": 431, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY})


class EdgeState(ServerState):
    """What all connections of a server know: whether it steps aside."""

    leaving: bool = False


class EdgeProtocol(HttpToolsProtocol):
    """uvicorn's connection, with a bounded head."""

    _head_bytes = 0
    _in_head = True
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """The first head has so long to come."""
        super().connection_made(transport)
        self._timer = asyncio.get_running_loop().call_later(HEAD_S, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits any more."""
        self._stop()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._head_bytes, self._in_head = 0, True
        super().on_message_begin()

    def data_received(self, data: bytes) -> None:
        """A head that does not end is cut off."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(_PLAIN)
                self.transport.close()

    def on_headers_complete(self) -> None:
        """The head is in; one that is too large never reaches the application."""
        self._in_head = False
        self._stop()
        size = sum([len(name) + len(value) for name, value in self.headers]) + len(self.url)
        if size <= MAX_HEAD_BYTES:
            super().on_headers_complete()
            if isinstance(self.server_state, EdgeState) and self.server_state.leaving:
                self.cycle.keep_alive = False
            return
        app, self.app = self.app, _too_large
        try:
            super().on_headers_complete()
        finally:
            self.app = app

    def _late(self) -> None:
        if self._in_head and not self.transport.is_closing():
            self.transport.close()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

"""Who may come in now: body limits, concurrency, drain. Judged before a body is read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import (
    BodyTooLarge,
    BodyTooSlow,
    ClientGone,
    Draining,
    EncodingUnsupported,
    Overloaded,
)
from gateway.exchange import ClientHeaders

SLOW_S = 30.0
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


@dataclass(slots=True)
class Admission:
    """How many requests are inside, how many may be, and whether the door is closing."""

    max_concurrent: int
    max_body_bytes: int
    inside: int = 0
    draining: bool = False
    refused: int = field(default=0)

    def enter(self, headers: ClientHeaders) -> None:
        """Count a request in.

        Raises:
            Draining, Overloaded: with a time to try again.
            BodyTooLarge: by its own Content-Length.
            EncodingUnsupported: a compressed body.
        """
        if self.draining:
            self.refused += 1
            raise Draining("the gateway is shutting down; try again", 2.0)
        if self.inside >= self.max_concurrent:
            self.refused += 1
            raise Overloaded(
                f"{self.inside} requests are in flight, the limit (server.max_concurrent) is "
                f"{self.max_concurrent}; try again",
                1.0,
            )
        if headers.content_length is not None:
            self.check_size(headers.content_length)
        if headers.content_encoding not in {None, "", "identity"}:
            raise EncodingUnsupported(
                f"Content-Encoding {headers.content_encoding!r} is not taken; send plain JSON"
            )
        self.inside += 1

    def leave(self) -> None:
        """Count a request out."""
        self.inside -= 1

    def check_size(self, size: int) -> None:
        """Refuse a body over the limit.

        Raises:
            BodyTooLarge: naming both sizes.
        """
        if size > self.max_body_bytes:
            raise BodyTooLarge(
                f"the request body has {size:,} bytes or more, the limit (server.max_body_mb) is "
                f"{self.max_body_bytes:,}"
            )


async def read_body(receive: Receive, admission: Admission) -> bytes:
    """The whole body, never more of it than the limit.

    Raises:
        BodyTooLarge: while reading.
        BodyTooSlow: nothing more came for half a minute.
        ClientGone: the client left first.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone("the client left while sending its request")
    first: bytes = message.get("body", b"")
    admission.check_size(len(first))
    if not message.get("more_body"):
        return first
    pieces, size = [first], len(first)
    while True:
        try:
            async with asyncio.timeout(SLOW_S):
                message = await receive()
        except TimeoutError:
            raise BodyTooSlow(
                f"no more of the request body came for {SLOW_S:g} s after {size:,} bytes"
            ) from None
        if message["type"] == "http.disconnect":
            raise ClientGone("the client left while sending its request")
        piece = message.get("body", b"")
        size += len(piece)
        admission.check_size(size)
        pieces.append(piece)
        if not message.get("more_body"):
            return b"".join(pieces)

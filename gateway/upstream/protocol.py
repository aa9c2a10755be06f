"""What every kind of upstream offers: send a body, get a reply whose status is known."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from billing.record import record
from gateway.errors import UpstreamFailed

# A plain reply larger than this is cut off: no provider sends one, a bomb would.
MAX_REPLY_BYTES = 64 * 1024 * 1024


@record(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, to the status line, between bytes, and for everything."""

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 60.0
    total: float = 600.0


@record(frozen=True, slots=True)
class Outbound:
    """One call as it goes out: on which wire, where to, what, and whether as a stream.

    ``max_output`` is the plan's completion limit, tokens, for a wire that must name one.
    """

    wire: str
    path: str
    body: bytes
    stream: bool
    model: str
    headers: Mapping[str, str]
    max_output: int = 4096


def refuse_redirect(name: str, status: int) -> UpstreamFailed:
    """The error of an upstream that sends its caller elsewhere."""
    error = UpstreamFailed(
        f"upstream {name!r} answered with a redirect ({status}), which is never followed; "
        f"set upstreams.{name}.base_url to the final address"
    )
    error.final = True
    return error


class Opened(Protocol):
    """A reply that has begun: its status and headers are in, its body is not."""

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            UpstreamFailed: cut off, undecodable, or over 64 MiB.
            UpstreamTimeout: no byte within the idle limit.
        """

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; raises as ``read`` does."""

    async def close(self) -> None:
        """Give the connection back, or drop it when the body was not read to its end."""


class Upstream(Protocol):
    """A provider as the configuration names it."""

    name: str

    async def send(self, call: Outbound) -> Opened:
        """Send and wait for the status line.

        Raises:
            UpstreamFailed: unreachable, reset, redirected.
            UpstreamTimeout: no connection or no status line in time.
        """

    async def close(self) -> None:
        """Close every connection."""

"""How long an answer may be silent.

Until its first event counts ``first_byte``, from the start of the call; from then on
``idle``, from the last byte. Comments, which some providers send to keep a connection open,
are no event, but whoever sends them is alive.
"""

from __future__ import annotations

from gateway.upstream.protocol import Timeouts


class Patience:
    """One answer's patience; times are the event loop's, in seconds."""

    __slots__ = ("_alive", "_first_until", "_limits", "begun")

    def __init__(self, limits: Timeouts, began: float) -> None:
        self._limits, self._first_until = limits, began + limits.first_byte
        self._alive = self.begun = False

    def heard(self, piece: bytes) -> None:
        """Bytes of the body came; ``begun`` says whether they were more than a comment."""
        self._alive = True
        self.begun = self.begun or not piece.lstrip().startswith(b":") or b"\ndata:" in piece

    def due(self, since: float) -> float:
        """When a silence that began at ``since`` has lasted too long."""
        if self.begun:
            return since + self._limits.idle
        if self._alive:
            return max(self._first_until, since + self._limits.idle)
        return self._first_until

    def exceeded(self, name: str) -> str:
        """What is said of an upstream that was silent for too long."""
        if self._alive:
            return f"upstream {name!r} sent nothing for {self._limits.idle:g} s"
        return (
            f"upstream {name!r} sent no answer within {self._limits.first_byte:g} s; raise "
            f"upstreams.{name}.timeouts.first_byte if its models need longer"
        )

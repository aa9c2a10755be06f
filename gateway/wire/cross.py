"""Crossing: a request of one wire asked on another, and its answer brought back.

The other provider's answer comes back in the client's own wire with its usage kept bucket by
bucket, so that a crossed answer is relayed, billed and judged like any other. What the other
wire cannot express is refused, never dropped where the client would miss it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Json = Mapping[str, Any]


class Uncrossable(ValueError):
    """A request that the other wire has no words for; says which field and why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the other side is told where the client did not say: completion tokens at most,
    and the field that bounds them."""

    max_output: int
    field: str = "max_completion_tokens"


class StreamBack(Protocol):
    """Brings a stream's events back, one payload at a time."""

    def event(self, payload: Json) -> bytes:
        """The client's events for one of the provider's."""

    def end(self) -> bytes:
        """What is still to be said when the provider has closed."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """How requests of one wire are asked on ``to``.

    ``request`` gives the other body, ``back`` the client's whole answer, ``stream`` what
    brings a stream back, ``error`` the client's form of a refusal. ``names`` are tool names
    as they were shortened: long name by short one.
    """

    to: str
    request: Callable[[Json, Limits], dict[str, Any]]
    back: Callable[[Json, Mapping[str, str]], dict[str, Any]]
    stream: Callable[[Mapping[str, str]], StreamBack]
    error: Callable[[Json, int], dict[str, Any]]
    names: Callable[[Json], Mapping[str, str]]

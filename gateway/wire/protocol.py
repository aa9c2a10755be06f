"""What a wire is: how its requests and answers are read, and how its answers are billed.

A route is a wire that is mounted. ``usage`` has no default: what nobody can bill has no
wire, and so no route.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from billing.usage import Usage
from gateway.exchange import ChatRequest, ClientHeaders
from gateway.stream import EventStream

Json = Mapping[str, Any]


class Answer(NamedTuple):
    """The facts of a whole answer; ``usage`` as the provider reported it, or None."""

    usage: object
    model: str | None
    service_tier: str | None
    provider_id: str | None
    finish_reason: str | None


class OpenStream(Protocol):
    """Makes the reader of one stream."""

    def __call__(self, *, hide_usage: bool, choices: int, secrets: Sequence[str]) -> EventStream:
        """The reader of one stream that answers so many choices."""


@dataclass(frozen=True, slots=True)
class Wire:
    """One way of asking for something generated, and of being answered.

    ``route`` is where clients find it, ``path`` where it lies below a provider's base
    address. ``unsound`` says what is wrong with a 200 body, or None. ``limits`` are the
    fields that bound the completion, ``asks_usage`` says whether a stream reports its usage
    only when asked to. ``text`` is all that a whole answer says, for an estimate.
    """

    name: str
    route: str
    path: str
    parse: Callable[[bytes, ClientHeaders], ChatRequest]
    usage: Callable[[Mapping[str, object]], Usage]
    unsound: Callable[[Json], str | None]
    answer: Callable[[Json], Answer]
    text: Callable[[Json], str]
    stream: OpenStream
    error_event: Callable[[Json], bytes]
    limits: tuple[str, ...] = ()
    asks_usage: bool = False
    streams: bool = True

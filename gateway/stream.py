"""Reading a provider's event stream while its bytes pass through untouched.

The rule: bytes go out as they came, whole events at a time; nothing is parsed unless it
may hold usage, an error or the end. Only the usage event that the gateway itself asked
for is held back from a client that did not ask, and an error never repeats a credential.

Here is what all wires share: where events begin and end, and what is known when one does.
What an event says is the wire's own (``gateway.wire``).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

# An event ends at a blank line, whatever mix of line ends the provider uses.
_BOUNDARY = re.compile(rb"(?:\r\n|\r(?!\n)|\n)(?:\r\n|\r(?!\n)|\n)")
_DATA = re.compile(rb"^data:[ ]?(.*)$", re.MULTILINE)
MAX_EVENT_BYTES = 32 * 1024 * 1024
# Kept to count a broken stream's tokens; a longer one is counted by its events.
KEEP_BYTES = 4 * 1024 * 1024


class EventTooLarge(ValueError):
    """One event grew past the limit."""


@dataclass(slots=True)
class EventStream(ABC):
    """What a stream of events told so far, on any wire.

    ``feed`` takes bytes as TCP cut them and gives the bytes to send on; ``rest`` gives
    what is left when the provider closed. Any split of the same bytes gives the same
    output and the same facts. ``metered``: ``usage`` counts the whole answer; without, only
    its prompt. ``closing`` is what a whole stream still lacks at its end.
    """

    hide_usage: bool = False
    choices: int = 1
    secrets: Sequence[str] = ()
    usage: Mapping[str, Any] | None = None
    metered: bool = True
    model: str | None = None
    provider_id: str | None = None
    service_tier: str | None = None
    finish_reason: str | None = None
    error: Mapping[str, Any] | None = None
    events: int = 0
    kept: list[bytes] = field(default_factory=list)
    _tail: bytearray = field(default_factory=bytearray)
    _kept_bytes: int = 0

    @property
    @abstractmethod
    def whole(self) -> bool:
        """Whether the answer came to its end: finished or said so, and no error."""

    @property
    def closing(self) -> bytes:
        """The bytes that end a whole answer whose provider forgot them."""
        return b""

    @abstractmethod
    def text(self) -> str:
        """The text of the answer so far, tool arguments and reasoning included."""

    @abstractmethod
    def read(self, block: bytes) -> bytes:
        """Take the facts of whole events and give what of them is passed on."""

    def feed(self, chunk: bytes) -> bytes:
        """Bytes to pass on now: every event that is complete, less what is held back.

        Raises:
            EventTooLarge: an event without end past 32 MiB.
        """
        seen = len(self._tail)
        if not seen and chunk.endswith(b"\n\n") and b"\r" not in chunk:
            return self.read(chunk)
        self._tail += chunk
        end = _last_boundary(self._tail, max(0, seen - 3))
        if end < 0:
            if len(self._tail) > MAX_EVENT_BYTES:
                raise EventTooLarge(f"a stream event is larger than {MAX_EVENT_BYTES} bytes")
            return b""
        block = bytes(self._tail[:end])
        del self._tail[:end]
        return self.read(block)

    def rest(self) -> bytes:
        """What came after the last blank line; an event without one is an event still."""
        tail = bytes(self._tail)
        self._tail.clear()
        return self.read(tail) if tail.strip() else tail

    def keep(self, block: bytes) -> None:
        """Count the block's events, and keep it as far as an estimate needs it."""
        self.events += block.count(b"data:")
        if self._kept_bytes < KEEP_BYTES:
            self.kept.append(block)
            self._kept_bytes += len(block)


def scrubbed(data: bytes, secrets: Sequence[str]) -> bytes:
    """The bytes without the credentials that some providers repeat in their errors."""
    for secret in secrets:
        data = data.replace(secret.encode(), b"***")
    return data


def scrubbed_events(block: bytes, secrets: Sequence[str]) -> bytes:
    """The block with the events that speak of an error scrubbed.

    In no others: a local server's key may be a common word, and which events TCP brought
    together must not decide what is cut.
    """
    if not any(secret.encode() in block for secret in secrets):
        return block
    return b"".join(
        scrubbed(event, secrets) if b'"error"' in event else event for event in split(block)
    )


def _last_boundary(data: bytearray, start: int) -> int:
    """Offset just after the last blank line at or beyond ``start``, or -1.

    A trailing CR may be the first half of a CRLF, so it never ends an event alone.
    """
    fast = data.rfind(b"\n\n", start)
    if fast >= 0 and data.find(b"\r", fast) < 0:
        return fast + 2
    end = -1
    for match in _BOUNDARY.finditer(data, start):
        if match.end() < len(data) or not match.group().endswith(b"\r"):
            end = match.end()
    return end


def split(block: bytes) -> list[bytes]:
    """The block's events, each with its blank line."""
    pieces, start = [], 0
    for match in _BOUNDARY.finditer(block):
        pieces.append(block[start : match.end()])
        start = match.end()
    if start < len(block):
        pieces.append(block[start:])
    return pieces


def payloads(block: bytes) -> list[Any]:
    """The JSON payloads of a block's events; what is not JSON is left out."""
    found = []
    for piece in split(block):
        lines = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in piece else piece
        text = b"\n".join(_DATA.findall(lines))
        if not text.startswith(b"{"):
            continue
        try:
            found.append(orjson.loads(text))
        except orjson.JSONDecodeError:
            continue
    return found


def text_of(value: object) -> str | None:
    """``value`` where it is a text."""
    return value if isinstance(value, str) else None


def items_of(value: object) -> list[Any]:
    """``value`` where it is a list; else nothing."""
    return value if isinstance(value, list) else []

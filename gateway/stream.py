"""Reading a provider's event stream while its bytes pass through untouched.

The rule: bytes go out as they came, whole events at a time; nothing is parsed unless it
may hold usage, an error or the end. Only the usage event that the gateway itself asked
for is held back from a client that did not ask, and an error never repeats a credential.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

# An event ends at a blank line, whatever mix of line ends the provider uses.
_BOUNDARY = re.compile(rb"(?:\r\n|\r(?!\n)|\n)(?:\r\n|\r(?!\n)|\n)")
_DATA = re.compile(rb"^data:[ ]?(.*)$", re.MULTILINE)
MAX_EVENT_BYTES = 32 * 1024 * 1024
# Kept to count a broken stream's tokens; a longer one is counted by its events.
_KEEP_BYTES = 4 * 1024 * 1024


class EventTooLarge(ValueError):
    """One event grew past the limit."""


@dataclass(slots=True)
class ChatStream:
    """What an OpenAI chat stream told so far.

    ``feed`` takes bytes as TCP cut them and gives the bytes to send on; ``rest`` gives
    what is left when the provider closed. Any split of the same bytes gives the same
    output and the same facts.
    """

    hide_usage: bool
    choices: int = 1
    secrets: Sequence[str] = ()
    usage: Mapping[str, Any] | None = None
    model: str | None = None
    provider_id: str | None = None
    service_tier: str | None = None
    finishes: int = 0
    done: bool = False
    error: Mapping[str, Any] | None = None
    events: int = 0
    kept: list[bytes] = field(default_factory=list)
    _tail: bytearray = field(default_factory=bytearray)
    _kept_bytes: int = 0

    @property
    def finished(self) -> bool:
        """Whether every choice that was asked for has said how it ended."""
        return self.finishes >= self.choices

    @property
    def whole(self) -> bool:
        """Whether the answer came to its end: finished or said so, and no error."""
        return self.error is None and (self.finished or self.done)

    def feed(self, chunk: bytes) -> bytes:
        """Bytes to pass on now: every event that is complete, less a hidden usage event.

        Raises:
            EventTooLarge: an event without end past 32 MiB.
        """
        seen = len(self._tail)
        if not seen and chunk.endswith(b"\n\n") and b"\r" not in chunk:
            return self._read(chunk)
        self._tail += chunk
        end = _last_boundary(self._tail, max(0, seen - 3))
        if end < 0:
            if len(self._tail) > MAX_EVENT_BYTES:
                raise EventTooLarge(f"a stream event is larger than {MAX_EVENT_BYTES} bytes")
            return b""
        block = bytes(self._tail[:end])
        del self._tail[:end]
        return self._read(block)

    def rest(self) -> bytes:
        """What came after the last blank line; an event without one is an event still."""
        tail = bytes(self._tail)
        self._tail.clear()
        return self._read(tail) if tail.strip() else tail

    def _read(self, block: bytes) -> bytes:
        self.events += block.count(b"data:")
        if self._kept_bytes < _KEEP_BYTES:
            self.kept.append(block)
            self._kept_bytes += len(block)
        if self.provider_id is None:
            self._identify(block)
        # Every chunk says `"finish_reason":null` but the last: a value there is the end.
        if b'"finish_reason"' in block:
            self.finishes += len(_FINISH.findall(block))
        if b"[DONE]" in block and _DONE.search(block):
            self.done = True
        if b'"error"' in block:
            self._look_for_error(block)
            block = scrubbed(block, self.secrets)
        if b'"usage"' in block and _USAGE.search(block):
            return self._take_usage(block)
        return block

    def _identify(self, block: bytes) -> None:
        for event in _payloads(block):
            if isinstance(event, dict) and "id" in event:
                self.provider_id = str(event["id"])[:128]
                self.model = _text(event.get("model"))
                self.service_tier = _text(event.get("service_tier"))
                return

    def _look_for_error(self, block: bytes) -> None:
        for event in _payloads(block):
            if isinstance(event, dict) and event.get("error"):
                error = event["error"]
                self.error = error if isinstance(error, dict) else {"message": str(error)[:200]}

    def _take_usage(self, block: bytes) -> bytes:
        out: list[bytes] = []
        for raw in _split(block):
            event = next(iter(_payloads(raw)), None)
            usage = event.get("usage") if isinstance(event, dict) else None
            if isinstance(event, dict) and isinstance(usage, dict):
                self.usage = usage
                self.service_tier = _text(event.get("service_tier")) or self.service_tier
                if self.hide_usage and not event.get("choices"):
                    continue
            out.append(raw)
        return b"".join(out)


def scrubbed(data: bytes, secrets: Sequence[str]) -> bytes:
    """The bytes without the credentials that some providers repeat in their errors."""
    for secret in secrets:
        data = data.replace(secret.encode(), b"***")
    return data


_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"')
# A line of its own: an answer that quotes it has not ended.
_DONE = re.compile(rb"(?:^|[\r\n])data:[ ]?\[DONE\]")


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


def _split(block: bytes) -> list[bytes]:
    pieces, start = [], 0
    for match in _BOUNDARY.finditer(block):
        pieces.append(block[start : match.end()])
        start = match.end()
    if start < len(block):
        pieces.append(block[start:])
    return pieces


def _payloads(block: bytes) -> list[Any]:
    """The JSON payloads of a block's events; what is not JSON is left out."""
    found = []
    for piece in _split(block):
        lines = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in piece else piece
        text = b"\n".join(_DATA.findall(lines))
        if not text.startswith(b"{"):
            continue
        try:
            found.append(orjson.loads(text))
        except orjson.JSONDecodeError:
            continue
    return found


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def delivered_text(kept: list[bytes]) -> str:
    """The answer text in the kept blocks, tool arguments and reasoning included."""
    pieces: list[str] = []
    for event in _payloads(b"".join(kept)):
        for choice in _list(event.get("choices")):
            delta = choice.get("delta") if isinstance(choice, dict) else None
            if isinstance(delta, dict):
                pieces.extend(_delta_text(delta))
    return "".join(pieces)


def _delta_text(delta: Mapping[str, Any]) -> list[str]:
    texts = [delta.get(key) for key in ("content", "reasoning_content", "refusal")]
    for call in _list(delta.get("tool_calls")):
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            texts += [function.get("name"), function.get("arguments")]
    return [text for text in texts if isinstance(text, str)]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def error_event(body: Mapping[str, Any]) -> bytes:
    """An error as one event of the OpenAI wire; clients raise on its top-level key."""
    return b"data: " + orjson.dumps(body) + b"\n\n"

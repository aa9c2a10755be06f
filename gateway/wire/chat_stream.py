"""OpenAI's chat and completions streams: facts on the side, bytes untouched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.stream import EventStream, items_of, payloads, scrubbed_events, split, text_of

_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"([^"]*)"')
# A line of its own: an answer that quotes it has not ended.
_DONE = re.compile(rb"(?:^|[\r\n])data:[ ]?\[DONE\]")


@dataclass(slots=True)
class ChatStream(EventStream):
    """What a chat stream told so far; see ``EventStream``."""

    finishes: int = 0
    done: bool = False

    @property
    def finished(self) -> bool:
        """Whether every choice that was asked for has said how it ended."""
        return self.finishes >= self.choices

    @property
    def whole(self) -> bool:
        """See ``EventStream.whole``."""
        return self.error is None and (self.finished or self.done)

    @property
    def closing(self) -> bytes:
        """See ``EventStream.closing``."""
        return b"" if self.done else b"data: [DONE]\n\n"

    def text(self) -> str:
        """See ``EventStream.text``."""
        return delivered_text(self.kept)

    def read(self, block: bytes) -> bytes:
        """See ``EventStream.read``."""
        self.keep(block)
        if self.provider_id is None:
            self._identify(block)
        # Every chunk says `"finish_reason":null` but the last: a value there is the end.
        if b'"finish_reason"' in block:
            found = _FINISH.findall(block)
            if found:
                self.finishes += len(found)
                self.finish_reason = found[0].decode("latin-1")
        if b"[DONE]" in block and _DONE.search(block):
            self.done = True
        if b'"error"' in block:
            self._look_for_error(block)
            block = scrubbed_events(block, self.secrets)
        if b'"usage"' in block and _USAGE.search(block):
            return self._take_usage(block)
        return block

    def _identify(self, block: bytes) -> None:
        for event in payloads(block):
            if isinstance(event, dict) and "id" in event:
                self.provider_id = str(event["id"])[:128]
                self.model = text_of(event.get("model"))
                self.service_tier = text_of(event.get("service_tier"))
                return

    def _look_for_error(self, block: bytes) -> None:
        for event in payloads(block):
            if isinstance(event, dict) and event.get("error"):
                error = event["error"]
                self.error = error if isinstance(error, dict) else {"message": str(error)[:200]}

    def _take_usage(self, block: bytes) -> bytes:
        out: list[bytes] = []
        for raw in split(block):
            event = next(iter(payloads(raw)), None)
            usage = event.get("usage") if isinstance(event, dict) else None
            if isinstance(event, dict) and isinstance(usage, dict):
                self.usage = usage
                self.service_tier = text_of(event.get("service_tier")) or self.service_tier
                if self.hide_usage and not event.get("choices"):
                    continue
            out.append(raw)
        return b"".join(out)


def delivered_text(kept: list[bytes]) -> str:
    """The answer text in the kept blocks, tool arguments and reasoning included."""
    pieces: list[str] = []
    for event in payloads(b"".join(kept)):
        for choice in items_of(event.get("choices")):
            if not isinstance(choice, dict):
                continue
            if isinstance(choice.get("text"), str):  # the completions wire
                pieces.append(choice["text"])
            delta = choice.get("delta")
            if isinstance(delta, dict):
                pieces.extend(_delta_text(delta))
    return "".join(pieces)


def _delta_text(delta: Mapping[str, Any]) -> list[str]:
    texts = [delta.get(key) for key in ("content", "reasoning_content", "refusal")]
    for call in items_of(delta.get("tool_calls")):
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            texts += [function.get("name"), function.get("arguments")]
    return [text for text in texts if isinstance(text, str)]


def error_event(body: Mapping[str, Any]) -> bytes:
    """An error as one event of the OpenAI wire; clients raise on its top-level key."""
    return b"data: " + orjson.dumps(body) + b"\n\n"

"""Anthropic's stream of named events: facts on the side, bytes untouched.

Usage comes in two parts: `message_start` counts the prompt, `message_delta` the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.stream import EventStream, payloads, scrubbed_events, text_of
from gateway.wire.messages_answer import block_text

# As JSON writes them; quoted inside a text they would be escaped.
_TELLING = (b'"message_start"', b'"message_delta"', b'"message_stop"', b'"error"')
_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


@dataclass(slots=True)
class MessagesStream(EventStream):
    """What a stream of a message told so far; see ``EventStream``."""

    metered: bool = False
    done: bool = False

    @property
    def whole(self) -> bool:
        """See ``EventStream.whole``."""
        return self.error is None and (self.done or self.finish_reason is not None)

    @property
    def closing(self) -> bytes:
        """See ``EventStream.closing``."""
        return b"" if self.done else _STOP

    def text(self) -> str:
        """See ``EventStream.text``."""
        return "".join(_delivered(event) for event in payloads(b"".join(self.kept)))

    def read(self, block: bytes) -> bytes:
        """See ``EventStream.read``."""
        self.keep(block)
        if any(mark in block for mark in _TELLING):
            for event in payloads(block):
                if isinstance(event, dict):
                    self._take(event)
            block = scrubbed_events(block, self.secrets)
        return block

    def _take(self, event: Mapping[str, Any]) -> None:
        match event.get("type"):
            case "message_start":
                message = event.get("message")
                if isinstance(message, dict):
                    self.provider_id = str(message.get("id"))[:128]
                    self.model = text_of(message.get("model"))
                    self._count(message.get("usage"))
            case "message_delta":
                delta = event.get("delta")
                if isinstance(delta, dict):
                    self.finish_reason = text_of(delta.get("stop_reason")) or self.finish_reason
                usage = event.get("usage")
                self._count(usage)
                self.metered |= isinstance(usage, dict) and "output_tokens" in usage
            case "message_stop":
                self.done = True
            case "error":
                error = event.get("error")
                self.error = error if isinstance(error, dict) else {"message": "unknown"}

    def _count(self, usage: object) -> None:
        """Later figures are totals, and replace the earlier ones."""
        if isinstance(usage, dict):
            said = {key: value for key, value in usage.items() if value is not None}
            self.usage = {**(self.usage or {}), **said}
            self.service_tier = text_of(said.get("service_tier")) or self.service_tier


def _delivered(event: object) -> str:
    if not isinstance(event, dict):
        return ""
    if event.get("type") == "content_block_start":
        return block_text(event.get("content_block"))
    delta = event.get("delta")
    if not isinstance(delta, dict):
        return ""
    pieces = (delta.get(key) for key in ("text", "thinking", "partial_json"))
    return "".join(piece for piece in pieces if isinstance(piece, str))


def error_event(body: Mapping[str, Any]) -> bytes:
    """An error as one event of the Anthropic wire."""
    return b"event: error\ndata: " + orjson.dumps(body) + b"\n\n"

"""OpenAI's stream of response events: facts on the side, bytes untouched.

The last event holds the whole response with its usage; until then nothing is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.stream import EventStream, payloads, scrubbed_events, text_of
from gateway.wire.responses_answer import finish_of

# As JSON writes them; quoted inside a text they would be escaped.
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_TELLING = (
    b'"response.created"',
    b'"response.completed"',
    b'"response.incomplete"',
    b'"response.failed"',
    b'"error"',
)


@dataclass(slots=True)
class ResponsesStream(EventStream):
    """What a stream of a response told so far; see ``EventStream``."""

    metered: bool = False
    done: bool = False

    @property
    def whole(self) -> bool:
        """See ``EventStream.whole``."""
        return self.error is None and self.done

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
        kind, response = event.get("type"), event.get("response")
        if isinstance(response, dict) and (kind == "response.created" or kind in _ENDS):
            self.provider_id = str(response.get("id"))[:128]
            self.model = text_of(response.get("model"))
            self.service_tier = text_of(response.get("service_tier"))
            if kind in _ENDS:
                self._end(response)
        elif kind == "error" or event.get("error"):
            error = event.get("error")
            self.error = error if isinstance(error, dict) else {"message": event.get("message")}

    def _end(self, response: Mapping[str, Any]) -> None:
        usage, error = response.get("usage"), response.get("error")
        self.done = True
        self.finish_reason = finish_of(response)
        if isinstance(usage, dict):
            self.usage, self.metered = usage, True
        if response.get("status") == "failed":
            self.error = error if isinstance(error, dict) else {"message": "failed"}


def _delivered(event: object) -> str:
    """What a delta adds, whatever it is a delta of."""
    if not isinstance(event, dict) or not str(event.get("type")).endswith(".delta"):
        return ""
    delta = event.get("delta")
    return delta if isinstance(delta, str) else ""


def error_event(body: Mapping[str, Any]) -> bytes:
    """An error as one event of this wire; the SDK raises on its `error` member."""
    said = body["error"]
    event = {
        "type": "error",
        "code": said.get("code"),
        "message": said.get("message"),
        "param": said.get("param"),
        "sequence_number": 0,
        **body,
    }
    return b"event: error\ndata: " + orjson.dumps(event) + b"\n\n"

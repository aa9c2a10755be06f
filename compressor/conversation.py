"""A request's text, independent of any wire.

A wire parser fills these; nothing here knows JSON. Every replaceable text carries
the path at which it stands in the request body, so a fit can only replace texts:
roles, message borders and tool-call pairs cannot be crossed.
"""

from __future__ import annotations

from enum import StrEnum

from compressor.record import record

Path = tuple[str | int, ...]


class PartKind(StrEnum):
    """What one part of a message is."""

    TEXT = "text"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    IMAGE = "image"
    AUDIO = "audio"
    FILE = "file"
    REASONING = "reasoning"
    OPAQUE = "opaque"


@record(frozen=True, slots=True)
class Media:
    """Size of a non-text part, as far as the request tells it.

    ``width`` and ``height`` in pixels, None when unknown (a remote URL);
    ``detail`` as the client wrote it; ``bytes_`` the decoded size, None when unknown.
    """

    width: int | None = None
    height: int | None = None
    detail: str = "auto"
    bytes_: int | None = None


@record(frozen=True, slots=True)
class Part:
    """One piece of a message.

    ``text`` is what the model reads ("" for media); for a TOOL_CALL it is the function
    name, a newline, and the arguments as sent. ``path`` is where the text stands in the
    body; None means that it cannot be replaced. ``call_id`` pairs a TOOL_CALL with its
    TOOL_RESULT. ``cache_mark`` is the client's own cache break point.
    """

    kind: PartKind
    text: str = ""
    path: Path | None = None
    call_id: str | None = None
    cache_mark: bool = False
    media: Media | None = None


@record(frozen=True, slots=True)
class Message:
    """One message: ``role`` is system, developer, user, assistant or tool."""

    role: str
    parts: tuple[Part, ...]
    name: str | None = None

    @property
    def text(self) -> str:
        """The message's text parts joined by newlines."""
        return "\n".join(part.text for part in self.parts if part.text)


@record(frozen=True, slots=True)
class Conversation:
    """A whole request as the model reads it.

    ``tools`` holds each tool schema as compact JSON text, in order;
    ``response_schema`` the requested output schema as compact JSON, or "".
    """

    messages: tuple[Message, ...]
    tools: tuple[str, ...] = ()
    response_schema: str = ""

    def last_human(self) -> int | None:
        """Index of the last user message that carries text of its own, or None."""
        for index in range(len(self.messages) - 1, -1, -1):
            message = self.messages[index]
            if message.role == "user" and any(
                part.kind is PartKind.TEXT and part.text for part in message.parts
            ):
                return index
        return None

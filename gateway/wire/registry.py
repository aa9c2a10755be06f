"""Every wire that is spoken here, by name and by route."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.wire import body as bodies
from gateway.wire import chat, completions, embeddings, messages, responses
from gateway.wire.protocol import Wire

WIRES: Mapping[str, Wire] = {
    wire.name: wire
    for wire in (chat.WIRE, messages.WIRE, responses.WIRE, completions.WIRE, embeddings.WIRE)
}
ROUTES: Mapping[str, Wire] = {wire.route: wire for wire in WIRES.values()}

# Fields that only one wire has.
_MARKS: Mapping[str, tuple[str, ...]] = {
    "responses": ("instructions", "previous_response_id", "max_output_tokens"),
    "messages": ("system", "anthropic_version", "stop_sequences", "thinking"),
}


def told(raw: bytes) -> Wire:
    """The wire that a body is written in, as far as it tells; chat where it does not.

    Raises:
        InvalidRequest: no JSON object.
    """
    body = bodies.load(raw)
    for name, marks in _MARKS.items():
        if name in WIRES and any(mark in body for mark in marks):
            return WIRES[name]
    return WIRES["chat"]

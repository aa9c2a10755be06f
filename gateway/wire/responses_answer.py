"""OpenAI's whole response: what it says of itself, and its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.stream import items_of, text_of
from gateway.wire.protocol import Answer


def unsound(data: Mapping[str, Any]) -> str | None:
    """What is wrong with a 200 body, or None."""
    if data.get("error"):
        return "with an error inside"
    return None if isinstance(data.get("output"), list) else "without any output"


def answer(data: Mapping[str, Any]) -> Answer:
    """The facts of a response."""
    return Answer(
        data.get("usage"),
        text_of(data.get("model")),
        text_of(data.get("service_tier")),
        text_of(data.get("id")),
        finish_of(data),
    )


def finish_of(data: Mapping[str, Any]) -> str | None:
    """How a response ended: its status, or why it is incomplete."""
    details = data.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return text_of(reason) or text_of(data.get("status"))


def answer_text(data: Mapping[str, Any]) -> str:
    """The text of a response, tool arguments and shown reasoning included."""
    return "".join(_item_text(item) for item in items_of(data.get("output")))


def _item_text(item: object) -> str:
    if not isinstance(item, dict):
        return ""
    parts = [*items_of(item.get("content")), *items_of(item.get("summary"))]
    pieces = [part.get("text") or part.get("refusal") for part in parts if isinstance(part, dict)]
    pieces += [item.get("name"), item.get("arguments")]
    if item.get("action"):
        pieces.append(orjson.dumps(item["action"]).decode())
    return "".join(piece for piece in pieces if isinstance(piece, str))

"""Anthropic's whole message: what it says of itself, and its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.stream import items_of, text_of
from gateway.wire.protocol import Answer


def unsound(data: Mapping[str, Any]) -> str | None:
    """What is wrong with a 200 body, or None."""
    if data.get("type") == "error" or data.get("error"):
        return "with an error inside"
    return None if isinstance(data.get("content"), list) else "without any content"


def answer(data: Mapping[str, Any]) -> Answer:
    """The facts of a message."""
    usage = data.get("usage")
    tier = usage.get("service_tier") if isinstance(usage, dict) else None
    return Answer(
        usage,
        text_of(data.get("model")),
        text_of(tier),
        text_of(data.get("id")),
        text_of(data.get("stop_reason")),
    )


def answer_text(data: Mapping[str, Any]) -> str:
    """The text of a message, thoughts and tool inputs included."""
    return "".join(block_text(block) for block in items_of(data.get("content")))


def block_text(block: object) -> str:
    """What one block of an answer says."""
    if not isinstance(block, dict):
        return ""
    pieces = [block.get(key) for key in ("text", "thinking", "name")]
    if block.get("input"):
        pieces.append(orjson.dumps(block["input"]).decode())
    return "".join(piece for piece in pieces if isinstance(piece, str))

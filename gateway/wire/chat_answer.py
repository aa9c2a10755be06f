"""OpenAI's whole chat answer: what it says of itself, and its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.stream import items_of, text_of
from gateway.wire.protocol import Answer


def unsound(data: Mapping[str, Any]) -> str | None:
    """What is wrong with a 200 body, or None."""
    if data.get("error") and not data.get("choices"):
        return "with an error inside"
    return None if isinstance(data.get("choices"), list) else "without any choices"


def answer(data: Mapping[str, Any]) -> Answer:
    """The facts of a chat or a completions answer."""
    first = next(iter(data["choices"]), None)
    finish = first.get("finish_reason") if isinstance(first, dict) else None
    return Answer(
        data.get("usage"),
        text_of(data.get("model")),
        text_of(data.get("service_tier")),
        text_of(data.get("id")),
        text_of(finish),
    )


def answer_text(data: Mapping[str, Any]) -> str:
    """The text of a whole answer, tool arguments included."""
    pieces: list[str] = []
    for choice in items_of(data.get("choices")):
        if not isinstance(choice, dict):
            continue
        if isinstance(choice.get("text"), str):  # the completions wire
            pieces.append(choice["text"])
        message = choice.get("message")
        if isinstance(message, dict):
            pieces.append(str(message.get("content") or ""))
            pieces.append(str(message.get("reasoning_content") or ""))
            if message.get("tool_calls"):
                pieces.append(orjson.dumps(message["tool_calls"]).decode())
    return "".join(pieces)

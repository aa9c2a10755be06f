"""A chat answer brought back as an Anthropic message, whole or streamed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.stream import items_of
from gateway.wire.cross import Json

_STOPS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def back(data: Json, names: Mapping[str, str]) -> dict[str, Any]:
    """A chat completion as a message."""
    choice: Json = next(iter(items_of(data.get("choices"))), {})
    message = choice.get("message") or {}
    content: list[dict[str, Any]] = []
    text = message.get("content") or message.get("refusal")
    if text:
        content.append({"type": "text", "text": text})
    for call in items_of(message.get("tool_calls")):
        function = call.get("function") or {}
        name = str(function.get("name"))
        content.append(
            {
                "type": "tool_use",
                "id": call.get("id"),
                "name": names.get(name, name),
                "input": _input(function.get("arguments")),
            }
        )
    stop = "refusal" if message.get("refusal") else _stop(choice.get("finish_reason"))
    return {
        "id": data.get("id"),
        "type": "message",
        "role": "assistant",
        "model": data.get("model"),
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": usage_back(data.get("usage"), data.get("service_tier")),
    }


def _stop(finish: object) -> str:
    return _STOPS.get(str(finish), "end_turn")


def _input(arguments: object) -> object:
    """Arguments as the object that Anthropic's clients read; what is no JSON is shown as it is."""
    if not isinstance(arguments, str) or not arguments.strip():
        return {}
    try:
        made = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {"invalid_json": arguments}
    return made if isinstance(made, dict) else {"value": made}


def usage_back(raw: object, tier: object = None) -> dict[str, Any] | None:
    """OpenAI's usage, in Anthropic's buckets: what is cached stands beside the input."""
    if not isinstance(raw, Mapping):
        return None
    parts, out = _mapping(raw, "prompt_tokens_details"), _mapping(raw, "completion_tokens_details")
    cached = max(_count(parts, "cached_tokens"), _count(raw, "prompt_cache_hit_tokens"))
    written = _count(parts, "cache_write_tokens") or _count(parts, "cache_creation_tokens")
    found: dict[str, Any] = {
        "input_tokens": max(0, _count(raw, "prompt_tokens") - cached - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": _count(raw, "completion_tokens"),
    }
    if _count(out, "reasoning_tokens"):
        found["output_tokens_details"] = {"thinking_tokens": _count(out, "reasoning_tokens")}
    if isinstance(tier, str):
        found["service_tier"] = tier
    return found


def _mapping(raw: Json, key: str) -> Json:
    value = raw.get(key)
    return value if isinstance(value, Mapping) else {}


def _count(raw: Json, key: str) -> int:
    value = raw.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def error(data: Json, status: int = 400) -> dict[str, Any]:
    """OpenAI's error in Anthropic's shape."""
    said = data.get("error")
    message = said.get("message") if isinstance(said, Mapping) else said
    kind = _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": str(message)[:4000]}}


class MessageEvents:
    """A chat stream brought back as the events of a message; see ``StreamBack``.

    One content block is open at a time. The end is told when usage has come, or the stream
    has closed after a finish.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._begun = self._told = False
        self._index = -1
        self._open: object = None  # "text", or the number of a tool call
        self._past: set[object] = set()
        self._finish: str | None = None
        self._usage: dict[str, Any] | None = None
        self._tier: object = None

    def event(self, payload: Json) -> bytes:
        """See ``StreamBack.event``."""
        if payload.get("error") and not payload.get("choices"):
            return _named("error", error=error(payload, 500)["error"])
        out: list[bytes] = []
        if not self._begun:
            out.append(self._start(payload))
        self._tier = payload.get("service_tier") or self._tier
        for choice in items_of(payload.get("choices")):
            out.extend(self._delta(choice.get("delta") or {}))
            if choice.get("finish_reason"):
                self._finish = str(choice["finish_reason"])
        if isinstance(payload.get("usage"), Mapping):
            self._usage = usage_back(payload["usage"], self._tier)
            if self._finish is not None:
                out.append(self.end())
        return b"".join(out)

    def end(self) -> bytes:
        """See ``StreamBack.end``; a stream that never finished gets no invented end."""
        if self._finish is None or self._told:
            return b""
        self._told = True
        usage = self._usage or {}
        delta = {"stop_reason": _stop(self._finish), "stop_sequence": None}
        last = _named("message_delta", delta=delta, usage=usage)
        return self._close() + last + _named("message_stop")

    def _start(self, payload: Json) -> bytes:
        self._begun = True
        message: Json = {
            "id": payload.get("id"),
            "type": "message",
            "role": "assistant",
            "model": payload.get("model"),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return _named("message_start", message=message)

    def _delta(self, delta: Json) -> list[bytes]:
        out: list[bytes] = []
        text = delta.get("content") or delta.get("refusal")
        if isinstance(text, str) and text:
            if self._open != "text":
                out.append(self._begin("text", {"type": "text", "text": ""}))
            out.append(self._piece({"type": "text_delta", "text": text}))
        for call in items_of(delta.get("tool_calls")):
            out.extend(self._call(call))
        return out

    def _call(self, call: Json) -> list[bytes]:
        function = call.get("function") or {}
        number = call.get("index", 0)
        out: list[bytes] = []
        if self._open != number:
            if number in self._past:
                raise ValueError("pieces of two tool calls came in turn")
            name = str(function.get("name"))
            block: Json = {"id": call.get("id"), "name": self._names.get(name, name), "input": {}}
            out.append(self._begin(number, {"type": "tool_use", **block}))
        arguments = function.get("arguments")
        if isinstance(arguments, str) and arguments:
            out.append(self._piece({"type": "input_json_delta", "partial_json": arguments}))
        return out

    def _begin(self, what: object, block: Json) -> bytes:
        closed = self._close()
        self._open = what
        self._index += 1
        return closed + _named("content_block_start", index=self._index, content_block=block)

    def _piece(self, delta: Json) -> bytes:
        return _named("content_block_delta", index=self._index, delta=delta)

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        self._past.add(self._open)
        self._past.discard("text")
        self._open = None
        return _named("content_block_stop", index=self._index)


def _named(kind: str, **members: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **members}))

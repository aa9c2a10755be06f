"""An Anthropic message brought back as a chat answer, whole or streamed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.stream import items_of
from gateway.wire.cross import Json

_FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_COUNTS = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
)


def back(data: Json, names: Mapping[str, str]) -> dict[str, Any]:
    """A message as a chat completion."""
    text: list[str] = []
    thoughts: list[Json] = []
    calls: list[dict[str, Any]] = []
    for block in items_of(data.get("content")):
        match block.get("type"):
            case "text":
                text.append(str(block.get("text", "")))
            case "thinking" | "redacted_thinking":
                thoughts.append(block)
            case "tool_use":
                arguments = orjson.dumps(block.get("input") or {}).decode()
                function = {"name": block.get("name"), "arguments": arguments}
                calls.append({"id": block.get("id"), "type": "function", "function": function})
    message: dict[str, Any] = {"role": "assistant", "content": "".join(text) or None}
    if thoughts:
        message["reasoning_content"] = "".join(str(t.get("thinking", "")) for t in thoughts)
        message["thinking_blocks"] = thoughts
    if calls:
        message["tool_calls"] = calls
    finish = _finish(data.get("stop_reason"))
    usage = data.get("usage")
    return {
        "id": data.get("id"),
        "object": "chat.completion",
        "created": 0,
        "model": data.get("model"),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": usage_back(usage),
        "service_tier": usage.get("service_tier") if isinstance(usage, Mapping) else None,
    }


def _finish(stop: object) -> str:
    return _FINISHES.get(str(stop), "stop")


def usage_back(raw: object) -> dict[str, Any] | None:
    """Anthropic's usage as OpenAI's: the prompt includes what was cached and written."""
    if not isinstance(raw, Mapping):
        return None
    fresh, read, written, out = (_count(raw, key) for key in _COUNTS)
    prompt = fresh + read + written
    parts: dict[str, Any] = {"cached_tokens": read, "cache_creation_tokens": written}
    lifetimes = raw.get("cache_creation")
    if isinstance(lifetimes, Mapping) and any(_count(lifetimes, key) for key in lifetimes):
        parts["cache_creation_token_details"] = dict(lifetimes)
    elif written:
        parts["cache_creation_token_details"] = {"ephemeral_5m_input_tokens": written}
    found: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": out,
        "total_tokens": prompt + out,
        "prompt_tokens_details": parts,
    }
    details = raw.get("output_tokens_details")
    if isinstance(details, Mapping) and _count(details, "thinking_tokens"):
        thought = _count(details, "thinking_tokens")
        found["completion_tokens_details"] = {"reasoning_tokens": thought}
    for key in ("server_tool_use", "inference_geo"):
        if raw.get(key):
            found[key] = raw[key]
    return found


def _count(raw: Json, key: str) -> int:
    value = raw.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def error(data: Json, status: int = 400) -> dict[str, Any]:
    """Anthropic's error in OpenAI's shape."""
    said = data.get("error")
    found = said if isinstance(said, Mapping) else {"message": said}
    kind = found.get("type")
    message = str(found.get("message"))[:4000]
    return {"error": {"message": message, "type": kind, "param": None, "code": kind}}


class ChatEvents:
    """The events of a message brought back as chat chunks; see ``StreamBack``."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._head: dict[str, Any] = {"id": None, "object": "chat.completion.chunk", "created": 0}
        self._usage: dict[str, Any] = {}
        self._calls = -1
        self._thought: dict[str, Any] | None = None

    def event(self, payload: Json) -> bytes:
        """See ``StreamBack.event``."""
        out = b""
        match payload.get("type"):
            case "message_start":
                message = payload.get("message") or {}
                self._head |= {"id": message.get("id"), "model": message.get("model")}
                self._count(message.get("usage"))
                out = self._chunk({"role": "assistant", "content": ""})
            case "content_block_start":
                out = self._block(payload.get("content_block") or {})
            case "content_block_delta":
                out = self._delta(payload.get("delta") or {})
            case "content_block_stop":
                out = self._thought_told()
            case "message_delta":
                self._count(payload.get("usage"))
                stop = (payload.get("delta") or {}).get("stop_reason")
                out = self._chunk({}, _finish(stop)) if stop else b""
            case "message_stop":
                usage = usage_back(self._usage)
                out = _sse({**self._head, "choices": [], "usage": usage}) + b"data: [DONE]\n\n"
            case "error":
                out = _sse(error(payload))
        return out

    def end(self) -> bytes:
        """See ``StreamBack.end``: Anthropic says itself when it is over."""
        return b""

    def _count(self, usage: object) -> None:
        if isinstance(usage, Mapping):
            self._usage |= {key: value for key, value in usage.items() if value is not None}
            tier = usage.get("service_tier")
            if tier is not None:
                self._head["service_tier"] = tier

    def _block(self, block: Json) -> bytes:
        match block.get("type"):
            case "tool_use":
                self._calls += 1
                function = {"name": block.get("name"), "arguments": ""}
                call = {"index": self._calls, "id": block.get("id"), "type": "function"}
                return self._chunk({"tool_calls": [{**call, "function": function}]})
            case "thinking" | "redacted_thinking":
                self._thought = dict(block)
                return b""
            case "text" if block.get("text"):
                return self._chunk({"content": block["text"]})
            case _:
                return b""

    def _delta(self, delta: Json) -> bytes:
        match delta:
            case {"type": "text_delta", "text": text}:
                return self._chunk({"content": text})
            case {"type": "input_json_delta", "partial_json": text}:
                piece = {"index": self._calls, "function": {"arguments": text}}
                return self._chunk({"tool_calls": [piece]}) if text else b""
            case {"type": "thinking_delta", "thinking": text}:
                if self._thought is not None:
                    self._thought["thinking"] = str(self._thought.get("thinking", "")) + str(text)
                return self._chunk({"reasoning_content": text})
            case {"type": "signature_delta", "signature": text}:
                if self._thought is not None:
                    self._thought["signature"] = text
                return b""
            case _:
                return b""

    def _thought_told(self) -> bytes:
        """A thought that is whole is given with its signature, for who sends it back."""
        if self._thought is None:
            return b""
        thought, self._thought = self._thought, None
        return self._chunk({"thinking_blocks": [thought]})

    def _chunk(self, delta: Json, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _sse({**self._head, "choices": [choice]})


def _sse(value: object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"

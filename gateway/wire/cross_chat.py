"""A chat request asked on Anthropic's messages wire.

System messages become the system text, tool results the user's. What only OpenAI has and a
client would miss in the answer (several choices, log probabilities, speech) is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.stream import items_of
from gateway.wire.cross import Json, Limits, Uncrossable

_JSON_ONLY = "Answer with one JSON object and nothing else."
_KEPT = ("top_p", "top_k", "stream", "thinking", "inference_geo")
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}


def request(body: Json, limits: Limits) -> dict[str, Any]:
    """The messages body that asks the same.

    Raises:
        Uncrossable: a field whose answer Anthropic does not give.
    """
    _refuse(body)
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or limits.max_output
    asked: dict[str, Any] = {"model": body["model"], "max_tokens": limit}
    system, messages = _messages(items_of(body.get("messages")))
    form = body.get("response_format")
    kind = form.get("type") if isinstance(form, Mapping) else None
    if kind == "json_object":
        system.append({"type": "text", "text": _JSON_ONLY})
    if system:
        asked["system"] = system
    asked["messages"] = messages
    if kind == "json_schema" and isinstance(form, Mapping):
        schema = (form.get("json_schema") or {}).get("schema")
        asked["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    asked |= {key: body[key] for key in _KEPT if body.get(key) is not None}
    if isinstance(body.get("temperature"), int | float):
        asked["temperature"] = min(1, body["temperature"])
    stop = body.get("stop")
    if stop:
        asked["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if isinstance(body.get("user"), str):
        asked["metadata"] = {"user_id": body["user"]}
    return asked | _tools(body)


def names(body: Json) -> dict[str, str]:
    """Anthropic takes every name that OpenAI takes."""
    return {}


def _refuse(body: Json) -> None:
    if (body.get("n") or 1) != 1:
        raise Uncrossable("`n` above 1: Anthropic gives one answer at a time")
    if body.get("logprobs"):
        raise Uncrossable("`logprobs`: Anthropic gives no log probabilities")
    if body.get("audio") or "audio" in items_of(body.get("modalities")):
        raise Uncrossable("`audio`: Anthropic answers in text")


def _messages(items: list[Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    system: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for item in items:
        role = item.get("role")
        if role in {"system", "developer"}:
            system.extend(_blocks(item))
        elif role == "assistant":
            content = _assistant(item)
            if content:
                found.append({"role": "assistant", "content": content})
        elif role in {"tool", "function"}:
            _answered(found, item)
        else:
            found.append({"role": "user", "content": _blocks(item)})
    return system, found


def _answered(found: list[dict[str, Any]], item: Json) -> None:
    """A tool's result goes into the user message that holds its neighbours' results."""
    block: dict[str, Any] = {
        "type": "tool_result",
        "tool_use_id": item.get("tool_call_id") or item.get("name"),
        "content": _blocks(item),
    }
    last = found[-1] if found else None
    if last is not None and last["role"] == "user" and last["content"][0]["type"] == "tool_result":
        last["content"].append(block)
    else:
        found.append({"role": "user", "content": [block]})


def _assistant(item: Json) -> list[dict[str, Any]]:
    """Thoughts that were brought back, then text, then calls."""
    content: list[dict[str, Any]] = list(items_of(item.get("thinking_blocks")))
    content.extend(_blocks(item))
    for call in items_of(item.get("tool_calls")):
        function = call.get("function") or {}
        content.append(
            {
                "type": "tool_use",
                "id": call.get("id"),
                "name": function.get("name"),
                "input": _input(function.get("arguments")),
            }
        )
    return content


def _input(arguments: object) -> object:
    if not isinstance(arguments, str) or not arguments.strip():
        return {}
    try:
        made = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {"invalid_json": arguments}
    return made if isinstance(made, dict) else {"value": made}


def _blocks(item: Json) -> list[dict[str, Any]]:
    """A message's content as blocks; Anthropic refuses empty ones."""
    content = item.get("content")
    if isinstance(content, str):
        return [_marked({"type": "text", "text": content}, item)] if content else []
    parts = (_block(part) for part in items_of(content))
    return [part for part in parts if part.get("text") != ""]


def _block(part: Json) -> dict[str, Any]:
    match part.get("type"):
        case "text" | "input_text" | "output_text" | None:
            return _marked({"type": "text", "text": str(part.get("text", ""))}, part)
        case "refusal":
            return {"type": "text", "text": str(part.get("refusal", ""))}
        case "image_url":
            return _marked({"type": "image", "source": _source(part.get("image_url"))}, part)
        case "file":
            return _marked({"type": "document", "source": _file(part.get("file"))}, part)
        case other:
            raise Uncrossable(f"a part of type {str(other)[:64]!r} cannot be read by Anthropic")


def _marked(block: dict[str, Any], part: Json) -> dict[str, Any]:
    if "cache_control" in part:
        block["cache_control"] = part["cache_control"]
    return block


def _source(value: object) -> dict[str, Any]:
    url = value.get("url") if isinstance(value, Mapping) else value
    if not isinstance(url, str):
        raise Uncrossable("an image without a URL")
    return _data(url) or {"type": "url", "url": url}


def _file(value: object) -> dict[str, Any]:
    data = value.get("file_data") if isinstance(value, Mapping) else None
    source = _data(data) if isinstance(data, str) else None
    if source is None:
        raise Uncrossable("a file by reference: send its data")
    return source


def _data(url: str) -> dict[str, Any] | None:
    """A data URL as a base64 source."""
    if not url.startswith("data:"):
        return None
    kind, _, data = url[5:].partition(",")
    return {"type": "base64", "media_type": kind.partition(";")[0], "data": data}


def _tools(body: Json) -> dict[str, Any]:
    tools = [_tool(tool) for tool in items_of(body.get("tools"))]
    if not tools:
        return {}
    choice = body.get("tool_choice")
    made: dict[str, Any] = {}
    if isinstance(choice, Mapping):
        named = choice.get("function") or {}
        made = {"type": "tool", "name": named.get("name")}
    elif choice in _CHOICES:
        made = {"type": _CHOICES[choice]}
    elif choice is not None:
        raise Uncrossable(f"tool_choice {str(choice)[:64]!r}; expected auto, none or required")
    if body.get("parallel_tool_calls") is False:
        made = {"type": "auto", **made, "disable_parallel_tool_use": True}
    return {"tools": tools, "tool_choice": made} if made else {"tools": tools}


def _tool(tool: Json) -> dict[str, Any]:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, Mapping):
        raise Uncrossable(f"a tool of type {str(tool.get('type'))[:64]!r} is OpenAI's own")
    made: dict[str, Any] = {"name": function.get("name")}
    if function.get("description"):
        made["description"] = function["description"]
    made["input_schema"] = function.get("parameters") or {"type": "object", "properties": {}}
    if "cache_control" in tool:
        made["cache_control"] = tool["cache_control"]
    return made

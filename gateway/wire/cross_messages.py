"""A messages request asked on OpenAI's chat wire.

Signed thoughts stay behind (no other model may see them), cache marks too (OpenAI caches by
itself). Tools that Anthropic itself runs, and blocks that only it can read, are refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from gateway.stream import items_of
from gateway.wire.cross import Json, Limits, Uncrossable

NAME_CHARS = 64  # the longest function name that OpenAI takes
_KEPT = ("temperature", "top_p", "stream")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def request(body: Json, limits: Limits) -> dict[str, Any]:
    """The chat body that asks the same.

    Raises:
        Uncrossable: a block or a tool that only Anthropic has.
    """
    asked: dict[str, Any] = {"model": body["model"], "messages": _messages(body)}
    asked |= {key: body[key] for key in _KEPT if body.get(key) is not None}
    asked[limits.field] = body.get("max_tokens") or limits.max_output
    if body.get("stop_sequences"):
        asked["stop"] = body["stop_sequences"]
    if body.get("stream"):
        asked["stream_options"] = {"include_usage": True}
    tools = [_tool(tool) for tool in items_of(body.get("tools"))]
    if tools:
        asked["tools"] = tools
        asked |= _choice(body.get("tool_choice"))
    schema = _schema(body)
    if schema is not None:
        asked["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        }
    return asked


def names(body: Json) -> dict[str, str]:
    """The tools whose names are too long for the other wire, by their short names."""
    told = (str(t.get("name", "")) for t in items_of(body.get("tools")) if isinstance(t, dict))
    return {short(name): name for name in told if len(name) > NAME_CHARS}


def short(name: str) -> str:
    """A tool's name within the limit; two long names never become one."""
    if len(name) <= NAME_CHARS:
        return name
    digest = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=4).hexdigest()
    return f"{name[: NAME_CHARS - 9]}_{digest}"


def _messages(body: Json) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    system = body.get("system")
    if system:
        found.append({"role": "system", "content": _plain(system)})
    for item in items_of(body.get("messages")):
        content = item["content"]
        if item["role"] == "assistant":
            found.append(_assistant(content))
        elif item["role"] == "system":
            found.append({"role": "system", "content": _plain(content)})
        else:
            found.extend(_user(content))
    return found


def _plain(content: object) -> str:
    """System text, its blocks joined."""
    if isinstance(content, str):
        return content
    return "\n".join(str(b.get("text", "")) for b in items_of(content) if isinstance(b, dict))


def _assistant(content: object) -> dict[str, Any]:
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block in items_of(content):
        match block.get("type"):
            case "text":
                texts.append(str(block.get("text", "")))
            case "tool_use":
                calls.append(_call(block))
            case "thinking" | "redacted_thinking":
                continue
            case other:
                raise _foreign(other)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
    if calls:
        message["tool_calls"] = calls
    elif not texts:
        message["content"] = ""
    return message


def _call(block: Json) -> dict[str, Any]:
    arguments = orjson.dumps(block.get("input") or {}).decode()
    function = {"name": short(str(block.get("name"))), "arguments": arguments}
    return {"id": block.get("id"), "type": "function", "function": function}


def _user(content: object) -> Iterable[dict[str, Any]]:
    """Tool results first, as messages of their own; then what the user said."""
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    found: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for block in items_of(content):
        if block.get("type") == "tool_result":
            text, seen = _result(block.get("content"))
            call_id = block.get("tool_use_id")
            found.append({"role": "tool", "tool_call_id": call_id, "content": text})
            parts.extend(seen)
        else:
            parts.append(_part(block))
    if parts:
        said = [part.get("text") for part in parts]
        whole = said[0] if len(parts) == 1 and said[0] is not None else parts
        found.append({"role": "user", "content": whole})
    return found


def _result(content: object) -> tuple[str, list[dict[str, Any]]]:
    """A tool's result as text, and its pictures, which only a user may show there."""
    if not isinstance(content, list):
        return (content if isinstance(content, str) else "", [])
    parts = [_part(block) for block in content]
    texts = [str(part["text"]) for part in parts if part["type"] == "text"]
    return "\n".join(texts), [part for part in parts if part["type"] != "text"]


def _part(block: Json) -> dict[str, Any]:
    match block.get("type"):
        case "text":
            return {"type": "text", "text": str(block.get("text", ""))}
        case "image":
            return {"type": "image_url", "image_url": {"url": _url(block.get("source"))}}
        case "document":
            return _document(block)
        case "search_result":
            text = _plain(block.get("content"))
            return {"type": "text", "text": f"{block.get('title', '')}\n{text}"}
        case other:
            raise _foreign(other)


def _url(source: object) -> str:
    match source:
        case {"type": "base64", "media_type": str(kind), "data": str(data)}:
            return f"data:{kind};base64,{data}"
        case {"type": "url", "url": str(url)}:
            return url
        case _:
            raise Uncrossable("an image of the provider's file store cannot be sent to another")


def _document(block: Json) -> dict[str, Any]:
    match block.get("source"):
        case {"type": "text", "data": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "base64", "media_type": str(kind), "data": str(data)}:
            name = str(block.get("title") or "document.pdf")
            data_url = f"data:{kind};base64,{data}"
            return {"type": "file", "file": {"filename": name, "file_data": data_url}}
        case _:
            raise Uncrossable("a document by reference cannot be sent to another provider")


def _tool(tool: Json) -> dict[str, Any]:
    if tool.get("type") not in {None, "custom"}:
        raise Uncrossable(f"the tool {str(tool.get('type'))[:64]!r} is run by Anthropic alone")
    function: dict[str, Any] = {"name": short(str(tool.get("name")))}
    if tool.get("description"):
        function["description"] = tool["description"]
    function["parameters"] = tool.get("input_schema") or {"type": "object", "properties": {}}
    if tool.get("strict") is not None:
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}


def _choice(choice: object) -> dict[str, Any]:
    if not isinstance(choice, Mapping):
        return {}
    kind = choice.get("type")
    asked: dict[str, Any] = {}
    if kind == "tool":
        named = {"name": short(str(choice.get("name")))}
        asked["tool_choice"] = {"type": "function", "function": named}
    elif kind in _CHOICES:
        asked["tool_choice"] = _CHOICES[kind]
    if choice.get("disable_parallel_tool_use"):
        asked["parallel_tool_calls"] = False
    return asked


def _schema(body: Json) -> object:
    config = body.get("output_config")
    wanted = config.get("format") if isinstance(config, Mapping) else body.get("output_format")
    return wanted.get("schema") if isinstance(wanted, Mapping) else None


def _foreign(kind: object) -> Uncrossable:
    return Uncrossable(f"a block of type {str(kind)[:64]!r} can be read by Anthropic alone")

"""What a request body says, on the OpenAI and on the Anthropic wire, as one ``SimRequest``.

Written apart from ``gateway.wire`` on purpose: the simulator stands for a provider, and a
provider that read bodies through our own parser would agree with our own mistakes.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from compressor.conversation import Conversation, Media, Message, Part, PartKind

Json = Mapping[str, Any]


class SimError(Exception):
    """A request that the provider refuses, in the terms of its error body."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        self.message, self.param, self.code, self.status = message, param, code, status
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class SimTool:
    """A function the model may call; ``schema`` is the JSON schema of its arguments."""

    name: str
    description: str
    schema: Json


@dataclass(frozen=True, slots=True)
class SimRequest:
    """All that the simulator reads of a request.

    ``max_tokens`` bounds the completion, None when the body names no bound. ``tool_choice``
    is none, auto, required, or the name of one function. ``schema`` is the requested output
    schema ({} for "any JSON object"), None for free text. ``reasoning_effort`` is none, low,
    medium or high. ``cache_marks`` are indexes of messages that end with a cache break point
    (-1: the system text or the tools).
    """

    model: str
    conversation: Conversation
    tools: tuple[SimTool, ...] = ()
    tool_choice: str = "auto"
    schema: Json | None = None
    choices: int = 1
    max_tokens: int | None = None
    stream: bool = False
    include_usage: bool = False
    logprobs: bool = False
    seed: int = 0
    reasoning_effort: str = "none"
    cache_marks: tuple[int, ...] = field(default=())


def parse_body(raw: bytes) -> Json:
    """The body as a JSON object.

    Raises:
        SimError: not JSON, or not an object.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise SimError("We could not parse the JSON body of your request.") from error
    if not isinstance(body, dict):
        raise SimError("The request body must be a JSON object.")
    return body


def parse_chat(body: Json) -> SimRequest:
    """An OpenAI chat-completions body, read.

    Raises:
        SimError: a field is missing or of the wrong type.
    """
    messages = [_chat_message(item, i) for i, item in enumerate(_messages(body))]
    tools = tuple(_chat_tool(tool, i) for i, tool in enumerate(_list(body, "tools")))
    schema, schema_text = _chat_schema(body)
    stream = bool(body.get("stream"))
    options = body.get("stream_options") or {}
    if options and not stream:
        raise SimError(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    limit = _integer(body, "max_completion_tokens", 1)
    return SimRequest(
        model=_text(body, "model"),
        conversation=Conversation(
            tuple(messages), tuple(_compact(t) for t in _list(body, "tools")), schema_text
        ),
        tools=tools,
        tool_choice=_chat_choice(body),
        schema=schema,
        choices=_integer(body, "n", 1) or 1,
        max_tokens=limit if limit is not None else _integer(body, "max_tokens", 1),
        stream=stream,
        include_usage=bool(options.get("include_usage")),
        logprobs=bool(body.get("logprobs")),
        seed=_integer(body, "seed", None) or 0,
        reasoning_effort=_effort(body.get("reasoning_effort")),
    )


def parse_anthropic(body: Json) -> SimRequest:
    """An Anthropic messages body, read.

    Raises:
        SimError: a field is missing or of the wrong type.
    """
    limit = _integer(body, "max_tokens", 1)
    if limit is None:
        raise SimError("max_tokens: Field required", param="max_tokens")
    messages: list[Message] = []
    marks: list[int] = []
    if any("cache_control" in tool for tool in _list(body, "tools")):
        marks.append(-1)
    system = body.get("system")
    if system:
        message = Message("system", tuple(_blocks(system, "system")))
        marks.extend([-1] * _marked(message))
        messages.append(message)
    for i, item in enumerate(_messages(body)):
        role = item.get("role")
        if role not in {"user", "assistant"}:
            raise SimError(f"messages.{i}.role: Input should be 'user' or 'assistant'")
        message = Message(role, tuple(_blocks(item.get("content"), f"messages.{i}.content")))
        messages.append(message)
        marks.extend([len(messages) - 1] * _marked(message))
    thinking = body.get("thinking")
    tools = tuple(
        SimTool(_text(t, "name"), str(t.get("description", "")), t.get("input_schema") or {})
        for t in _list(body, "tools")
    )
    return SimRequest(
        model=_text(body, "model"),
        conversation=Conversation(
            tuple(messages), tuple(_compact(t) for t in _list(body, "tools"))
        ),
        tools=tools,
        tool_choice=_anthropic_choice(body.get("tool_choice")),
        max_tokens=limit,
        stream=bool(body.get("stream")),
        include_usage=True,
        reasoning_effort="medium" if isinstance(thinking, dict) and _thinks(thinking) else "none",
        cache_marks=tuple(marks),
    )


def _thinks(thinking: Json) -> bool:
    return thinking.get("type") in {"enabled", "adaptive"}


def _marked(message: Message) -> bool:
    return any(part.cache_mark for part in message.parts)


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _text(body: Json, key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value:
        raise SimError(f"you must provide a {key} parameter", param=key)
    return value


def _integer(body: Json, key: str, least: int | None) -> int | None:
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise SimError(
            f"Invalid type for '{key}': expected an integer.", param=key, code="invalid_type"
        )
    if least is not None and value < least:
        raise SimError(
            f"Invalid '{key}': integer below minimum value. Expected a value >= {least}, "
            f"but got {value} instead.",
            param=key,
            code="integer_below_min_value",
        )
    return value


def _list(body: Json, key: str) -> Sequence[Any]:
    value = body.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise SimError(
            f"Invalid type for '{key}': expected an array of objects.",
            param=key,
            code="invalid_type",
        )
    return value


def _messages(body: Json) -> Sequence[Any]:
    messages = _list(body, "messages")
    if not messages:
        raise SimError(
            "Invalid 'messages': empty array. Expected an array with minimum length 1.",
            param="messages",
            code="empty_array",
        )
    return messages


def _chat_message(item: Json, index: int) -> Message:
    role = item.get("role")
    if role not in {"system", "developer", "user", "assistant", "tool", "function"}:
        raise SimError(
            f"Invalid value: {role!r}. Supported values are: 'system', 'assistant', 'user', "
            f"'function', 'tool', and 'developer'.",
            param=f"messages[{index}].role",
            code="invalid_value",
        )
    content = item.get("content")
    parts = list(_blocks(content, f"messages[{index}].content")) if content is not None else []
    if role in {"tool", "function"}:
        parts = [
            Part(PartKind.TOOL_RESULT, part.text, call_id=item.get("tool_call_id"))
            for part in parts
        ]
        role = "tool"
    for call in item.get("tool_calls") or ():
        function = call.get("function") or call.get("custom") or {}
        text = f"{function.get('name', '')}\n{function.get('arguments', function.get('input', ''))}"
        parts.append(Part(PartKind.TOOL_CALL, text, call_id=call.get("id")))
    if not parts and role in {"user", "system", "developer"}:
        raise SimError(
            "Invalid value for 'content': expected a string, got null.",
            param=f"messages[{index}].content",
        )
    return Message(str(role), tuple(parts), name=item.get("name"))


def _blocks(content: object, where: str) -> list[Part]:
    if isinstance(content, str):
        return [Part(PartKind.TEXT, content)]
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise SimError(f"Invalid type for '{where}': expected a string or blocks.", param=where)
    return [_block(block) for block in content]


def _block(block: Json) -> Part:
    part = _plain_block(block)
    return replace(part, cache_mark=True) if "cache_control" in block else part


def _plain_block(block: Json) -> Part:
    kind = block.get("type")
    if kind in {"text", "input_text", "output_text", "refusal"}:
        return Part(PartKind.TEXT, str(block.get("text", block.get("refusal", ""))))
    if kind in {"image_url", "image", "input_image"}:
        return Part(PartKind.IMAGE, media=_image(block))
    if kind == "input_audio":
        return Part(PartKind.AUDIO, media=Media())
    if kind in {"tool_use", "tool_result"}:
        return _tool_block(block)
    if kind == "thinking":
        return Part(PartKind.REASONING, str(block.get("thinking", "")))
    return Part(PartKind.OPAQUE, _compact(block))


def _tool_block(block: Json) -> Part:
    if block["type"] == "tool_use":
        text = f"{block.get('name', '')}\n{_compact(block.get('input', {}))}"
        return Part(PartKind.TOOL_CALL, text, call_id=block.get("id"))
    parts = _blocks(block.get("content") or "", "tool_result.content")
    text = "\n".join(part.text for part in parts if part.text)
    return Part(PartKind.TOOL_RESULT, text, call_id=block.get("tool_use_id"))


def _image(block: Json) -> Media:
    """Size in pixels where the image is in the body; a remote URL stays unknown."""
    source = block.get("image_url") or block.get("source") or {}
    detail = source.get("detail", "auto") if isinstance(source, dict) else "auto"
    url = source.get("url", "") if isinstance(source, dict) else str(source)
    data = source.get("data") if isinstance(source, dict) else None
    if data is None and url.startswith("data:") and "," in url:
        data = url.split(",", 1)[1]
    if not isinstance(data, str):
        return Media(detail=str(detail))
    import imagesize

    try:
        pixels = base64.b64decode(data, validate=False)
        width, height = imagesize.get(io.BytesIO(pixels))
    except (binascii.Error, ValueError) as error:
        raise SimError("Invalid base64 image data.", param="messages") from error
    if width <= 0 or height <= 0:
        return Media(detail=str(detail), bytes_=len(pixels))
    return Media(int(width), int(height), str(detail), len(pixels))


def _chat_tool(tool: Json, index: int) -> SimTool:
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise SimError(
            f"Missing required parameter: 'tools[{index}].function'.",
            param=f"tools[{index}].function",
            code="missing_required_parameter",
        )
    return SimTool(
        function["name"], str(function.get("description", "")), function.get("parameters") or {}
    )


def _chat_choice(body: Json) -> str:
    choice = body.get("tool_choice", "auto" if body.get("tools") else "none")
    if isinstance(choice, dict):
        function = choice.get("function")
        return str(function.get("name", "")) if isinstance(function, dict) else "required"
    if choice not in {"none", "auto", "required"}:
        raise SimError(f"Invalid value: {choice!r}.", param="tool_choice", code="invalid_value")
    return str(choice)


def _anthropic_choice(choice: object) -> str:
    if not isinstance(choice, dict):
        return "auto"
    kind = str(choice.get("type", "auto"))
    return str(choice.get("name", "")) if kind == "tool" else {"any": "required"}.get(kind, kind)


def _chat_schema(body: Json) -> tuple[Json | None, str]:
    """The output schema asked for, and its text as far as it counts as prompt."""
    wanted = body.get("response_format")
    if wanted is None:
        return None, ""
    if not isinstance(wanted, dict):
        raise SimError("Invalid type for 'response_format'.", param="response_format")
    match wanted.get("type"):
        case "text":
            return None, ""
        case "json_object":
            return {}, ""
        case "json_schema":
            named = wanted.get("json_schema")
            if not isinstance(named, dict) or not isinstance(named.get("schema"), dict):
                raise SimError(
                    "Missing required parameter: 'response_format.json_schema.schema'.",
                    param="response_format.json_schema",
                    code="missing_required_parameter",
                )
            return named["schema"], _compact(named["schema"])
        case other:
            raise SimError(
                f"Invalid value: {other!r}. Supported values are: 'json_object', 'json_schema', "
                f"and 'text'.",
                param="response_format.type",
                code="invalid_value",
            )


def _effort(value: object) -> str:
    return value if isinstance(value, str) and value in {"low", "medium", "high"} else "none"

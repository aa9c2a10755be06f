"""OpenAI's chat wire: its JSON as a Conversation and facts; unknown fields survive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.usage import chat_usage
from compressor.conversation import Conversation, Media, Message, Part, PartKind, Path
from gateway.errors import InvalidRequest
from gateway.exchange import ChatRequest, ClientHeaders
from gateway.stream import text_of
from gateway.wire import body as bodies
from gateway.wire import chat_answer
from gateway.wire.chat_stream import ChatStream, error_event
from gateway.wire.protocol import Wire
from gateway.wire.reading import count, dump, flag, model_of, picture_at, user_of, wrong
from router.plan import RequestFacts

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


def parse(raw: bytes, headers: ClientHeaders) -> ChatRequest:
    """Read a chat body.

    Raises:
        InvalidRequest: a field that the gateway uses has a type no provider accepts.
    """
    body = bodies.load(raw)
    spliceable = bodies.spliceable(raw)
    if not spliceable:
        bodies.check_duplicates(raw)
    model = model_of(body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise wrong("messages", messages, "a non-empty array of message objects")
    stream = flag(body, "stream")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise wrong("stream_options", options, "an object")
    conversation = Conversation(
        messages=tuple(_message(index, item) for index, item in enumerate(messages)),
        tools=_tools(body),
        response_schema=_schema(body),
    )
    return ChatRequest(
        wire="chat",
        raw=raw,
        body=body,
        conversation=conversation,
        facts=_facts(model, body, conversation, headers),
        stream=stream,
        wants_usage=bool(options and options.get("include_usage")),
        spliceable=spliceable,
        user=user_of(headers.user, body.get("user")),
    )


def _message(index: int, item: object) -> Message:
    where = f"messages[{index}]"
    if not isinstance(item, dict):
        raise wrong(where, item, "an object with role and content")
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        shown = repr(role[:32]) if isinstance(role, str) else type(role).__name__
        raise InvalidRequest(
            f"{where}.role is {shown}; expected one of {', '.join(sorted(_ROLES))}",
            param=f"{where}.role",
        )
    path: Path = ("messages", index)
    parts: list[Part] = []
    reasoning = item.get("reasoning_content") or item.get("thinking_blocks")
    if reasoning:
        text = reasoning if isinstance(reasoning, str) else dump(reasoning)
        parts.append(Part(PartKind.REASONING, text))
    parts.extend(_content(item, role, path))
    parts.extend(_calls(item, where))
    name = item.get("name")
    return Message(role=role, parts=tuple(parts), name=name if isinstance(name, str) else None)


def _content(item: Mapping[str, Any], role: str, path: Path) -> list[Part]:
    content = item.get("content")
    call_id = item.get("tool_call_id") if role == "tool" else None
    kind = PartKind.TOOL_RESULT if role in {"tool", "function"} else PartKind.TEXT
    if isinstance(content, str):
        mark = "cache_control" in item
        return [Part(kind, content, (*path, "content"), call_id=call_id, cache_mark=mark)]
    if content is None:
        refusal = item.get("refusal")
        return [Part(PartKind.OPAQUE, refusal)] if isinstance(refusal, str) else []
    if not isinstance(content, list):
        where = f"messages[{path[1]}].content"
        raise wrong(where, content, "a string, an array of parts, or null")
    return [_part(part, kind, (*path, "content", n), call_id) for n, part in enumerate(content)]


def _part(part: object, kind: PartKind, path: Path, call_id: str | None) -> Part:
    if not isinstance(part, dict):
        raise wrong(f"messages[{path[1]}].content[{path[3]}]", part, "an object with a type")
    mark = "cache_control" in part
    text, named = part.get("text"), text_of(part.get("type", "text"))
    if isinstance(text, str) and named in {"text", "input_text", "output_text"}:
        return Part(kind, text, (*path, "text"), call_id=call_id, cache_mark=mark)
    match part.get("type"):
        case "image_url":
            return Part(PartKind.IMAGE, media=_image(part.get("image_url")), cache_mark=mark)
        case "input_audio":
            return Part(PartKind.AUDIO, media=_audio(part.get("input_audio")), cache_mark=mark)
        case "file":
            return Part(PartKind.FILE, media=Media(bytes_=len(dump(part))), cache_mark=mark)
        case _:
            return Part(PartKind.OPAQUE, dump(part), cache_mark=mark)


def _image(value: object) -> Media:
    if not isinstance(value, dict):
        return picture_at(value)
    detail = value.get("detail")
    return picture_at(value.get("url"), detail if isinstance(detail, str) else "auto")


def _audio(value: object) -> Media:
    data = value.get("data") if isinstance(value, dict) else None
    return Media(bytes_=len(data) * 3 // 4 if isinstance(data, str) else None)


def _calls(item: Mapping[str, Any], where: str) -> list[Part]:
    calls = item.get("tool_calls")
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise wrong(f"{where}.tool_calls", calls, "an array")
    parts = []
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            parts.append(Part(PartKind.OPAQUE, dump(call)))
            continue
        text = f"{function.get('name', '')}\n{function.get('arguments', '')}"
        call_id = call.get("id")
        parts.append(
            Part(PartKind.TOOL_CALL, text, call_id=call_id if isinstance(call_id, str) else None)
        )
    return parts


def _tools(body: Mapping[str, Any]) -> tuple[str, ...]:
    tools = body.get("tools") or body.get("functions")
    if tools is None:
        return ()
    if not isinstance(tools, list):
        raise wrong("tools", tools, "an array of tool objects")
    return tuple(dump(tool) for tool in tools)


def _schema(body: Mapping[str, Any]) -> str:
    wanted = body.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        return dump(wanted.get("json_schema"))
    return ""


def _facts(
    model: str, body: Mapping[str, Any], conversation: Conversation, headers: ClientHeaders
) -> RequestFacts:
    wanted = body.get("response_format")
    messages = conversation.messages
    return RequestFacts(
        requested_model=model,
        max_output_tokens=_limit(body),
        choices=count(body, "n", 1) or 1,
        tool_count=len(conversation.tools),
        image_count=sum(p.kind is PartKind.IMAGE for m in messages for p in m.parts),
        json_schema=isinstance(wanted, dict) and str(wanted.get("type")).startswith("json"),
        reasoning_effort=_text(body.get("reasoning_effort")),
        stream=bool(body.get("stream")),
        mode=headers.mode,
        fit=headers.fit,
        in_tool_loop=messages[-1].role in {"tool", "function"},
        signed_thinking=any(p.kind is PartKind.REASONING for m in messages for p in m.parts),
        human_turns=sum(m.role == "user" for m in messages),
    )


def _limit(body: Mapping[str, Any]) -> int | None:
    for key in ("max_completion_tokens", "max_tokens"):
        if body.get(key) is not None:
            return count(body, key, None)
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


WIRE = Wire(
    name="chat",
    route="/v1/chat/completions",
    path="/chat/completions",
    parse=parse,
    usage=chat_usage,
    unsound=chat_answer.unsound,
    answer=chat_answer.answer,
    text=chat_answer.answer_text,
    stream=ChatStream,
    error_event=error_event,
    limits=("max_completion_tokens", "max_tokens"),
    asks_usage=True,
)

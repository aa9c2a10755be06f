"""Anthropic's messages wire: its JSON as a Conversation and facts; unknown fields survive."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from billing.usage import messages_usage
from compressor.conversation import Conversation, Media, Message, Part, PartKind, Path
from gateway.exchange import ChatRequest, ClientHeaders
from gateway.stream import text_of
from gateway.wire import body as bodies
from gateway.wire import messages_answer
from gateway.wire.messages_stream import MessagesStream, error_event
from gateway.wire.protocol import Wire
from gateway.wire.reading import (
    count,
    dump,
    flag,
    listed,
    model_of,
    picture,
    picture_at,
    user_of,
    wrong,
)
from router.plan import RequestFacts

_ROLES = frozenset({"user", "assistant", "system"})
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
# Agents name their session inside the user id that they send.
_SESSION = re.compile(r"session_([0-9a-fA-F-]{8,64})")


def parse(raw: bytes, headers: ClientHeaders) -> ChatRequest:
    """Read a messages body.

    Raises:
        InvalidRequest: a field that the gateway uses has a type no provider accepts.
    """
    body = bodies.load(raw)
    spliceable = bodies.spliceable(raw)
    if not spliceable:
        bodies.check_duplicates(raw)
    model = model_of(body)
    messages = listed(body, "messages", "message objects")
    if not messages:
        raise wrong("messages", body.get("messages"), "a non-empty array of message objects")
    conversation = Conversation(
        messages=(*_system(body), *(_message(n, item) for n, item in enumerate(messages))),
        tools=tuple(dump(tool) for tool in listed(body, "tools", "tool objects")),
        response_schema=_schema(body),
    )
    said = body.get("metadata")
    user = said.get("user_id") if isinstance(said, dict) else None
    session = _SESSION.search(user) if isinstance(user, str) else None
    return ChatRequest(
        wire="messages",
        raw=raw,
        body=body,
        conversation=conversation,
        facts=_facts(model, body, conversation, headers),
        stream=flag(body, "stream"),
        wants_usage=True,
        spliceable=spliceable,
        user=user_of(headers.user, None if session else user),
        session=session.group(1) if session else None,
    )


def _system(body: Mapping[str, Any]) -> Sequence[Message]:
    system = body.get("system")
    if not system:
        return ()
    if isinstance(system, str):
        return (Message("system", (Part(PartKind.TEXT, system, ("system",)),)),)
    blocks = listed(body, "system", "text blocks")
    parts = [_block(block, ("system", n)) for n, block in enumerate(blocks)]
    return (Message("system", tuple(parts)),)


def _message(index: int, item: object) -> Message:
    where = f"messages[{index}]"
    if not isinstance(item, dict):
        raise wrong(where, item, "an object with role and content")
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise wrong(f"{where}.role", role, "user or assistant")
    content = item.get("content")
    path: Path = ("messages", index, "content")
    if isinstance(content, str):
        return Message(role, (Part(PartKind.TEXT, content, path),))
    if not isinstance(content, list):
        raise wrong(f"{where}.content", content, "a string or an array of blocks")
    parts: list[Part] = []
    for number, block in enumerate(content):
        parts.extend(_parts(block, (*path, number)))
    answered = bool(parts) and all(part.kind is PartKind.TOOL_RESULT for part in parts)
    return Message("tool" if answered else role, tuple(parts))


def _parts(block: object, path: Path) -> Sequence[Part]:
    """One block; a tool's result may be several parts."""
    if isinstance(block, dict) and block.get("type") == "tool_result":
        return _result(block, path)
    return (_block(block, path),)


def _block(block: object, path: Path) -> Part:
    if not isinstance(block, dict):
        raise wrong(".".join(map(str, path)), block, "an object with a type")
    mark = "cache_control" in block
    kind, text = text_of(block.get("type")), block.get("text")
    if kind == "text" and isinstance(text, str):
        return Part(PartKind.TEXT, text, (*path, "text"), cache_mark=mark)
    if kind == "image":
        return Part(PartKind.IMAGE, media=_image(block.get("source")), cache_mark=mark)
    if kind == "tool_use":
        said = f"{block.get('name', '')}\n{dump(block.get('input'))}"
        call_id = block.get("id")
        known = call_id if isinstance(call_id, str) else None
        return Part(PartKind.TOOL_CALL, said, call_id=known, cache_mark=mark)
    if kind in _THOUGHTS:
        thought = block.get("thinking")
        return Part(PartKind.REASONING, thought if isinstance(thought, str) else "")
    if kind == "document":
        return _document(block, path, mark=mark)
    return Part(PartKind.OPAQUE, dump(block), cache_mark=mark)


def _document(block: Mapping[str, Any], path: Path, *, mark: bool) -> Part:
    source = block.get("source")
    data = source.get("data") if isinstance(source, dict) else None
    if isinstance(source, dict) and source.get("type") == "text" and isinstance(data, str):
        return Part(PartKind.TEXT, data, (*path, "source", "data"), cache_mark=mark)
    size = len(data) * 3 // 4 if isinstance(data, str) else len(dump(block))
    return Part(PartKind.FILE, media=Media(bytes_=size), cache_mark=mark)


def _image(source: object) -> Media:
    if not isinstance(source, dict):
        return picture(None)
    data = source.get("data")
    return picture(data) if isinstance(data, str) else picture_at(source.get("url"))


def _result(block: Mapping[str, Any], path: Path) -> list[Part]:
    content, mark = block.get("content"), "cache_control" in block
    said = block.get("tool_use_id")
    call_id = said if isinstance(said, str) else None
    kind = PartKind.TOOL_RESULT
    if isinstance(content, str):
        return [Part(kind, content, (*path, "content"), call_id=call_id, cache_mark=mark)]
    if content is None:
        return [Part(kind, call_id=call_id, cache_mark=mark)]
    if not isinstance(content, list):
        raise wrong(".".join(map(str, path)), content, "a string or an array of blocks")
    parts = []
    for number, inner in enumerate(content):
        part = _block(inner, (*path, "content", number))
        if part.kind is PartKind.TEXT:
            part = Part(kind, part.text, part.path, call_id, part.cache_mark or mark)
        parts.append(part)
    return parts or [Part(kind, call_id=call_id, cache_mark=mark)]


def _schema(body: Mapping[str, Any]) -> str:
    wanted = _format(body)
    return dump(wanted.get("schema")) if wanted else ""


def _format(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The output format asked for, by its present or its former name."""
    config = body.get("output_config")
    wanted = config.get("format") if isinstance(config, dict) else body.get("output_format")
    return wanted if isinstance(wanted, dict) and wanted.get("type") == "json_schema" else None


def _facts(
    model: str, body: Mapping[str, Any], conversation: Conversation, headers: ClientHeaders
) -> RequestFacts:
    messages = conversation.messages
    kinds = [part.kind for message in messages for part in message.parts]
    last = messages[-1]
    return RequestFacts(
        requested_model=model,
        max_output_tokens=count(body, "max_tokens", None),
        tool_count=len(conversation.tools),
        image_count=kinds.count(PartKind.IMAGE),
        json_schema=_format(body) is not None,
        reasoning_effort=_effort(body),
        stream=bool(body.get("stream")),
        mode=headers.mode,
        fit=headers.fit,
        in_tool_loop=any(part.kind is PartKind.TOOL_RESULT for part in last.parts),
        signed_thinking=PartKind.REASONING in kinds,
        human_turns=sum(message.role == "user" for message in messages),
    )


def _effort(body: Mapping[str, Any]) -> str | None:
    config, thinking = body.get("output_config"), body.get("thinking")
    effort = config.get("effort") if isinstance(config, dict) else None
    if isinstance(effort, str):
        return effort
    kind = text_of(thinking.get("type")) if isinstance(thinking, dict) else None
    return "medium" if kind in {"enabled", "adaptive"} else None


WIRE = Wire(
    name="messages",
    route="/v1/messages",
    path="/v1/messages",
    parse=parse,
    usage=messages_usage,
    unsound=messages_answer.unsound,
    answer=messages_answer.answer,
    text=messages_answer.answer_text,
    stream=MessagesStream,
    error_event=error_event,
    limits=("max_tokens",),
)

"""OpenAI's responses wire: its JSON as a Conversation and facts; unknown fields survive.

What lies at the provider (an earlier response, a stored conversation or prompt) cannot be seen
here: such a request passes to the model it asks for, as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.usage import responses_usage
from compressor.conversation import Conversation, Media, Message, Part, PartKind, Path
from compressor.recipe import Way
from gateway.errors import InvalidRequest
from gateway.exchange import ChatRequest, ClientHeaders
from gateway.wire import body as bodies
from gateway.wire import responses_answer
from gateway.wire.protocol import Wire
from gateway.wire.reading import (
    count,
    dump,
    flag,
    listed,
    model_of,
    picture_at,
    user_of,
    wrong,
)
from gateway.wire.responses_stream import ResponsesStream, error_event
from router.plan import RequestFacts

_TEXTS = frozenset({"input_text", "output_text", "text"})
_HIDDEN = ("previous_response_id", "conversation", "prompt")


def parse(raw: bytes, headers: ClientHeaders) -> ChatRequest:
    """Read a responses body.

    Raises:
        InvalidRequest: a field that the gateway uses has a type no provider accepts.
    """
    body = bodies.load(raw)
    spliceable = bodies.spliceable(raw)
    if not spliceable:
        bodies.check_duplicates(raw)
    model = model_of(body)
    if flag(body, "background"):
        raise InvalidRequest(
            "background responses are not served: what they cost is known only long after the "
            "answer to this request. Send it without `background`",
            param="background",
        )
    hidden = any(body.get(key) for key in _HIDDEN)
    messages = (*_instructions(body), *_items(body, hidden=hidden))
    conversation = Conversation(
        messages=messages,
        tools=tuple(dump(tool) for tool in listed(body, "tools", "tool objects")),
        response_schema=_schema(body),
    )
    return ChatRequest(
        wire="responses",
        raw=raw,
        body=body,
        conversation=conversation,
        facts=_facts(model, body, conversation, headers, hidden=hidden),
        stream=flag(body, "stream"),
        wants_usage=True,
        spliceable=spliceable,
        user=user_of(headers.user, body.get("safety_identifier") or body.get("user")),
        hidden=hidden,
    )


def _instructions(body: Mapping[str, Any]) -> tuple[Message, ...]:
    said = body.get("instructions")
    if said is None or said == "":
        return ()
    if not isinstance(said, str):
        raise wrong("instructions", said, "a string")
    return (Message("system", (Part(PartKind.TEXT, said, ("instructions",)),)),)


def _items(body: Mapping[str, Any], *, hidden: bool) -> tuple[Message, ...]:
    said = body.get("input")
    if isinstance(said, str):
        return (Message("user", (Part(PartKind.TEXT, said, ("input",)),)),)
    items = listed(body, "input", "items, or a string")
    if not items and not hidden:
        raise wrong("input", said, "a string or a non-empty array of items")
    return tuple(_item(item, ("input", n)) for n, item in enumerate(items))


def _item(item: object, path: Path) -> Message:
    if not isinstance(item, dict):
        raise wrong(f"input[{path[1]}]", item, "an object with a type or a role")
    match item.get("type", "message"):
        case "message":
            return _message(item, path)
        case "function_call" | "custom_tool_call":
            said = item.get("arguments", item.get("input", ""))
            text = f"{item.get('name', '')}\n{said}"
            return Message("assistant", (Part(PartKind.TOOL_CALL, text, call_id=_call(item)),))
        case "function_call_output" | "custom_tool_call_output":
            return Message("tool", tuple(_output(item, path)))
        case "reasoning":
            return Message("assistant", (Part(PartKind.REASONING, dump(item)),))
        case _:
            return Message("assistant", (Part(PartKind.OPAQUE, dump(item)),))


def _message(item: Mapping[str, Any], path: Path) -> Message:
    role, content = item.get("role"), item.get("content")
    if not isinstance(role, str):
        raise wrong(f"input[{path[1]}].role", role, "user, assistant, system or developer")
    if isinstance(content, str):
        return Message(role, (Part(PartKind.TEXT, content, (*path, "content")),))
    if not isinstance(content, list):
        raise wrong(f"input[{path[1]}].content", content, "a string or an array of parts")
    place = (*path, "content")
    parts = [_part(part, (*place, n), PartKind.TEXT, None) for n, part in enumerate(content)]
    return Message(role, tuple(parts))


def _part(part: object, path: Path, kind: PartKind, call_id: str | None) -> Part:
    if not isinstance(part, dict):
        raise wrong(".".join(map(str, path)), part, "an object with a type")
    text = part.get("text")
    match part.get("type"):
        case str(name) if name in _TEXTS and isinstance(text, str):
            counted = part.get("annotations")  # they count this text's characters
            return Part(kind, text, None if counted else (*path, "text"), call_id=call_id)
        case "input_image":
            detail = part.get("detail")
            known = detail if isinstance(detail, str) else "auto"
            return Part(PartKind.IMAGE, media=picture_at(part.get("image_url"), known))
        case "input_file":
            return Part(PartKind.FILE, media=Media(bytes_=len(dump(part))))
        case _:
            return Part(PartKind.OPAQUE, dump(part))


def _output(item: Mapping[str, Any], path: Path) -> list[Part]:
    said, kind, call_id = item.get("output"), PartKind.TOOL_RESULT, _call(item)
    if isinstance(said, str):
        return [Part(kind, said, (*path, "output"), call_id=call_id)]
    if not isinstance(said, list):
        return [Part(PartKind.OPAQUE, dump(said), call_id=call_id)]
    place = (*path, "output")
    return [_part(part, (*place, n), kind, call_id) for n, part in enumerate(said)]


def _call(item: Mapping[str, Any]) -> str | None:
    call_id = item.get("call_id")
    return call_id if isinstance(call_id, str) else None


def _format(body: Mapping[str, Any]) -> Mapping[str, Any]:
    text = body.get("text")
    wanted = text.get("format") if isinstance(text, dict) else None
    return wanted if isinstance(wanted, dict) else {}


def _schema(body: Mapping[str, Any]) -> str:
    wanted = _format(body)
    return dump(wanted.get("schema")) if wanted.get("type") == "json_schema" else ""


def _facts(
    model: str,
    body: Mapping[str, Any],
    conversation: Conversation,
    headers: ClientHeaders,
    *,
    hidden: bool,
) -> RequestFacts:
    messages = conversation.messages
    kinds = [part.kind for message in messages for part in message.parts]
    reasoning = body.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
    return RequestFacts(
        requested_model=model,
        max_output_tokens=count(body, "max_output_tokens", None),
        tool_count=len(conversation.tools),
        image_count=kinds.count(PartKind.IMAGE),
        json_schema=str(_format(body).get("type")).startswith("json"),
        reasoning_effort=effort if isinstance(effort, str) else None,
        stream=bool(body.get("stream")),
        mode="pass" if hidden else headers.mode,
        fit=Way.WHOLE if hidden else headers.fit,
        in_tool_loop=bool(messages) and messages[-1].role == "tool",
        signed_thinking=PartKind.REASONING in kinds,
        human_turns=sum(message.role == "user" for message in messages),
    )


WIRE = Wire(
    name="responses",
    route="/v1/responses",
    path="/responses",
    parse=parse,
    usage=responses_usage,
    unsound=responses_answer.unsound,
    answer=responses_answer.answer,
    text=responses_answer.answer_text,
    stream=ResponsesStream,
    error_event=error_event,
    limits=("max_output_tokens",),
)

"""The simulator's other wires: OpenAI's responses, completions and embeddings."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from compressor.conversation import Conversation, Message, Part, PartKind
from gateway.simulator_answer import pieces
from gateway.simulator_reply import Choice, Event, Served, chat_usage
from gateway.simulator_wire import Json, SimError, SimRequest, SimTool

_DIMENSIONS = 8
_ROLES = {"developer": "system"}


def parse_responses(body: Json) -> SimRequest:
    """An OpenAI responses body, read.

    Raises:
        SimError: a field is missing or of the wrong type.
    """
    messages = [Message("system", _texts(body["instructions"]))] if body.get("instructions") else []
    said = body.get("input")
    if isinstance(said, str):
        said = [{"role": "user", "content": said}]
    if not isinstance(said, list) or not said:
        raise SimError("Missing required parameter: 'input'.", param="input")
    messages += [_item(item) for item in said]
    tools = [tool for tool in body.get("tools") or () if tool.get("type") == "function"]
    form = (body.get("text") or {}).get("format") or {}
    schema = form.get("schema") if form.get("type") == "json_schema" else None
    text = "" if schema is None else json.dumps(schema, separators=(",", ":"))
    choice = body.get("tool_choice", "auto" if tools else "none")
    return SimRequest(
        model=str(body.get("model")),
        conversation=Conversation(tuple(messages), tuple(map(json.dumps, tools)), text),
        tools=tuple(
            SimTool(t["name"], str(t.get("description", "")), t.get("parameters") or {})
            for t in tools
        ),
        tool_choice=str(choice.get("name") if isinstance(choice, dict) else choice),
        schema=schema,
        max_tokens=body.get("max_output_tokens"),
        stream=bool(body.get("stream")),
        include_usage=True,
        reasoning_effort=str((body.get("reasoning") or {}).get("effort") or "none"),
    )


def _texts(content: object) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Part(PartKind.TEXT, content),)
    blocks = content if isinstance(content, list) else []
    return tuple(Part(PartKind.TEXT, str(block.get("text", ""))) for block in blocks)


def _item(item: Json) -> Message:
    match item.get("type", "message"):
        case "function_call":
            text = f"{item.get('name', '')}\n{item.get('arguments', '')}"
            return Message("assistant", (Part(PartKind.TOOL_CALL, text),))
        case "function_call_output":
            return Message("tool", (Part(PartKind.TOOL_RESULT, str(item.get("output", ""))),))
        case "message":
            role = str(item.get("role"))
            return Message(_ROLES.get(role, role), _texts(item.get("content")))
        case _:
            return Message("assistant", (Part(PartKind.OPAQUE, json.dumps(item)),))


def responses_usage(served: Served) -> dict[str, Any]:
    """The responses wire's usage object."""
    thought = sum(choice.answer.reasoning_tokens for choice in served.choices)
    return {
        "input_tokens": served.prompt_tokens,
        "input_tokens_details": {"cached_tokens": served.cached_tokens},
        "output_tokens": served.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": served.prompt_tokens + served.completion_tokens,
    }


def _items(served: Served) -> list[dict[str, Any]]:
    choice = served.choices[0]
    found: list[dict[str, Any]] = []
    if choice.answer.reasoning_tokens:
        found.append({"type": "reasoning", "id": f"rs_{served.id}", "summary": []})
    for number, call in enumerate(choice.answer.calls):
        found.append(
            {
                "type": "function_call",
                "id": f"fc_{served.id}_{number}",
                "call_id": call.id,
                "name": call.name,
                "arguments": call.arguments,
                "status": "completed",
            }
        )
    if not choice.answer.calls:
        text = {"type": "output_text", "text": choice.answer.text, "annotations": []}
        found.append(
            {
                "type": "message",
                "id": f"msg_{served.id}",
                "role": "assistant",
                "status": "completed",
                "content": [text],
            }
        )
    return found


def _response(served: Served, request: SimRequest, status: str) -> dict[str, Any]:
    done = status != "in_progress"
    cut = status == "incomplete"
    return {
        "id": f"resp_{served.id}",
        "object": "response",
        "created_at": served.created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "model": served.model,
        "output": _items(served) if done else [],
        "parallel_tool_calls": True,
        "service_tier": "default",
        "tool_choice": request.tool_choice,
        "tools": [],
        "usage": responses_usage(served) if done else None,
    }


def _status(choice: Choice) -> str:
    return "incomplete" if choice.finish == "length" else "completed"


def responses_body(served: Served, request: SimRequest) -> bytes:
    """The whole response as JSON."""
    return json.dumps(_response(served, request, _status(served.choices[0]))).encode()


def responses_events(served: Served, request: SimRequest) -> Iterator[Event]:
    """The response as server-sent events, the whole of it last."""
    choice, number = served.choices[0], iter(range(10**6))

    def event(kind: str, tokens: int = 0, **members: object) -> Event:
        data = json.dumps({"type": kind, "sequence_number": next(number), **members})
        return Event(f"event: {kind}\ndata: {data}\n\n".encode(), tokens)

    begun = _response(served, request, "in_progress")
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    for index, item in enumerate(_items(served)):
        place = {"output_index": index, "item_id": item["id"]}
        empty: Mapping[str, object] = {"content": []} if item["type"] == "message" else {}
        calls = {"arguments": ""} if item["type"] == "function_call" else {}
        yield event(
            "response.output_item.added", output_index=index, item={**item, **empty, **calls}
        )
        if item["type"] == "function_call":
            parts = pieces(item["arguments"])
            for part, tokens in _shared(parts, choice):
                yield event("response.function_call_arguments.delta", tokens, **place, delta=part)
            yield event(
                "response.function_call_arguments.done",
                **place,
                arguments=item["arguments"],
                name=item["name"],
            )
        elif item["type"] == "message":
            spot = {**place, "content_index": 0}
            part = item["content"][0]
            yield event("response.content_part.added", **spot, part={**part, "text": ""})
            for text, tokens in _shared(pieces(part["text"]), choice):
                yield event("response.output_text.delta", tokens, **spot, delta=text, logprobs=[])
            yield event("response.output_text.done", **spot, text=part["text"], logprobs=[])
            yield event("response.content_part.done", **spot, part=part)
        yield event("response.output_item.done", output_index=index, item=item)
    status = _status(choice)
    yield event(f"response.{status}", response=_response(served, request, status))


def _shared(parts: list[str], choice: Choice) -> Iterator[tuple[str, int]]:
    for index, part in enumerate(parts):
        before, after = choice.tokens * index, choice.tokens * (index + 1)
        yield part, after // len(parts) - before // len(parts)


def _inputs(said: object, name: str) -> tuple[Part, ...]:
    many = said if isinstance(said, list) else [said]
    if not many or not all(isinstance(one, str) for one in many):
        raise SimError(f"Invalid type for '{name}'.", param=name)
    return tuple(Part(PartKind.TEXT, str(one)) for one in many)


def parse_completions(body: Json) -> SimRequest:
    """An OpenAI completions body, read. Raises SimError."""
    options = body.get("stream_options") or {}
    return SimRequest(
        model=str(body.get("model")),
        conversation=Conversation((Message("user", _inputs(body.get("prompt"), "prompt")),)),
        choices=int(body.get("n") or 1),
        max_tokens=body.get("max_tokens") or 16,
        stream=bool(body.get("stream")),
        include_usage=bool(options.get("include_usage")),
    )


def _completion(served: Served, choices: list[dict[str, Any]], **more: object) -> dict[str, Any]:
    return {
        "id": served.id,
        "object": "text_completion",
        "created": served.created,
        "model": served.model,
        "choices": choices,
        **more,
    }


def _choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def completions_body(served: Served, _: SimRequest) -> bytes:
    """The whole completion as JSON."""
    found = [_choice(n, c.answer.text, c.finish) for n, c in enumerate(served.choices)]
    return json.dumps(_completion(served, found, usage=chat_usage(served))).encode()


def completions_events(served: Served, request: SimRequest) -> Iterator[Event]:
    """The completion as server-sent events, ``[DONE]`` last."""

    def event(choices: list[dict[str, Any]], tokens: int = 0, **more: object) -> Event:
        data = json.dumps(_completion(served, choices, **more))
        return Event(f"data: {data}\n\n".encode(), tokens)

    for index, choice in enumerate(served.choices):
        for text, tokens in _shared(pieces(choice.answer.text), choice):
            yield event([_choice(index, text, None)], tokens)
        yield event([_choice(index, "", choice.finish)])
    if request.include_usage:
        yield event([], usage=chat_usage(served))
    yield Event(b"data: [DONE]\n\n")


def parse_embeddings(body: Json) -> SimRequest:
    """An OpenAI embeddings body, read; ``tool_choice`` carries the encoding. Raises SimError."""
    return SimRequest(
        model=str(body.get("model")),
        conversation=Conversation((Message("user", _inputs(body.get("input"), "input")),)),
        choices=0,
        tool_choice=str(body.get("encoding_format") or "float"),
    )


def embeddings_body(served: Served, request: SimRequest) -> bytes:
    """A vector for each text, made of its hash."""
    data = []
    for index, part in enumerate(request.conversation.messages[0].parts):
        digest = hashlib.blake2b(part.text.encode("utf-8", "replace"), digest_size=_DIMENSIONS)
        vector = [byte / 255 for byte in digest.digest()]
        packed = base64.b64encode(struct.pack(f"<{_DIMENSIONS}f", *vector)).decode()
        shown: object = packed if request.tool_choice == "base64" else vector
        data.append({"object": "embedding", "index": index, "embedding": shown})
    usage = {"prompt_tokens": served.prompt_tokens, "total_tokens": served.prompt_tokens}
    made = {"object": "list", "data": data, "model": served.model, "usage": usage}
    return json.dumps(made).encode()


def no_events(_: Served, __: SimRequest) -> Iterator[Event]:
    """Vectors are never streamed."""
    yield from ()

"""Reply bodies of both wires: whole, and as the events of a stream."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.simulator_answer import Answer, pieces
from gateway.simulator_wire import SimError, SimRequest

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice as delivered: ``tokens`` completion tokens, reasoning included."""

    answer: Answer
    tokens: int
    finish: str


@dataclass(frozen=True, slots=True)
class Served:
    """All that a reply body says. Tokens are counts; ``created`` UTC epoch seconds."""

    id: str
    created: int
    model: str
    choices: tuple[Choice, ...]
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int

    @property
    def completion_tokens(self) -> int:
        """Completion tokens of all choices, reasoning included."""
        return sum(choice.tokens for choice in self.choices)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream; ``tokens`` completion tokens are delivered with it."""

    data: bytes
    tokens: int = 0


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def chat_usage(served: Served) -> dict[str, Any]:
    """OpenAI's usage object: cached tokens stand inside ``prompt_tokens``."""
    thought = sum(choice.answer.reasoning_tokens for choice in served.choices)
    return {
        "prompt_tokens": served.prompt_tokens,
        "completion_tokens": served.completion_tokens,
        "total_tokens": served.prompt_tokens + served.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": served.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": thought,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def anthropic_usage(served: Served) -> dict[str, Any]:
    """Anthropic's usage object: ``input_tokens`` excludes cache reads and writes."""
    fresh = served.prompt_tokens - served.cached_tokens - served.cache_write_tokens
    return {
        "input_tokens": fresh,
        "cache_creation_input_tokens": served.cache_write_tokens,
        "cache_read_input_tokens": served.cached_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": served.cache_write_tokens,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": served.completion_tokens,
        "service_tier": "standard",
    }


def chat_body(served: Served, request: SimRequest) -> bytes:
    """The whole chat completion as JSON."""
    choices = []
    for index, choice in enumerate(served.choices):
        message: dict[str, Any] = {
            "role": "assistant",
            "content": choice.answer.text or None,
            "refusal": None,
            "annotations": [],
        }
        if choice.answer.calls:
            message["tool_calls"] = _tool_calls(choice.answer)
        choices.append(
            {
                "index": index,
                "message": message,
                "logprobs": _logprobs(pieces(choice.answer.text)) if request.logprobs else None,
                "finish_reason": choice.finish,
            }
        )
    return _dump(
        {
            "id": served.id,
            "object": "chat.completion",
            "created": served.created,
            "model": served.model,
            "choices": choices,
            "usage": chat_usage(served),
            "service_tier": "default",
            "system_fingerprint": "fp_simulator",
        }
    )


def chat_events(served: Served, request: SimRequest) -> Iterator[Event]:
    """The chat completion as server-sent events, ``[DONE]`` last."""
    head = {
        "id": served.id,
        "object": "chat.completion.chunk",
        "created": served.created,
        "model": served.model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulator",
    }

    def event(choices: list[dict[str, Any]], tokens: int = 0, **extra: object) -> Event:
        usage = {"usage": None} if request.include_usage else {}
        return Event(_sse({**head, "choices": choices, **usage, **extra}), tokens)

    for index, choice in enumerate(served.choices):
        opening: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
        yield event([_delta(index, opening)])
        for text, tokens in _shared(pieces(choice.answer.text), choice):
            logprobs = _logprobs([text]) if request.logprobs else None
            yield event([_delta(index, {"content": text}, logprobs=logprobs)], tokens)
        for number, call in enumerate(choice.answer.calls):
            named = {"index": number, "id": call.id, "type": "function"}
            function = {"name": call.name, "arguments": ""}
            yield event([_delta(index, {"tool_calls": [{**named, "function": function}]})])
            for text, tokens in _shared(pieces(call.arguments), choice):
                part = {"index": number, "function": {"arguments": text}}
                yield event([_delta(index, {"tool_calls": [part]})], tokens)
        yield event([_delta(index, {}, finish=choice.finish)])
    if request.include_usage:
        yield event([], usage=chat_usage(served))
    yield Event(b"data: [DONE]\n\n")


def anthropic_body(served: Served, _request: SimRequest) -> bytes:
    """The whole Anthropic message as JSON."""
    choice = served.choices[0]
    return _dump({**_message_head(served), "content": _content(choice.answer), **_stop(choice)})


def anthropic_events(served: Served, _request: SimRequest) -> Iterator[Event]:
    """The Anthropic message as server-sent events, ``message_stop`` last."""
    choice = served.choices[0]
    start = {**_message_head(served), "content": [], "stop_reason": None, "stop_sequence": None}
    start["usage"] = {**anthropic_usage(served), "output_tokens": 1}
    yield _named("message_start", message=start)
    for index, block in enumerate(_content(choice.answer)):
        field, kind, part = _DELTAS[block["type"]]
        whole = block[field] if field != "input" else choice.answer.calls[0].arguments
        opening = {**block, field: {} if field == "input" else "", **_unsigned(block)}
        yield _named("content_block_start", index=index, content_block=opening)
        if index == 0:
            yield _named("ping")
        counted = field != "thinking"  # thought tokens are delivered with what follows
        for text, tokens in _shared(pieces(whole), choice):
            delta = {"type": kind, part: text}
            yield _named("content_block_delta", tokens * counted, index=index, delta=delta)
        if "signature" in block:
            signed = {"type": "signature_delta", "signature": block["signature"]}
            yield _named("content_block_delta", index=index, delta=signed)
        yield _named("content_block_stop", index=index)
    usage = {"output_tokens": served.completion_tokens}
    yield _named("message_delta", delta=_stop(choice), usage=usage)
    yield _named("message_stop")


def chat_error(refused: SimError) -> bytes:
    """OpenAI's error body."""
    error = {
        "message": refused.message,
        "type": "invalid_request_error",
        "param": refused.param,
        "code": refused.code,
    }
    return _dump({"error": error})


def anthropic_error(refused: SimError) -> bytes:
    """Anthropic's error body."""
    kind = _ANTHROPIC_TYPES.get(refused.status, "api_error")
    return _dump({"type": "error", "error": {"type": kind, "message": refused.message}})


def _sse(value: object) -> bytes:
    return b"data: " + _dump(value) + b"\n\n"


def _named(kind: str, tokens: int = 0, **members: object) -> Event:
    return Event(b"event: " + kind.encode() + b"\n" + _sse({"type": kind, **members}), tokens)


def _delta(
    index: int, delta: dict[str, Any], *, logprobs: object = None, finish: str | None = None
) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


def _shared(parts: Sequence[str], choice: Choice) -> Iterator[tuple[str, int]]:
    """Each piece with its share of the choice's tokens; the shares add up to them all."""
    for index, part in enumerate(parts):
        before, after = choice.tokens * index, choice.tokens * (index + 1)
        yield part, after // len(parts) - before // len(parts)


def _tool_calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in answer.calls
    ]


def _logprobs(parts: Sequence[str]) -> dict[str, Any]:
    entries = [
        {
            "token": part,
            "logprob": -0.01 * (1 + len(part) % 7),
            "bytes": list(part.encode("utf-8", "surrogatepass")),
            "top_logprobs": [],
        }
        for part in parts
    ]
    return {"content": entries, "refusal": None}


# Of each kind of block: the field that streams, and how its pieces are named.
_DELTAS = {
    "text": ("text", "text_delta", "text"),
    "tool_use": ("input", "input_json_delta", "partial_json"),
    "thinking": ("thinking", "thinking_delta", "thinking"),
}


def _unsigned(block: dict[str, Any]) -> dict[str, str]:
    return {"signature": ""} if "signature" in block else {}


def _content(answer: Answer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.reasoning_tokens:
        thought = f"That takes {answer.reasoning_tokens} tokens of thought."
        signature = hashlib.sha256(f"{thought}{answer.text}".encode("utf-8", "replace")).digest()
        signed = base64.b64encode(signature).decode()
        blocks.append({"type": "thinking", "thinking": thought, "signature": signed})
    if answer.text:
        blocks.append({"type": "text", "text": answer.text})
    for call in answer.calls:
        made = json.loads(call.arguments)
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": made})
    return blocks


def _message_head(served: Served) -> dict[str, Any]:
    return {
        "id": served.id,
        "type": "message",
        "role": "assistant",
        "model": served.model,
        "usage": anthropic_usage(served),
    }


def _stop(choice: Choice) -> dict[str, Any]:
    reasons = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
    return {"stop_reason": reasons[choice.finish], "stop_sequence": None}

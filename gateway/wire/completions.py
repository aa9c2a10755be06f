"""OpenAI's former completions wire: passed to the model it names, metered like chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from billing.usage import chat_usage
from compressor.conversation import Conversation, Message, Part, PartKind
from compressor.recipe import Way
from gateway.errors import InvalidRequest
from gateway.exchange import ChatRequest, ClientHeaders
from gateway.wire import body as bodies
from gateway.wire import chat_answer
from gateway.wire.chat_stream import ChatStream, error_event
from gateway.wire.protocol import Wire
from gateway.wire.reading import count, flag, model_of, user_of, wrong
from router.plan import RequestFacts

_DEFAULT_OUTPUT = 16  # the completion tokens of a body that names no limit


def named_model(body: Mapping[str, Any], route: str) -> str:
    """The model; here it must be one, for nothing chooses among them.

    Raises:
        InvalidRequest: `auto`.
    """
    model = model_of(body)
    if model == "auto":
        raise InvalidRequest(f"{route} needs a model by name; `auto` is for chat", param="model")
    return model


def texts_of(body: Mapping[str, Any], key: str) -> tuple[Part, ...]:
    """The prompts of a body: texts, or lists of token ids.

    Raises:
        InvalidRequest: neither.
    """
    said = body.get(key)
    many = said if isinstance(said, list) and not _is_ids(said) else [said]
    parts = []
    for one in many:
        if isinstance(one, str):
            parts.append(Part(PartKind.TEXT, one))
        elif isinstance(one, list) and _is_ids(one):
            parts.append(Part(PartKind.OPAQUE, " x" * len(one)))  # so many tokens
        else:
            raise wrong(key, said if said != [] else None, "a string or an array of strings")
    return tuple(parts)


def _is_ids(value: Sequence[object]) -> bool:
    return bool(value) and all(type(item) is int for item in value)


def parse(raw: bytes, headers: ClientHeaders) -> ChatRequest:
    """Read a completions body.

    Raises:
        InvalidRequest: a field that the gateway uses has a type no provider accepts.
    """
    body = bodies.load(raw)
    spliceable = bodies.spliceable(raw)
    if not spliceable:
        bodies.check_duplicates(raw)
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise wrong("stream_options", options, "an object")
    parts = texts_of(body, "prompt")
    answers = max(count(body, "n", 1) or 1, count(body, "best_of", 1) or 1)
    return ChatRequest(
        wire="completions",
        raw=raw,
        body=body,
        conversation=Conversation((Message("user", parts),)),
        facts=RequestFacts(
            requested_model=named_model(body, WIRE.route),
            max_output_tokens=count(body, "max_tokens", _DEFAULT_OUTPUT),
            choices=answers * len(parts),
            stream=flag(body, "stream"),
            mode="pass",
            fit=Way.WHOLE,
        ),
        stream=flag(body, "stream"),
        wants_usage=bool(options and options.get("include_usage")),
        spliceable=spliceable,
        user=user_of(headers.user, body.get("user")),
    )


WIRE = Wire(
    name="completions",
    route="/v1/completions",
    path="/completions",
    parse=parse,
    usage=chat_usage,
    unsound=chat_answer.unsound,
    answer=chat_answer.answer,
    text=chat_answer.answer_text,
    stream=ChatStream,
    error_event=error_event,
    limits=("max_tokens",),
    asks_usage=True,
)

"""OpenAI's embeddings wire: texts in, vectors out; only the input is billed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from billing.usage import embeddings_usage
from compressor.conversation import Conversation, Message
from compressor.recipe import Way
from gateway.exchange import ChatRequest, ClientHeaders
from gateway.stream import EventStream, text_of
from gateway.wire import body as bodies
from gateway.wire.chat_stream import ChatStream, error_event
from gateway.wire.completions import named_model, texts_of
from gateway.wire.protocol import Answer, Wire
from gateway.wire.reading import user_of
from router.plan import RequestFacts


def parse(raw: bytes, headers: ClientHeaders) -> ChatRequest:
    """Read an embeddings body.

    Raises:
        InvalidRequest: a field that the gateway uses has a type no provider accepts.
    """
    body = bodies.load(raw)
    spliceable = bodies.spliceable(raw)
    if not spliceable:
        bodies.check_duplicates(raw)
    return ChatRequest(
        wire="embeddings",
        raw=raw,
        body=body,
        conversation=Conversation((Message("user", texts_of(body, "input")),)),
        facts=RequestFacts(
            requested_model=named_model(body, WIRE.route),
            max_output_tokens=1,
            choices=0,  # nothing is written
            mode="pass",
            fit=Way.WHOLE,
        ),
        stream=False,
        wants_usage=True,
        spliceable=spliceable,
        user=user_of(headers.user, body.get("user")),
    )


def unsound(data: Mapping[str, Any]) -> str | None:
    """What is wrong with a 200 body, or None."""
    if data.get("error"):
        return "with an error inside"
    return None if isinstance(data.get("data"), list) else "without any embeddings"


def answer(data: Mapping[str, Any]) -> Answer:
    """The facts of a list of embeddings."""
    return Answer(data.get("usage"), text_of(data.get("model")), None, None, "stop")


def answer_text(data: Mapping[str, Any]) -> str:
    """Vectors have no text, and cost nothing beyond their input."""
    return ""


def _stream(*, hide_usage: bool, choices: int, secrets: Sequence[str]) -> EventStream:
    return ChatStream(hide_usage=hide_usage, choices=choices, secrets=secrets)


WIRE = Wire(
    name="embeddings",
    route="/v1/embeddings",
    path="/embeddings",
    parse=parse,
    usage=embeddings_usage,
    unsound=unsound,
    answer=answer,
    text=answer_text,
    stream=_stream,
    error_event=error_event,
)

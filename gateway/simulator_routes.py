"""The simulator's routes: how each wire is read and answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from gateway import simulator_more as more
from gateway.simulator_reply import (
    Event,
    Served,
    anthropic_body,
    anthropic_error,
    anthropic_events,
    chat_body,
    chat_error,
    chat_events,
)
from gateway.simulator_wire import Json, SimError, SimRequest, parse_anthropic, parse_chat


@dataclass(frozen=True, slots=True)
class SimWire:
    """One wire: its body read, its answer whole or as events, its errors."""

    parse: Callable[[Json], SimRequest]
    body: Callable[[Served, SimRequest], bytes]
    events: Callable[[Served, SimRequest], Iterator[Event]]
    error: Callable[[SimError], bytes] = chat_error
    prefix: str = ""
    explicit_cache: bool = False


WIRES: Mapping[str, SimWire] = {
    "/v1/chat/completions": SimWire(parse_chat, chat_body, chat_events, prefix="chatcmpl-"),
    "/v1/messages": SimWire(
        parse_anthropic,
        anthropic_body,
        anthropic_events,
        anthropic_error,
        "msg_",
        explicit_cache=True,
    ),
    "/v1/responses": SimWire(more.parse_responses, more.responses_body, more.responses_events),
    "/v1/completions": SimWire(
        more.parse_completions, more.completions_body, more.completions_events, prefix="cmpl-"
    ),
    "/v1/embeddings": SimWire(more.parse_embeddings, more.embeddings_body, more.no_events),
}

STORED = ("/v1/files", "/v1/batches", "/v1/messages/batches")
"""Where files and batches lie (``simulator_store``)."""

"""A cheaper answer that fails a plain check is asked for once more, of the model asked for.

The checks need no opinion: nothing was said, the provider itself refused, JSON was asked for
and is none, a tool was called that does not exist or with arguments that are no object, the
answer stopped at the small model's own limit, or its tokens were guesses (where the provider
says how sure it was). Both answers are billed and stand on one receipt, so a bad guess of the
router counts against its savings; a stream is on its way before it can be judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from compressor.recipe import Way
from gateway.exchange import ChatRequest, Exchange, Parties
from gateway.stream import items_of
from gateway.wire.registry import WIRES
from router.plan import Candidate

UNSURE = -1.5  # mean natural log-probability of a token: one in four or five
_LENGTHS = frozenset({"length", "max_tokens", "max_output_tokens"})
_REFUSALS = frozenset({"refusal", "content_filter"})


def step_up(ex: Exchange) -> Candidate | None:
    """The request as asked, where something cheaper answered it by the router's choice."""
    prepared = Parties.of(ex).prepared
    plan = prepared.plan
    if ex.arm != "routed" or prepared.candidate.model == plan.baseline_model:
        return None
    if prepared.candidate is not plan.choice:
        return None  # an outage chose it, not the router
    asked = (c for c in plan.fallbacks if c.model == plan.baseline_model and c.way is Way.WHOLE)
    return next(asked, None)


def fault_of(request: ChatRequest, body: bytes) -> str | None:
    """What is wrong with a whole answer, or None: one short code.

    An answer of no known form is not judged: the client may know more of it.
    """
    try:
        return _fault(request, orjson.loads(body))
    except (TypeError, AttributeError):
        return None


def _fault(request: ChatRequest, data: Mapping[str, Any]) -> str | None:
    wire = WIRES[request.wire]
    finish, facts = wire.answer(data).finish_reason, request.facts
    calls = list(_calls(data))
    text = _said(data)
    if finish in _REFUSALS or _refused(data):
        return "refusal"
    if not text.strip() and not calls:
        return "empty"
    if finish in _LENGTHS and facts.max_output_tokens is None:
        return "truncated"
    if any(not _sound(call, request) for call in calls):
        return "invalid_tool_call"
    if facts.json_schema and not calls and not _is_json(text):
        return "broken_json"
    return "unsure" if _unsure(data) else None


def _messages(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for choice in items_of(data.get("choices")):
        message = choice.get("message") if isinstance(choice, dict) else None
        if isinstance(message, dict):
            yield message


def _blocks(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The blocks of a message, or the items of a response with the parts of its messages."""
    for block in [*items_of(data.get("content")), *items_of(data.get("output"))]:
        if isinstance(block, dict):
            yield block
            yield from (part for part in items_of(block.get("content")) if isinstance(part, dict))


def _said(data: Mapping[str, Any]) -> str:
    """The words of the answer, without thoughts and calls."""
    texts = [message.get("content") for message in _messages(data)]
    texts += [b.get("text") for b in _blocks(data) if b.get("type") in {"text", "output_text"}]
    return "".join(text for text in texts if isinstance(text, str))


def _refused(data: Mapping[str, Any]) -> bool:
    if any(message.get("refusal") for message in _messages(data)):
        return True
    return any(block.get("type") == "refusal" for block in _blocks(data))


def _calls(data: Mapping[str, Any]) -> Iterator[tuple[object, object]]:
    """Each call of a function that the client declared: its name, its arguments as sent."""
    for message in _messages(data):
        for call in items_of(message.get("tool_calls")):
            function = call.get("function") or {}
            yield function.get("name"), function.get("arguments")
    for block in _blocks(data):
        if block.get("type") == "tool_use":
            yield block.get("name"), block.get("input")
        elif block.get("type") == "function_call":
            yield block.get("name"), block.get("arguments")


def _sound(call: tuple[object, object], request: ChatRequest) -> bool:
    name, arguments = call
    if isinstance(arguments, str):
        try:
            arguments = orjson.loads(arguments or "{}")
        except orjson.JSONDecodeError:
            return False
    declared = {_name(tool) for tool in items_of(request.body.get("tools"))}
    return isinstance(arguments, dict) and (not declared or name in declared)


def _name(tool: object) -> object:
    if not isinstance(tool, dict):
        return None
    function = tool.get("function")
    return function.get("name") if isinstance(function, dict) else tool.get("name")


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _chances(data: Mapping[str, Any]) -> Iterator[list[Any]]:
    """The tokens with their log-probabilities: of each choice, or of each text of a response."""
    for choice in items_of(data.get("choices")):
        told = choice.get("logprobs") if isinstance(choice, dict) else None
        yield items_of(told.get("content")) if isinstance(told, dict) else []
    for block in _blocks(data):
        yield items_of(block.get("logprobs"))


def _unsure(data: Mapping[str, Any]) -> bool:
    """Whether the provider's own log-probabilities say that it guessed."""
    for rows in _chances(data):
        values = [row.get("logprob") for row in rows if isinstance(row, dict)]
        known = [value for value in values if isinstance(value, int | float)]
        if known and sum(known) / len(known) < UNSURE:
            return True
    return False

"""What is wrong with an answer: plain checks on every wire, nothing that is a matter of taste."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.escalate import fault_of
from gateway.exchange import ChatRequest, ClientHeaders
from gateway.wire.registry import WIRES

TOOLS: dict[str, Any] = {
    "chat": {"type": "function", "function": {"name": "look", "parameters": {}}},
    "messages": {"name": "look", "input_schema": {}},
    "responses": {"type": "function", "name": "look", "parameters": {}},
}


def request(wire: str, **more: Any) -> ChatRequest:
    """A request on a wire with one tool."""
    body: dict[str, Any] = {"model": "m", "tools": [TOOLS[wire]], **more}
    if wire == "responses":
        body["input"] = "x"
    else:
        body["messages"] = [{"role": "user", "content": "x"}]
    return WIRES[wire].parse(json.dumps(body).encode(), ClientHeaders())


def chat(message: dict[str, Any], finish: str = "stop", **more: Any) -> dict[str, Any]:
    """A chat answer."""
    return {"choices": [{"message": message, "finish_reason": finish, **more}]}


def message(*content: dict[str, Any], stop: str = "end_turn") -> dict[str, Any]:
    """A message."""
    return {"content": list(content), "stop_reason": stop}


def response(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A response."""
    return {"output": list(output), "status": "completed", **more}


SAID = {"type": "message", "content": [{"type": "output_text", "text": "yes"}]}
GUESSED = {
    "type": "message",
    "content": [{"type": "output_text", "text": "y", "logprobs": [{"logprob": -3.0}]}],
}


@pytest.mark.parametrize(
    ("wire", "answer", "fault"),
    [
        ("chat", chat({"content": "yes"}), None),
        ("chat", chat({"content": " \n"}), "empty"),
        ("chat", chat({"content": "y"}, "length"), "truncated"),
        ("chat", chat({"content": "y"}, logprobs={"content": [{"logprob": -3.0}]}), "unsure"),
        ("chat", chat({"content": "y"}, logprobs={"content": [{"logprob": -0.1}]}), None),
        ("responses", response(GUESSED), "unsure"),
        ("messages", message({"type": "text", "text": "yes"}), None),
        ("messages", message({"type": "thinking", "thinking": "hm"}), "empty"),
        ("messages", message({"type": "text", "text": "no"}, stop="refusal"), "refusal"),
        ("messages", message({"type": "tool_use", "name": "look", "input": {}}), None),
        ("messages", message({"type": "tool_use", "name": "x", "input": {}}), "invalid_tool_call"),
        ("responses", response(SAID), None),
        ("responses", response({"type": "reasoning", "summary": []}), "empty"),
        (
            "responses",
            response({"type": "function_call", "name": "look", "arguments": "{"}),
            "invalid_tool_call",
        ),
        (
            "responses",
            response(SAID, incomplete_details={"reason": "max_output_tokens"}),
            "truncated",
        ),
    ],
)
def test_a_fault_has_one_name_on_every_wire(
    wire: str, answer: dict[str, Any], fault: str | None
) -> None:
    """The same lack is found whatever shape the answer has."""
    assert fault_of(request(wire), json.dumps(answer).encode()) == fault


def test_a_limit_that_the_client_set_is_no_fault() -> None:
    """Who asks for ten tokens gets ten tokens."""
    asked = request("chat", max_tokens=10)
    assert fault_of(asked, json.dumps(chat({"content": "y"}, "length")).encode()) is None

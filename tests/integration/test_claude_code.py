"""A coding agent's requests, shaped as the public reference has them: bytes in are bytes out."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fakes import FaultServer, plain, sse
from processes import Key, Running, gateway, http

SESSION = "3b1f0c52-8a7e-4b52-9e55-0d6d3f7a1c11"
HEADERS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,fine-grained-tool",
    "anthropic-dangerous-direct-browser-access": "true",
    "user-agent": "claude-cli/2.1.0 (external, cli)",
    "x-app": "cli",
    "x-stainless-lang": "js",
}
REQUEST: dict[str, Any] = {
    "model": "claude-agent",
    "max_tokens": 32000,
    "stream": True,
    "temperature": 1,
    "thinking": {"type": "enabled", "budget_tokens": 31999},
    "metadata": {"user_id": f"user_0a1b2c_account__session_{SESSION}"},
    "system": [
        {"type": "text", "text": "You work in a terminal.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Be brief. " * 50, "cache_control": {"type": "ephemeral"}},
    ],
    "tools": [
        {
            "name": "Task",
            "description": "Start a helper.",
            "input_schema": {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "object",
                "properties": {
                    "prompt": {"type": "string"},
                    "model": {"type": "string", "enum": ["a", "b"]},
                    "stream": {"type": "boolean"},
                },
                "required": ["prompt"],
                "additionalProperties": False,
            },
        },
        {
            "name": "Read",
            "description": "Read a file.",
            "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
        },
    ],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>Be careful.</system-reminder>"},
                {"type": "text", "text": "Why does the test fail?"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I read the file.", "signature": "RXhhbXBsZQ=="},
                {"type": "tool_use", "id": "toolu_01", "name": "Read", "input": {"path": "t.py"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_01",
                    "content": "assert add(1, 1) == 3",
                    "cache_control": {"type": "ephemeral"},
                }
            ],
        },
    ],
}


def named(kind: str, **members: object) -> bytes:
    """One event, with the odd spacing of a real provider."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


USAGE = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 120,
    "cache_read_input_tokens": 4000,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 20},
    "output_tokens": 1,
    "service_tier": "standard",
}
EVENTS = [
    named("message_start", message={
        "id": "msg_01", "type": "message", "role": "assistant", "model": "claude-agent-2026",
        "content": [], "stop_reason": None, "usage": USAGE,
    }),
    named("ping"),
    named("content_block_start", index=0,
          content_block={"type": "thinking", "thinking": "", "signature": ""}),
    named("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "Two."}),
    named("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "c2ln"}),
    named("content_block_stop", index=0),
    named("content_block_start", index=1, content_block={
        "type": "tool_use", "id": "toolu_02", "name": "Task", "input": {}}),
    named("content_block_delta", index=1,
          delta={"type": "input_json_delta", "partial_json": '{"prompt": "fix'}),
    named("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '"}'}),
    named("content_block_stop", index=1),
    named("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None},
          usage={"output_tokens": 57}),
    named("message_stop"),
]  # fmt: skip
OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
FAULTS = {
    "claude-agent": sse(*EVENTS),
    "provider-name": sse(*EVENTS),
    "cut": sse(*EVENTS[:5], cut=True),
    "busy": plain(529, OVERLOADED, "retry-after: 9", "request-id: req_1"),
    "late-error": sse(*EVENTS[:5], b"event: error\ndata: " + OVERLOADED + b"\n\n"),
}


@dataclass(frozen=True)
class Agent:
    """The gateway, and what the provider saw."""

    server: FaultServer
    running: Running
    key: Key

    def send(self, model: str) -> tuple[bytes, Any]:
        """The bytes that were sent, and the answer."""
        session = str(uuid.uuid5(uuid.NAMESPACE_URL, model))  # a conversation of its own
        raw = json.dumps({**REQUEST, "model": model}, indent=1).encode()
        raw = raw.replace(SESSION.encode(), session.encode())
        headers = {**HEADERS, "authorization": f"Bearer {self.key.secret}"}
        with http(self.running.url, **headers) as client:
            return raw, client.post("/v1/messages?beta=true", content=raw)

    def receipt(self, answer: Any) -> dict[str, Any]:
        """Its receipt."""
        with http(self.running.url, **{"x-api-key": self.key.secret}) as client:
            path = f"/weir/receipts/{answer.headers['x-weir-request-id']}"
            found: dict[str, Any] = client.get(path).json()
            return found


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """One provider on Anthropic's wire whose every answer is scripted."""
    folder, key = tmp_path_factory.mktemp("agent"), Key.new()
    writes = "cache_write_5m: 1.25, cache_write_1h: 2"
    priced = f"price: {{ input: 1, output: 2, cache_read: 0.1, {writes} }}"
    with FaultServer(FAULTS) as server:
        config = f"""
database: sqlite:///{folder}/weir.db
upstreams: {{ claude: {{ kind: anthropic, base_url: "{server.url}", api_key: sk-a, retries: 0 }} }}
models:
  claude-agent: {{ upstream: claude, {priced}, context_window: 200000 }}
  renamed: {{ upstream: claude, model: provider-name, {priced}, context_window: 200000 }}
  cut: {{ upstream: claude, {priced}, context_window: 200000 }}
  busy: {{ upstream: claude, {priced}, context_window: 200000 }}
  late-error: {{ upstream: claude, {priced}, context_window: 200000 }}
teams: {{ t: {{ keys: [main], budget: 100 per month }} }}
keys: {{ main: {key.hash} }}
"""
        with gateway(folder, config) as running:
            yield Agent(server, running, key)


def test_bytes_in_are_bytes_out_both_ways(agent: Agent) -> None:
    """The provider gets the very body, the agent the very events; every bucket is billed."""
    raw, answer = agent.send("claude-agent")
    assert agent.server.bodies["claude-agent"] == raw
    assert answer.content == b"".join(EVENTS)
    seen = agent.server.headers["claude-agent"]
    assert seen["anthropic-beta"] == HEADERS["anthropic-beta"]
    assert (seen["x-api-key"], seen.get("authorization")) == ("sk-a", None)
    receipt = agent.receipt(answer)
    quantities = {line["component"]: line["quantity"] for line in receipt["lines"]}
    assert quantities == {
        "input": 3, "cache_read": 4000, "cache_write_5m": 100, "cache_write_1h": 20, "output": 57
    }  # fmt: skip
    assert receipt["status"] == 200


def test_another_name_of_the_model_changes_nothing_else(agent: Agent) -> None:
    """Though a tool has a field `model` of its own, one value in the body is replaced."""
    raw, answer = agent.send("renamed")
    assert answer.status_code == 200
    sent = agent.server.bodies["provider-name"]
    assert sent == raw.replace(b'"model": "renamed"', b'"model": "provider-name"', 1)


def test_a_cut_answer_ends_with_an_error_event_and_is_billed_as_far_as_it_came(
    agent: Agent,
) -> None:
    """No message_stop is invented; the prompt is billed as the provider counted it."""
    _, answer = agent.send("cut")
    assert answer.content.startswith(b"".join(EVENTS[:5]))
    assert b"event: error" in answer.content
    assert b"message_stop" not in answer.content
    receipt = agent.receipt(answer)
    quantities = {line["component"]: line["quantity"] for line in receipt["lines"]}
    assert (quantities["input"], quantities["cache_read"]) == (3, 4000)
    assert receipt["usage_source"] == "estimated"


def test_an_overloaded_provider_is_told_as_such(agent: Agent) -> None:
    """529 becomes 503 in Anthropic's shape, with the time to come back."""
    _, answer = agent.send("busy")
    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "overloaded_error"
    assert answer.headers["retry-after"] == "9"


def test_a_late_error_is_passed_on_as_it_came(agent: Agent) -> None:
    """The provider's own error event reaches the agent, and the receipt says so."""
    _, answer = agent.send("late-error")
    assert b"overloaded_error" in answer.content
    assert agent.receipt(answer)["attempts"][-1]["outcome"] == "error"

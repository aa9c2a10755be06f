"""Anthropic's wire: what a body means, and where its texts stand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compressor.conversation import PartKind
from compressor.recipe import Edit
from gateway.errors import InvalidRequest
from gateway.exchange import ChatRequest, ClientHeaders
from gateway.wire import body as bodies
from gateway.wire.messages import parse

AGENT: dict[str, Any] = {
    "model": "claude-x",
    "max_tokens": 100,
    "system": [
        {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}}
    ],
    "metadata": {"user_id": "user_ab12_account__session_0f1e2d3c-aaaa-bbbb-cccc-1234567890ab"},
    "tools": [
        {
            "name": "Task",
            "input_schema": {"type": "object", "properties": {"model": {"type": "string"}}},
        }
    ],
    "messages": [
        {"role": "user", "content": "Fix the test."},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Read first.", "signature": "c2ln"},
                {"type": "text", "text": "I read it."},
                {"type": "tool_use", "id": "t1", "name": "Read", "input": {"path": "a.py"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "def a(): pass"}],
                }
            ],
        },
    ],
}


def read(body: object) -> ChatRequest:
    """A body, parsed."""
    return parse(json.dumps(body).encode(), ClientHeaders())


def test_an_agents_body_is_read_whole() -> None:
    """System text, thoughts, calls and results each become what they are, with their pairing."""
    request = read(AGENT)
    kinds = [[part.kind for part in message.parts] for message in request.conversation.messages]
    assert kinds == [
        [PartKind.TEXT],
        [PartKind.TEXT],
        [PartKind.REASONING, PartKind.TEXT, PartKind.TOOL_CALL],
        [PartKind.TOOL_RESULT],
    ]
    assert [m.role for m in request.conversation.messages] == [
        "system", "user", "assistant", "tool"
    ]  # fmt: skip
    call, result = request.conversation.messages[2].parts[2], request.conversation.messages[3]
    assert call.call_id == result.parts[0].call_id == "t1"
    assert request.conversation.messages[0].parts[0].cache_mark
    assert request.facts.in_tool_loop
    assert request.facts.signed_thinking
    assert request.facts.tool_count == 1
    assert request.session == "0f1e2d3c-aaaa-bbbb-cccc-1234567890ab"
    assert request.user is None


def test_every_path_leads_to_its_text() -> None:
    """Replacing a text at its path changes that text and nothing else."""
    request = read(AGENT)
    for message in request.conversation.messages:
        for part in message.parts:
            if part.path is None:
                continue
            raw = bodies.with_edits(request.raw, [Edit(part.path, "CHANGED")], {})
            changed = parse(raw, ClientHeaders())
            texts = [p.text for m in changed.conversation.messages for p in m.parts]
            before = [p.text for m in request.conversation.messages for p in m.parts]
            assert texts == ["CHANGED" if text == part.text else text for text in before]


def test_a_body_with_tools_named_like_its_own_keys_keeps_its_bytes() -> None:
    """Only the model's name changes, though a tool's schema has a `model` of its own."""
    raw = json.dumps(AGENT, indent=2).encode()
    request = parse(raw, ClientHeaders())
    assert not request.spliceable
    out = bodies.with_values(raw, {"model": "other"})
    assert out == raw.replace(b'"claude-x"', b'"other"', 1)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"model": ""}, "model"),
        ({"system": 3}, "system"),
    ],
    ids=["none", "text", "role", "content", "limit", "stream", "model", "system"],
)
def test_a_field_of_the_wrong_type_is_named(change: dict[str, Any], param: str) -> None:
    """The complaint names the field that is wrong."""
    with pytest.raises(InvalidRequest) as refused:
        read({**AGENT, **change})
    assert refused.value.param == param


def test_a_repeated_key_is_refused_however_it_is_spelled() -> None:
    """Two readers of one body must not see two models."""
    raw = (
        b'{"model":"a","\\u006dodel":"b","max_tokens":1,"messages":[{"role":"user","content":"x"}]}'
    )
    with pytest.raises(InvalidRequest, match="occurs twice"):
        parse(raw, ClientHeaders())

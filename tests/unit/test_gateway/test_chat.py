"""OpenAI's chat wire as a conversation: what is text, what is not, what may be edited."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.conversation import PartKind
from gateway.errors import InvalidRequest
from gateway.exchange import ChatRequest, ClientHeaders
from gateway.wire import chat

HEADERS = ClientHeaders()


def parse(*messages: object, **fields: object) -> ChatRequest:
    """A body of these messages, read."""
    body = {"model": "m", "messages": list(messages), **fields}
    return chat.parse(json.dumps(body).encode(), HEADERS)


def png(width: int, height: int) -> str:
    """The head of a picture, as a data URL."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    block = b"IHDR" + head
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + block
    data += struct.pack(">I", zlib.crc32(block))
    return "data:image/png;base64," + base64.b64encode(data + b"\x00" * 3000).decode()


def test_texts_carry_the_path_where_they_stand() -> None:
    """Each editable text can be found in the body again by its path."""
    request = parse(
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    )
    found = {part.path: part.text for m in request.conversation.messages for part in m.parts}
    assert found == {
        ("messages", 0, "content"): "be kind",
        ("messages", 1, "content", 0, "text"): "a",
        ("messages", 1, "content", 1, "text"): "b",
    }
    for path, text in found.items():
        node: Any = request.body
        for step in path or ():
            node = node[step]
        assert node == text


def test_pictures_are_sizes_and_never_text() -> None:
    """A data URL becomes width and height; a remote one stays unknown and unfetched."""
    request = parse(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": png(640, 480), "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://host/a.png"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,!!!"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "file", "file": {"file_data": "x" * 100}},
                {"type": "from_the_future", "x": 1},
            ],
        }
    )
    parts = request.conversation.messages[0].parts
    assert [part.kind for part in parts] == [
        PartKind.TEXT, PartKind.IMAGE, PartKind.IMAGE, PartKind.IMAGE, PartKind.AUDIO,
        PartKind.FILE, PartKind.OPAQUE,
    ]  # fmt: skip
    assert all(part.path is None for part in parts[1:])
    first, remote, broken = (part.media for part in parts[1:4])
    assert first is not None
    assert remote is not None
    assert broken is not None
    assert (first.width, first.height, first.detail) == (640, 480, "low")
    assert (remote.width, broken.width) == (None, None)
    assert "base64" not in request.conversation.messages[0].text
    assert request.facts.image_count == 3


def test_a_tool_loop_is_seen_and_paired() -> None:
    """Calls and results share their id, and the request says that it is inside a loop."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    request = parse(
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        tools=[{"type": "function", "function": {"name": "f"}}],
    )
    made, result = (m.parts[0] for m in request.conversation.messages[1:])
    assert (made.kind, made.text, made.call_id, made.path) == (
        PartKind.TOOL_CALL,
        'f\n{"a":1}',
        "c1",
        None,
    )
    assert (result.kind, result.call_id) == (PartKind.TOOL_RESULT, "c1")
    assert request.facts.in_tool_loop
    assert request.facts.tool_count == 1


def test_facts_are_what_the_body_says() -> None:
    """Limits, choices, schema, stream and effort are read, each from its own field."""
    request = parse(
        {"role": "user", "content": "x"},
        n=3, stream=True, stream_options={"include_usage": True}, reasoning_effort="low",
        max_tokens=9, response_format={"type": "json_schema", "json_schema": {"name": "s"}},
    )  # fmt: skip
    facts = request.facts
    assert (facts.choices, facts.max_output_tokens, facts.stream) == (3, 9, True)
    assert (facts.json_schema, facts.reasoning_effort) == (True, "low")
    assert request.wants_usage
    assert "json_schema" not in request.conversation.response_schema
    assert parse({"role": "user", "content": "x"}, max_completion_tokens=4, max_tokens=9).facts \
        .max_output_tokens == 4  # fmt: skip


def test_signed_thinking_in_history_is_seen() -> None:
    """History with another model's reasoning binds the conversation to it."""
    request = parse(
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "y", "reasoning_content": "hm"},
        {"role": "user", "content": "z"},
    )
    assert request.facts.signed_thinking
    assert request.facts.human_turns == 2


@pytest.mark.parametrize(
    ("header", "body", "user"),
    [("ana", "bea", "ana"), (None, "bea", "bea"), (None, None, None), (None, 7, None),
     (None, "", None), (None, "u" * 500, "u" * 200)],
)  # fmt: skip
def test_the_end_user_is_named_by_header_or_body(
    header: str | None, body: object, user: str | None
) -> None:
    """The header wins, the body's own field comes next, and a name is bounded."""
    raw = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": "x"}], "user": body}
    ).encode()
    assert chat.parse(raw, ClientHeaders(user=header)).user == user


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["role", "content", "type", "text", "url", "image_url", "tool_calls", "function",
             "name", "arguments", "id", "detail", "refusal", "input_audio", "data"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(
    messages=st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "assistant", "tool"])},
            optional={"content": json_values, "tool_calls": json_values, "name": json_values,
                      "reasoning_content": json_values, "tool_call_id": json_values},
        ),
        max_size=3,
    ),
    fields=st.dictionaries(
        st.sampled_from(
            ["tools", "functions", "n", "stream", "stream_options", "max_tokens", "user",
             "response_format", "reasoning_effort"]
        ),
        json_values,
        max_size=3,
    ),
)  # fmt: skip
def test_any_shape_is_read_or_refused_by_name(
    messages: list[object], fields: dict[str, object]
) -> None:
    """A body of any shape gives a request or an InvalidRequest with its field, nothing else."""
    try:
        parse(*messages, **fields)
    except InvalidRequest as error:
        param = error.param
    else:
        param = "none needed"
    assert param

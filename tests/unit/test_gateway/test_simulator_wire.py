"""How the simulator reads request bodies."""

from __future__ import annotations

from typing import Any

import pytest

from compressor.conversation import PartKind
from gateway.simulator_wire import SimError, parse_anthropic, parse_body, parse_chat


def chat(**more: Any) -> dict[str, Any]:
    """A smallest chat body and more."""
    return {"model": "m", "messages": [{"role": "user", "content": "x"}], **more}


def test_content_blocks_are_told_apart() -> None:
    """Text, image, audio and unknown blocks keep their kinds, images their detail."""
    content = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        {"type": "something_new", "value": 1},
    ]
    parsed = parse_chat(chat(messages=[{"role": "user", "content": content}]))
    parts = parsed.conversation.messages[0].parts
    expected = [PartKind.TEXT, PartKind.IMAGE, PartKind.AUDIO, PartKind.OPAQUE]
    assert [part.kind for part in parts] == expected
    assert parts[1].media is not None
    assert (parts[1].media.detail, parts[1].media.width) == ("low", None)


def test_the_size_of_an_image_in_the_body_is_read() -> None:
    """Width and height come from the picture's own header."""
    gif = "data:image/gif;base64,R0lGODlhAwACAAAAACH5BAEKAAEALAAAAAADAAIAAAICTAEAOw=="
    block = {"type": "image_url", "image_url": {"url": gif}}
    parsed = parse_chat(chat(messages=[{"role": "user", "content": [block]}]))
    media = parsed.conversation.messages[0].parts[0].media
    assert media is not None
    assert (media.width, media.height) == (3, 2)


def test_tool_calls_and_results_are_paired_by_id() -> None:
    """Both wires give the same parts for a call and its result."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
    ]
    one = parse_chat(chat(messages=turns)).conversation.messages
    turns = [
        {"role": "user", "content": "x"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "done"}],
        },
    ]
    other = parse_anthropic(chat(messages=turns, max_tokens=9)).conversation.messages
    for messages in (one, other):
        asked, told = messages[1].parts[0], messages[2].parts[0]
        assert (asked.kind, asked.call_id, asked.text) == (PartKind.TOOL_CALL, "c1", "f\n{}")
        assert (told.kind, told.call_id, told.text) == (PartKind.TOOL_RESULT, "c1", "done")


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "f"}}, "f"),
    ],
)
def test_tool_choice_is_read_in_each_form(choice: object, read: str) -> None:
    """A word stays a word, an object gives the function's name."""
    assert parse_chat(chat(tool_choice=choice)).tool_choice == read


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        ({"type": "any"}, "required"),
        ({"type": "tool", "name": "f"}, "f"),
        ({"type": "auto"}, "auto"),
    ],
)
def test_anthropics_tool_choice_is_read_in_each_form(choice: object, read: str) -> None:
    """any means required, tool names one."""
    assert parse_anthropic(chat(max_tokens=9, tool_choice=choice)).tool_choice == read


def test_cache_marks_name_the_message_they_end() -> None:
    """A mark on tools or system text is -1, else the message's index, the system counted."""
    mark = {"cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": "s", **mark}]
    turns = [{"role": "user", "content": [{"type": "text", "text": "x", **mark}]}]
    parsed = parse_anthropic(chat(messages=turns, system=system, max_tokens=9))
    assert parsed.cache_marks == (-1, 1)


@pytest.mark.parametrize(
    "more",
    [
        {"max_tokens": 0},
        {"max_tokens": "9"},
        {"n": True},
        {"tools": {}},
        {"tools": [{"type": "function"}]},
        {"tool_choice": "maybe"},
        {"response_format": "json"},
        {"response_format": {"type": "xml"}},
        {"response_format": {"type": "json_schema"}},
        {"stream_options": {"include_usage": True}},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [{"role": "user", "content": ["x"]}]},
        {"model": ""},
    ],
)
def test_a_wrong_field_is_refused(more: dict[str, Any]) -> None:
    """What a provider would answer with 400 raises, with a message."""
    with pytest.raises(SimError) as caught:
        parse_chat(chat(**more))
    assert caught.value.status == 400
    assert caught.value.message


@pytest.mark.parametrize("raw", [b"", b"{", b"3", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    """Even absurd nesting is a plain refusal."""
    with pytest.raises(SimError):
        parse_body(raw)

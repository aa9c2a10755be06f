"""Bytes in, bytes out: nothing changes but what the gateway set out to change."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.recipe import Edit
from gateway.errors import InvalidRequest
from gateway.wire import body as bodies

SETTABLE = ("model", "stream_options", "max_tokens", "max_completion_tokens")
ODD_NUMBERS = ("0.30000000000000004", "12345678901234567890123", "1e5", "1.10", "-0.0", "2E-3")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.none() | st.booleans() | st.integers() | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
unknown = st.dictionaries(
    texts.filter(lambda k: k not in {*SETTABLE, "stream"}), values, max_size=5
)


def dump(body: dict[str, Any], spaces: bool) -> bytes:
    """JSON as clients write it, tight or with spaces and line ends."""
    return json.dumps(body, ensure_ascii=False, indent=1 if spaces else None).encode()


@given(
    fields=unknown,
    model=texts.filter(bool),
    new=texts.filter(bool),
    limit=st.none() | st.integers(1, 10**6),
    spaces=st.booleans(),
)
def test_a_splice_changes_the_values_it_sets_and_nothing_else(
    fields: dict[str, Any], model: str, new: str, limit: int | None, spaces: bool
) -> None:
    """Whatever else a body holds, a splice sets its keys and keeps all other values."""
    body = {**fields, "model": model} | ({"max_tokens": limit} if limit else {})
    raw = dump(body, spaces)
    read = bodies.load(raw)
    if not bodies.spliceable(raw):
        return
    out = bodies.with_scalars(raw, read, {"model": new, "max_tokens": 7})
    assert json.loads(out) == {**body, "model": new, "max_tokens": 7}


@given(fields=unknown, new=texts.filter(bool))
def test_a_splice_of_the_model_keeps_every_other_byte(fields: dict[str, Any], new: str) -> None:
    """Cutting the new model name out again gives the client's own bytes back."""
    raw = dump({**fields, "model": "gpt-old"}, spaces=True)
    if not bodies.spliceable(raw):
        return
    out = bodies.with_scalars(raw, bodies.load(raw), {"model": new})
    head, tail = raw.rsplit(b'"gpt-old"', 1)
    if b'"gpt-old"' in head:
        return
    assert out == head + orjson.dumps(new) + tail


@pytest.mark.parametrize("number", ODD_NUMBERS)
def test_numbers_keep_their_spelling_in_a_splice(number: str) -> None:
    """A number the gateway does not set leaves as it was written."""
    raw = b'{"model":"a","seed": %b ,"messages":[]}' % number.encode()
    out = bodies.with_scalars(raw, bodies.load(raw), {"model": "b"})
    assert out == b'{"model":"b","seed": %b ,"messages":[]}' % number.encode()


@pytest.mark.parametrize("number", ODD_NUMBERS)
def test_numbers_keep_their_spelling_when_a_text_is_edited(number: str) -> None:
    """A body written again carries every number as its client spelled it."""
    raw = b'{"messages":[{"content":"long"}],"seed":%b,"nest":[{"x":%b}]}' % (
        (number.encode(),) * 2
    )
    edit = Edit(("messages", 0, "content"), "short")
    out = bodies.with_edits(raw, [edit], {"model": "b"})
    expected = b'{"messages":[{"content":"short"}],"seed":%b,"nest":[{"x":%b}],"model":"b"}' % (
        (number.encode(),) * 2
    )
    assert out == expected


@given(fields=unknown, text=texts)
def test_an_edit_replaces_one_text_and_keeps_all_other_values(
    fields: dict[str, Any], text: str
) -> None:
    """An edit at a path changes the string there and no other value of the body."""
    body = {**fields, "messages": [{"role": "user", "content": [{"text": "a"}, {"text": "b"}]}]}
    out = bodies.with_edits(
        dump(body, spaces=False), [Edit(("messages", 0, "content", 1, "text"), text)], {}
    )
    body["messages"][0]["content"][1]["text"] = text
    assert json.loads(out) == body


def test_an_edit_cannot_replace_anything_but_a_text() -> None:
    """An edit aimed at an object is refused instead of changing the body's structure."""
    with pytest.raises(TypeError, match="no text at"):
        bodies.with_edits(b'{"messages":[{"role":"user"}]}', [Edit(("messages", 0), "x")], {})


def test_stream_options_keep_their_other_members() -> None:
    """An object that is set again by a splice replaces the old one in its place."""
    raw = b'{"model":"a","stream_options": {"include_obfuscation": false} ,"top_p":0.10}'
    wanted = {"include_obfuscation": False, "include_usage": True}
    out = bodies.with_scalars(raw, bodies.load(raw), {"stream_options": wanted})
    assert out == (
        b'{"model":"a","stream_options": {"include_obfuscation":false,"include_usage":true} ,'
        b'"top_p":0.10}'
    )


def test_an_object_with_braces_inside_is_still_replaced() -> None:
    """A value that cannot be found in place by its bytes is set by writing the body again."""
    raw = b'{"model":"a","stream_options":{"note":"}","deep":{"x":{}}},"top_p":0.10}'
    out = bodies.with_scalars(raw, bodies.load(raw), {"stream_options": {"include_usage": True}})
    assert out == b'{"model":"a","stream_options":{"include_usage":true},"top_p":0.10}'


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{"\\u006dodel":"a","model":"b"}',
        b'{"max_tokens":1,"max\\u005ftokens":10000,"model":"a"}',
    ],
)
def test_a_repeated_key_is_never_edited_in_place(raw: bytes) -> None:
    """A key that stands twice, escaped spellings included, is found and refused by name."""
    bodies.load(raw)
    assert not bodies.spliceable(raw)
    with pytest.raises(InvalidRequest, match="occurs twice") as caught:
        bodies.check_duplicates(raw)
    assert caught.value.code == "duplicate_key"


def test_a_key_name_used_deeper_is_no_duplicate() -> None:
    """The same key in a nested object is another key, and the body is accepted."""
    raw = b'{"model":"a","metadata":{"model":"b"}}'
    assert not bodies.spliceable(raw)
    bodies.check_duplicates(raw)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "empty"),
        (b" \r\n\t", "empty"),
        (b"{", "not valid JSON"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":Infinity}', "not valid JSON"),
        (b'{"a":"\xff"}', "not valid JSON"),
        (b'{"a":"\\ud800"}', "not valid JSON"),
        (b'{"a":1}{"b":2}', "not valid JSON"),
        (b"[1]", "JSON array"),
        (b'"text"', "JSON string"),
        (b"12", "JSON number"),
        (b"true", "JSON boolean"),
        (b"null", "JSON null"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "deeper than 64"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not valid JSON|deeper than 64"),
    ],
)
def test_what_no_provider_could_serve_is_refused_with_its_place(raw: bytes, says: str) -> None:
    """A body that is not one JSON object of at most 64 levels is an InvalidRequest."""
    with pytest.raises(InvalidRequest, match=says):
        bodies.load(raw)


def test_64_levels_are_accepted() -> None:
    """The depth limit counts the levels it names, brackets in texts not among them."""
    raw = b'{"a":' * 64 + b'"' + b"[" * 500 + b'"' + b"}" * 64
    assert "a" in bodies.load(raw)


@given(raw=st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_no_bytes_make_the_parser_fail_in_another_way(raw: bytes) -> None:
    """Any bytes are either an object or an InvalidRequest."""
    try:
        found = bodies.load(raw)
    except InvalidRequest:
        return
    assert isinstance(found, dict)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": 1, "a": 2}',
        b'{"body": {"model": "cheap", "model": "dear"}}',
        b'[{"params": {"m\\u006fdel": "cheap", "model": "dear"}}]',
    ],
)
def test_a_key_that_stands_twice_is_found_at_any_depth(raw: bytes) -> None:
    """Two readers could take two requests from one row of a batch."""
    with pytest.raises(InvalidRequest, match="twice"):
        bodies.check_every_object(raw)


def test_equal_keys_of_different_objects_are_fine() -> None:
    """Rows repeat each other's keys."""
    bodies.check_every_object(b'[{"model": "m", "x": {"model": 1}}, {"model": "m"}]')

"""Condensed JSON is JSON, and what it keeps is as it was."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from compressor.condense import ID_CHARS, condense_json, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=120),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=5),
    max_leaves=30,
)  # fmt: skip


def test_numbers_stay_as_they_were_written() -> None:
    """1.10, 1e5 and a 30-digit id are kept digit for digit."""
    text = '{"a": 1.10, "b": 1e5, "c": 123456789012345678901234567890, "d": [-0.0]}'
    smaller = condense_json(parse_json(text), 1_000, len)
    assert smaller == '{"a":1.10,"b":1e5,"c":123456789012345678901234567890,"d":[-0.0]}'


def test_long_lists_and_strings_are_cut_and_marked() -> None:
    """What was left out of a list is counted in it; ids are never cut."""
    record = {"id": "x" * ID_CHARS, "note": "word " * 400}
    text = json.dumps({"rows": [record] * 40, "total": 40})
    smaller = json.loads(condense_json(parse_json(text), 1_500, len) or "")
    assert smaller["total"] == 40
    assert smaller["rows"][0]["id"] == record["id"]
    assert len(smaller["rows"][0]["note"]) < 200
    assert smaller["rows"][-1].startswith("… ")
    kept = len(smaller["rows"]) - 1
    assert smaller["rows"][-1] == f"… {40 - kept} more"


def test_what_is_not_one_sound_document_is_left_alone() -> None:
    """Scalars, JSON lines, NaN, broken text, a repeated key, too deep nesting: not touched."""
    for text in (
        "3",
        '{"a":1}\n{"b":2}',
        '{"a": NaN}',
        "{oops}",
        '{"a":1,"a":2}',
        "[" * 99_999 + "]",
    ):
        assert parse_json(text) is None


@given(VALUES)
def test_the_result_is_json_whose_keys_were_there(value: object) -> None:
    """Any document gives valid JSON, in which no key and no number is new."""
    text = json.dumps([value], ensure_ascii=False)
    smaller = condense_json(parse_json(text), 1, len)
    assert smaller is not None
    json.loads(smaller)
    assert _keys(json.loads(smaller)) <= _keys(json.loads(text))


def _keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value) | set().union(*(_keys(inner) for inner in value.values()))
    if isinstance(value, list):
        return set().union(*(_keys(inner) for inner in value))
    return set()

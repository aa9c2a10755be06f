"""Leaving out pieces of JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.json_tree import gaps, leaves, parse

VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=25,
)


def cut(body: str, keep: frozenset[int], piece: int = 10) -> str:
    tree = parse(body, piece)
    assert tree is not None
    out, at = [], 0
    for gap in gaps(body, tree, keep):
        out += [body[at : gap.start], gap.mark]
        at = gap.end
    return "".join([*out, body[at:]])


@given(VALUES.filter(lambda value: isinstance(value, (list, dict))), st.data())
def test_any_choice_of_pieces_is_valid_json(value: object, data: st.DataObject) -> None:
    """Whichever pieces are kept, what is left is valid JSON, each piece byte for byte."""
    body = json.dumps(value, indent=data.draw(st.sampled_from([None, 2])))
    tree = parse(body, 10)
    assert tree is not None
    pieces = list(leaves(tree))
    keep = data.draw(st.frozensets(st.integers(0, len(pieces) - 1)))
    short = cut(body, keep)
    json.loads(short)
    at = 0
    for number in sorted(keep):
        piece = body[pieces[number].start : pieces[number].end]
        at = short.index(piece, at) + len(piece)


def test_a_kept_record_keeps_its_key() -> None:
    """The record with a hit keeps its own key and place; many others become one mark."""
    body = json.dumps({f"order{n}": {"status": "open", "total": n} for n in range(20)})
    value = json.loads(cut(body, frozenset({9}), 60))
    assert value["order9"] == {"status": "open", "total": 9}
    assert len(value) == 3


def test_the_keys_of_a_record_with_a_hit_stay() -> None:
    """Members left out beside a kept one still show their keys."""
    body = json.dumps({"status": "open", "address": "x" * 30, "note": "y" * 30})
    value = json.loads(cut(body, frozenset({0})))
    assert list(value) == ["status", "address", "note"]
    assert value["status"] == "open"
    assert "omitted" in value["note"]


@pytest.mark.parametrize("body", ["", "plain", "{", "[1, 2", '{"a": 1} tail', "[" * 100_000, "12"])
def test_what_is_no_document_has_no_tree(body: str) -> None:
    """Text, scalars, broken and absurdly deep JSON are not cut as JSON."""
    assert parse(body, 10) is None

"""Lossless forms: what comes back is what was there."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from compressor.lossless import (
    _equal,
    _load,
    blocks,
    columns,
    minify,
    squeeze,
    templates,
    unpack_blocks,
    unpack_columns,
    unpack_templates,
)
from compressor.tokens import load_counter

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.text(max_size=6), inner, max_size=5)
        | st.lists(st.fixed_dictionaries({"a": inner, "b": inner}), min_size=3, max_size=7)
        | st.dictionaries(st.text(max_size=3), st.fixed_dictionaries({"a": inner}), min_size=3)
        | st.lists(
            st.fixed_dictionaries(
                {
                    "o": st.fixed_dictionaries({"x": inner, "y": inner}),
                    "l": st.lists(st.fixed_dictionaries({"x": inner}), max_size=3),
                }
            ),
            min_size=3,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(VALUES, st.sampled_from([None, 1, 4]))
def test_json_comes_back_equal(value: object, indent: int | None) -> None:
    """Minified and columnar JSON decode to the same value, keys in the same order."""
    body = json.dumps(value, indent=indent)
    loaded = _load(body)
    if loaded is None:
        return
    short = minify(body)
    assert short is not None
    assert _equal(_load(short), loaded)
    packed = columns(body)
    assert packed is None or _equal(unpack_columns(packed), loaded)


def test_numbers_stay_as_written() -> None:
    """1.0, 1.00 and 1e0 are not the same text and stay apart."""
    body = "[" + ",".join('{"a": 1.00, "b": 1e0, "c": 1}' for _ in range(5)) + "]"
    packed = columns(body)
    assert packed is not None
    assert "1.00" in packed
    assert "1e0" in packed


def test_a_key_that_is_ours_is_left_alone() -> None:
    """A document that uses our own keys is not packed, for it would be misread."""
    assert columns('[{"$columns": 1}, {"$columns": 2}, {"$columns": 3}, {"$columns": 4}]') is None


def test_objects_within_records_become_columns_too() -> None:
    """Like objects and lists of like objects inside records, and records by name, say keys once."""
    rows = [
        {"id": n, "at": {"city": f"T{n}", "zip": n}, "items": [{"sku": n, "price": 1.5}] * (n % 3)}
        for n in range(9)
    ]
    for value in (rows, {f"K{n}": row for n, row in enumerate(rows)}):
        packed = columns(json.dumps(value))
        assert packed is not None
        assert all(packed.count(f'"{key}"') == 1 for key in ("id", "city", "zip", "sku", "price"))
        assert _equal(unpack_columns(packed), _load(json.dumps(value)))


def test_almost_json_is_packed_as_json() -> None:
    """A comma before a closing bracket, outside of strings, does not keep JSON from packing."""
    counter = load_counter("o200k_base")
    rows = [{"order": n, "note": "a,] b,}", "city": f"Town {n}"} for n in range(40)]
    body = json.dumps(rows, indent=2)
    loose = body[:-2] + ",\n]\n"
    short = squeeze(loose, counter)
    assert short is not None
    assert _equal(unpack_columns(short), _load(body))


def test_json_in_a_code_fence_is_packed_where_it_stands() -> None:
    """The words around JSON stay as they are."""
    counter = load_counter("o200k_base")
    body = json.dumps([{"order": n, "city": f"Town {n}"} for n in range(60)], indent=1)
    short = squeeze(f"The orders:\n```json\n{body}\n```\nAs asked.", counter)
    assert short is not None
    head, inside, tail = short.split("```")
    assert (head, tail) == ("The orders:\n", "\nAs asked.")
    assert _equal(unpack_columns(inside.removeprefix("json\n")), _load(body))


def test_a_repeated_key_is_left_alone() -> None:
    """An object with one key twice is not touched, since decoding would drop one."""
    assert minify('{"a": 1, "a": 2}') is None


def test_like_records_take_half_the_tokens() -> None:
    """Pretty records of one shape shrink to 52 % or less."""
    counter = load_counter("o200k_base")
    rows = [
        {"order_id": f"#W{n:07d}", "status": "delivered", "total_amount": n * 1.5, "items": n % 7}
        for n in range(80)
    ]
    body = json.dumps(rows, indent=2)
    short = squeeze(body, counter)
    assert short is not None
    assert counter.count(short) <= 0.52 * counter.count(body)


@given(
    st.lists(
        st.sampled_from(
            ["GET /a/{n} took {n} ms", "worker {n} is up", "{literal} {n}", "plain"]
        ).flatmap(lambda line: st.integers(0, 9999).map(lambda n: line.replace("{n}", str(n)))),
        min_size=20,
        max_size=60,
    )
)
def test_logs_come_back_equal(lines: list[str]) -> None:
    """A templated log decodes to the same bytes."""
    body = "\n".join(lines)
    packed = templates(body)
    assert packed is None or unpack_templates(packed) == body


@given(st.text(alphabet="ab1 \n=:{}", max_size=300))
def test_any_text_comes_back_equal(text: str) -> None:
    """No text, however odd, is changed by templating and reference."""
    body = (text + "\n") * 6
    for packed, unpack in ((templates(body), unpack_templates), (blocks(body), unpack_blocks)):
        assert packed is None or unpack(packed) == body


def test_a_repeated_block_becomes_a_reference() -> None:
    """A file shown twice is shown once, and referred to by its lines."""
    shown = "".join(f"line {n} of the file that was read\n" for n in range(30))
    body = f"first look\n{shown}second look\n{shown}done\n"
    packed = blocks(body)
    assert packed is not None
    assert packed.count("[same as lines 2-31]") == 1
    assert unpack_blocks(packed) == body


def test_what_cannot_be_shortened_stays() -> None:
    """Plain prose has no lossless form."""
    assert squeeze("The quick brown fox. " * 5, load_counter("o200k_base")) is None

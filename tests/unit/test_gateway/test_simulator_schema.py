"""Values made for a JSON schema."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.simulator_schema import instance
from gateway.simulator_wire import SimError

TEXT = "Mail ana.ruiz@example.org about order #W2043517, due 2026-12-03, for Ana Ruiz in blue."
LEAVES = st.one_of(
    st.just({"type": "string"}),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        st.integers(0, 30),
        st.integers(0, 30),
    ),
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
        st.integers(-50, 50),
        st.integers(0, 9),
    ),
    st.builds(
        lambda low, more: {
            "type": "integer",
            "exclusiveMinimum": low,
            "exclusiveMaximum": low + more,
        },
        st.integers(-50, 50),
        st.integers(2, 9),
    ),
    st.builds(
        lambda low, more: {"type": "number", "minimum": low, "exclusiveMaximum": low + more},
        st.integers(-50, 50),
        st.integers(1, 9),
    ),
    st.builds(lambda step: {"type": "integer", "multipleOf": step}, st.integers(1, 12)),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({"type": ["string", "null"]}),
    st.builds(lambda o: {"enum": o}, st.lists(st.integers() | st.text(), min_size=1, max_size=4)),
    st.builds(lambda c: {"const": c}, st.none() | st.booleans() | st.text(max_size=5)),
    st.sampled_from(
        [{"type": "string", "format": f} for f in ("date", "date-time", "uuid", "email")]
    ),
)


def _inner(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["order_id", "email", "city", "due_date", "count"])
    return st.one_of(
        st.builds(
            lambda properties: {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            },
            st.dictionaries(names, children, max_size=4),
        ),
        st.builds(
            lambda items, low, more: {
                "type": "array",
                "items": items,
                "minItems": low,
                "maxItems": low + more,
            },
            children,
            st.integers(0, 3),
            st.integers(0, 3),
        ),
        st.builds(lambda options: {"anyOf": options}, st.lists(children, min_size=1, max_size=3)),
    )


@settings(max_examples=100, deadline=None)
@given(schema=st.recursive(LEAVES, _inner, max_leaves=8), seed=st.integers(0, 2**64))
def test_every_value_is_accepted_by_its_schema(schema: dict[str, Any], seed: int) -> None:
    """Whatever the schema and the seed, the value validates."""
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.validate(instance(schema, TEXT, seed), schema, format_checker=checker)


def test_a_recursive_schema_ends() -> None:
    """A tree whose leaf is null is cut at the leaf."""
    node = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
        "required": ["next"],
    }
    schema = {"$defs": {"node": node}, "$ref": "#/$defs/node"}
    jsonschema.validate(instance(schema, TEXT, 1), schema)


def test_an_endless_schema_is_refused() -> None:
    """A value that would have to contain itself is refused, not looped over."""
    node = {"type": "object", "properties": {"me": {"$ref": "#"}}, "required": ["me"]}
    with pytest.raises(SimError, match="endless"):
        instance(node, TEXT, 1)


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}]
)
def test_a_reference_to_itself_is_refused(schema: dict[str, Any]) -> None:
    """A circle of references without a value in it is refused."""
    with pytest.raises(SimError):
        instance(schema, TEXT, 1)


def test_a_dangling_reference_is_refused() -> None:
    """The message names the reference that leads nowhere."""
    with pytest.raises(SimError, match="leads nowhere"):
        instance({"$ref": "#/$defs/none"}, TEXT, 1)


def test_fields_are_filled_from_the_prompt() -> None:
    """Ids, mail addresses and dates that the prompt names are used."""
    names = ("order_id", "email", "due_date")
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    made = instance(schema, TEXT, 5)
    assert made["order_id"] == "#W2043517"
    assert made["email"] == "ana.ruiz@example.org"
    assert made["due_date"] == "2026-12-03"


def test_an_option_named_in_the_prompt_is_chosen() -> None:
    """Of an enum, the value that the prompt mentions is taken."""
    assert instance({"enum": ["red", "green", "blue"]}, TEXT, 3) == "blue"


def test_a_pattern_is_met_or_refused() -> None:
    """A pattern met by a word of the prompt or a common shape is; any other is refused."""
    assert instance({"type": "string", "pattern": "^#W[0-9]{7}$"}, TEXT, 1) == "#W2043517"
    with pytest.raises(SimError, match="pattern"):
        instance({"type": "string", "pattern": "^zz[0-9]{30}$"}, TEXT, 1)


def test_all_of_is_met_as_a_whole() -> None:
    """The members of every part of an allOf are in the value."""
    parts = [
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        {"type": "object", "properties": {"b": {"type": "boolean"}}, "required": ["b"]},
    ]
    jsonschema.validate(instance({"allOf": parts}, TEXT, 2), {"allOf": parts})

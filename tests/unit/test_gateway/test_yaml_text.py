"""A text that is no configuration is told with its place, whatever it is."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigError
from gateway.settings import parse


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\n? [a, b]\n: c\n", 2, "a key is a list or a mapping"),
        ("models:\n  ? {a: b}\n  : c\n", 2, "a key is a list or a mapping"),
        ("a: " + "[" * 3_000, 1, "nested too deeply"),
        ("a: " + "9" * 5_000, 1, "a number that is none"),
        ("a: \x00", 1, "special characters"),
        ("just words", 1, "not a mapping"),
        ("a: 1\nb: !thing small\n", 2, "a value with a tag"),
        ("a: !!set {x}\n", 1, "a value with a tag"),
        ("a: !!binary aGk=\n", 1, "a value with a tag"),
    ],
)
def test_what_is_no_configuration_is_told_with_its_line(text: str, line: int, said: str) -> None:
    """Keys that are no words, bottomless nesting and endless numbers are errors with a place."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "weir.yaml", {})
    assert str(caught.value).startswith(f"weir.yaml:{line}:")
    assert said in str(caught.value)

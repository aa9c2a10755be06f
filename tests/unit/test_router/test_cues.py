"""Words, beginnings of words and phrases are found, wherever they stand."""

from __future__ import annotations

import pytest

from router.cues import Cues

PATTERNS = [" law ", " titrat", " rate of interest", " most likely "]
CUES = Cues(PATTERNS, {"law": 1, "titration": 1, "rate": 1, "interest": 1, "likely": 1})


def found(text: str) -> set[int]:
    words = text.split()
    telling = [word for word in words if word in CUES.words]
    return CUES.find(telling, [word for word in words if word not in CUES.words], f" {text} ")


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("the law", {0}),
        ("the lawn", set()),
        ("a titration", {1}),
        ("the titrators", {1}),
        ("a rate of interest", {2}),
        ("rates of interest", set()),
        ("a rate of interests", {2}),
        ("most likely", {3}),
        ("likely most", set()),
        ("law titrating at a rate of interest", {0, 1, 2}),
    ],
)
def test_a_pattern_is_found_where_it_occurs(text: str, patterns: set[int]) -> None:
    """Short words count whole, longer ones as a stem, phrases in their order."""
    assert found(text) == patterns

"""Features are bounded, cheap at any length, and not moved by what is merely added."""

from __future__ import annotations

import time
from math import isfinite

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.features import FeatureExtractor, bundled_lexicon

EXTRACTOR = FeatureExtractor(bundled_lexicon(), {})
QUESTION = "Find the area of a circle with radius 3.\nA. 9\nB. 28.27\nC. 18.85\nD. 6"


def by_name(text: str) -> dict[str, float]:
    return dict(zip(EXTRACTOR.names, EXTRACTOR.extract(text), strict=True))


def test_a_question_of_choice_is_seen_as_one() -> None:
    """Options, numbers, subject and the imperative of a mathematical question are found."""
    seen = by_name(QUESTION)
    assert seen["options"] == pytest.approx(0.4)
    assert seen["option_numeric"] == 1.0
    assert seen["imperative"] == 1.0
    assert seen["about_maths"] > 0
    assert seen["about_law"] == 0


def test_subjects_count_by_different_words_not_by_repetition() -> None:
    """One subject word said a hundred times counts as one."""
    once = by_name("a plaintiff")
    often = by_name("a plaintiff " * 100)
    assert once["about_law"] == often["about_law"] == pytest.approx(0.25)


def test_a_short_entry_matches_whole_words_only() -> None:
    """ "ph" is not found in "phone", "titrat" is found in "titration"."""
    assert by_name("my phone")["about_chemistry"] == 0
    assert by_name("a titration")["about_chemistry"] > 0


def test_context_moves_no_feature() -> None:
    """What neither asks nor carries a figure leaves every feature as it was."""
    story = "The harbour was quiet. A woman carried bread. The road was closed."
    asked = "Which of these five metals conducts electricity best in a dry room?"
    assert by_name(f"{story} {asked}") == by_name(asked)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=5_000))
def test_any_text_gives_bounded_features(text: str) -> None:
    """Every feature of any text, broken or strange, is finite and between -1 and 1.5."""
    values = EXTRACTOR.extract(text)
    assert len(values) == len(EXTRACTOR.names)
    assert all(map(isfinite, values))
    assert min(values) >= -1
    assert max(values) <= 1.5


@pytest.mark.parametrize(
    "unit", ["a", "(", "A. x\n", "1,1,1,1.", "x, ", "\\frac{", "```", '"', "é", "not true false "]
)
def test_time_does_not_grow_with_the_text(unit: str) -> None:
    """A hostile text of a megabyte takes about as long as one of ten kilobytes."""

    def taken(text: str) -> float:
        best = 1.0
        for _ in range(5):
            start = time.perf_counter()
            EXTRACTOR.extract(text)
            best = min(best, time.perf_counter() - start)
        return best

    short, long = unit * (10_000 // len(unit)), unit * (1_000_000 // len(unit))
    assert taken(long) < 20 * taken(short) + 0.02

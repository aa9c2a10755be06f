"""A word is looked up once, and one addition counts all that is asked of words."""

from __future__ import annotations

import numpy as np

from router.words import (
    CUE,
    FIELDS,
    HIGHEST,
    MOST_WORDS,
    NEUTRAL,
    TOPICS,
    fields_of,
    packed,
    rarity,
)

WORDS = ["the", "twice", "because", "jurisprudence"]
RARE = np.array([0, 20, 10, 60], dtype=np.uint8)
TOPIC = np.full((4, TOPICS), NEUTRAL, dtype=np.uint8)
NUMBERS = packed(WORDS, RARE, TOPIC)


def test_a_sum_holds_each_count() -> None:
    """Known, small, counting, clause, long and very rare words are counted apart."""
    counts = fields_of(sum(NUMBERS.values()))
    assert counts[:7] == (4, 1, 1, 1, 1, 90, 1)
    assert counts[7:FIELDS] == (4 * NEUTRAL,) * TOPICS


def test_no_field_runs_over_into_the_next() -> None:
    """The largest value of each field fits as often as words are read, options included."""
    full = packed(["jurisprudence"], np.array([HIGHEST]), np.full((1, TOPICS), HIGHEST))
    counts = fields_of(2 * MOST_WORDS * (full["jurisprudence"] + CUE))
    assert counts[0] == counts[4] == counts[FIELDS] == 2 * MOST_WORDS
    assert set(counts[7:FIELDS]) == {2 * MOST_WORDS * HIGHEST}


def test_an_unknown_word_is_rarer_than_any_known_one() -> None:
    """Phrases are looked for by their rarest word; single letters are common."""
    assert rarity(NUMBERS, "blorptown") > rarity(NUMBERS, "jurisprudence") > rarity(NUMBERS, "the")
    assert rarity(NUMBERS, "a") == 0

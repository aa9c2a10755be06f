"""Ranking chunks by relevance."""

from __future__ import annotations

import numpy as np
import pytest

from compressor import rank
from compressor.kin import packaged_vectors
from compressor.text import Words

CHUNKS = [
    "The harbour master keeps the tide tables.",
    "def getUserName(user_id): return names[user_id]",
    "She kept a bottle of insulin in the fridge.",
    "Nothing much happened on the long afternoon.",
    "The order #W-1234-ab was shipped on Friday.",
]


def best(question: str, *, kin: bool = False) -> int:
    index = rank.Index(CHUNKS, [""] * len(CHUNKS))
    vectors = packaged_vectors() if kin else None
    return int(np.argmax(rank.lexical(index, question, Words(), vectors).scores))


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Who keeps the tides?", 0),
        ("what is the user name", 1),
        ("names of users", 1),
        ("status of order W-1234-ab", 4),
    ],
)
def test_words_stems_and_parts_of_identifiers_match(question: str, expected: int) -> None:
    """A chunk is found by stems, by parts of identifiers and by whole ones."""
    assert best(question) == expected


def test_kin_words_find_what_no_word_does() -> None:
    """ "Diabetes" finds "insulin" with the table of near words, and nothing without it."""
    index = rank.Index(CHUNKS, [""] * len(CHUNKS))
    assert not rank.lexical(index, "Who suffers from diabetes?", Words()).scores.any()
    assert best("Who suffers from diabetes?", kin=True) == 2


def test_matched_is_the_share_of_the_question_that_occurs() -> None:
    """A question whose words do not occur has matched 0, one whose words all do has 1."""
    index = rank.Index(CHUNKS, [""] * len(CHUNKS))
    assert rank.lexical(index, "zebra xylophone", Words()).matched == 0
    assert rank.lexical(index, "harbour tide", Words()).matched == pytest.approx(1)


def test_a_title_counts_for_its_chunks() -> None:
    """A chunk whose title holds the asked name is found though its text lacks it."""
    index = rank.Index(["one", "two"], ["", "src/parser.py"])
    assert rank.lexical(index, "what does the parser do", Words()).scores.argmax() == 1


def test_chinese_is_found_by_pairs_of_characters() -> None:
    """A text without blanks between words is searched by character pairs."""
    index = rank.Index(["今天天气很好", "北京是中国的首都", "我喜欢苹果"], [""] * 3)
    assert rank.lexical(index, "中国首都在哪里", Words()).scores.argmax() == 1


def test_neighbours_help_only_within_a_document() -> None:
    """A hit lifts the chunks beside it in its own document and no other."""
    out = rank.smooth(np.array([0.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1]), 0.5)
    assert out.tolist() == [0.5, 1.0, 0.0, 0.0]


def test_spreading_keeps_a_constant_and_lifts_around_a_hit() -> None:
    """Spreading raises what stands near a hit more than what stands far."""
    assert np.allclose(rank.spread(np.ones(50), share=1.0), 2.0)
    scores = np.zeros(50)
    scores[20] = 1
    out = rank.spread(scores)
    assert out[20] > out[22] > out[30] >= out[49]


def test_fusion_is_by_score() -> None:
    """A clear lexical winner stays the winner whatever the dense order is."""
    fused = rank.fuse(np.array([10.0, 1.0, 0.0]), np.array([0.0, 0.5, 1.0]), 0.2)
    assert fused.argmax() == 0
    assert rank.fuse(np.array([1.0, 1.0]), np.array([0.0, 1.0]), 0.2).argmax() == 1


def test_nothing_is_ranked_without_chunks() -> None:
    """No chunks give no scores, and no error."""
    assert rank.lexical(rank.Index([], []), "what", Words()).scores.shape == (0,)

"""Ranking chunks by relevance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor import rank
from compressor.index import Index
from compressor.text import Words

WORDLIKE = st.one_of(
    st.sampled_from(
        [
            "getUserName",
            "users",
            "Users",
            "USER",
            "user_id",
            "dying",
            "skis",
            "Über",
            "İstanbul",
            "ΣΑΣ",
            "世界地图",
            "a",
            "A",
            "x9",
            "v1.2",
            "don't",
            "HTTPServer",
            "flies",
            "using",
            "skies",
            "naïve",
            "ﬁne",
        ]
    ),
    st.text(st.sampled_from("aBcé9_İß.-世"), min_size=1, max_size=6),
)
CHUNKS = [
    "The harbour master keeps the tide tables.",
    "def getUserName(user_id): return names[user_id]",
    "She kept a bottle of insulin in the fridge.",
    "Nothing much happened on the long afternoon.",
    "The order #W-1234-ab was shipped on Friday.",
]


def best(question: str) -> int:
    index = Index(CHUNKS, [""] * len(CHUNKS))
    return int(np.argmax(rank.lexical(index, question, Words()).scores))


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


def test_matched_is_the_share_of_the_question_that_occurs() -> None:
    """A question whose words do not occur has matched 0, one whose words all do has 1."""
    index = Index(CHUNKS, [""] * len(CHUNKS))
    assert rank.lexical(index, "zebra xylophone", Words()).matched == 0
    assert rank.lexical(index, "harbour tide", Words()).matched == pytest.approx(1)


def test_a_title_counts_for_its_chunks() -> None:
    """A chunk whose title holds the asked name is found though its text lacks it."""
    index = Index(["one", "two"], ["", "src/parser.py"])
    assert rank.lexical(index, "what does the parser do", Words()).scores.argmax() == 1


def test_chinese_is_found_by_pairs_of_characters() -> None:
    """A text without blanks between words is searched by character pairs."""
    index = Index(["今天天气很好", "北京是中国的首都", "我喜欢苹果"], [""] * 3)
    assert rank.lexical(index, "中国首都在哪里", Words()).scores.argmax() == 1


def test_a_title_is_told_from_the_text() -> None:
    """What stands in the title counts as held by the chunk, and as titled."""
    found = rank.lexical(Index(["one", "parser"], ["src/parser.py", ""]), "parser", Words())
    assert found.share.tolist() == [1.0, 1.0]
    assert found.titled.tolist() == [1.0, 0.0]


def test_words_that_only_frame_a_question_count_less() -> None:
    """ "Summarize the discussion about" finds nothing by itself, but in quotation marks it does."""
    index = Index(["a discussion, a discussion", "the harbour"], ["", ""])
    framed = rank.lexical(index, "Summarize the discussion about the harbour", Words())
    quoted = rank.lexical(index, 'Where does it say "discussion" first?', Words())
    assert framed.scores.argmax() == 1
    assert quoted.scores.argmax() == 0


def test_neighbours_help_only_within_a_document() -> None:
    """A hit lifts the chunks beside it in its own document and no other."""
    out = rank.beside(np.array([0.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1]))
    assert out.tolist() == [1.0, 0.0, 0.0, 0.0]


def test_a_document_lends_its_best_score() -> None:
    """Each chunk learns the best score of its own document."""
    out = rank.best_of_group(np.array([0.1, 0.9, 0.3]), np.array([0, 0, 1]))
    assert out.tolist() == [0.9, 0.9, 0.3]


def test_spreading_keeps_a_constant_and_lifts_around_a_hit() -> None:
    """Spreading raises what stands near a hit more than what stands far."""
    assert np.allclose(rank.spread(np.ones(50), 4.0), 1.0)
    scores = np.zeros(50)
    scores[20] = 1
    out = rank.spread(scores, 4.0)
    assert out[20] > out[22] > out[30] >= out[49]


def test_shares_of_the_greatest() -> None:
    """The greatest becomes 1 and nothing stays nothing, without a division by zero."""
    assert rank.of_greatest(np.array([0.0, 2.0, 1.0])).tolist() == [0.0, 1.0, 0.5]
    assert rank.of_greatest(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    assert rank.scaled(np.array([3.0, 5.0, 4.0])).tolist() == [0.0, 1.0, 0.5]
    assert rank.scaled(np.ones(3)).tolist() == [0.0, 0.0, 0.0]


def test_nothing_is_ranked_without_chunks() -> None:
    """No chunks give no scores, and no error."""
    assert rank.lexical(Index([], []), "what", Words()).scores.shape == (0,)


@given(st.lists(WORDLIKE, max_size=30), st.lists(WORDLIKE, min_size=1, max_size=6))
def test_no_spelling_that_holds_a_word_asked_is_passed_over(
    spelled: list[str], asked: list[str]
) -> None:
    """Two searches through all spellings find what taking each one apart finds."""
    index, words = Index([" ".join(spelled)], [""]), Words()
    query = words.query(" ".join(asked))
    numbers = {term: number for number, term in enumerate(query)}
    slow = sorted(
        (number, numbers[term])
        for word, number in index.vocabulary.items()
        for term in words.terms(word)
        if term in numbers
    )
    pairs = rank._matching(index, query, words)
    assert list(zip(pairs.words.tolist(), pairs.terms.tolist(), strict=True)) == slow

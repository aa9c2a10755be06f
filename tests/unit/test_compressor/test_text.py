"""Words as search terms."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from compressor.text import WORD, Words, bigrams, prefixes, words_of


@pytest.mark.parametrize(
    ("word", "terms"),
    [
        ("getUserName", {"get", "user", "name"}),
        ("snake_case_name", {"snake_case_name", "snake", "case", "name"}),
        ("a54e-b2", {"a54e-b2", "a54e", "b2"}),
        ("HTTPServer", {"http", "server"}),
        ("running", {"run"}),
        ("世界地图", {"世界", "界地", "地图"}),
    ],
)
def test_a_word_yields_its_parts(word: str, terms: set[str]) -> None:
    """Identifiers, stems and character pairs are among a word's terms."""
    assert terms <= set(Words().terms(word))


def test_stop_words_are_searched_only_alone() -> None:
    """Stop words are left out unless the question has nothing else."""
    words = Words()
    assert "the" not in words.query("the harbour")
    assert words.query("who is it")


@given(st.text(max_size=60), st.text(max_size=60))
@example("What is the A股?", "The A股 department lists it")
@example("A㐀", "A㐀")
@example("AÀY", "")
@example("the skies, dying and lying, tying, using, fly, dry, eying, ugly", "")
def test_every_match_is_found_through_its_front(question: str, text: str) -> None:
    """No word that yields a term of the question escapes the fronts used to preselect."""
    words = Words()
    query = words.query(question)
    fronts = prefixes(query)
    for word in WORD.findall(text) + WORD.findall(question):
        if set(words.terms(word)) & query.keys():
            assert any(front in word.lower() for front in fronts)


def test_a_single_character_is_its_own_pair() -> None:
    """One character alone still yields a term."""
    assert bigrams("国") == ["国"]


@given(st.text(st.sampled_from("aZ09 _.-/:@'’\n\u00e9世") | st.characters(codec=None), max_size=60))
def test_words_are_the_same_however_they_are_found(text: str) -> None:
    """The faster pattern for ASCII finds what the general one finds."""
    assert words_of(text) == WORD.findall(text)

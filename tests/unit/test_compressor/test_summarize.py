"""Extracts repeat sentences, in order, within their budget."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.kit import Vectors
from compressor.summarize import GAP, ExtractiveSummarizer
from compressor.tokens import TokenCounter, load_counter
from compressor.units import split_units

REPORT = """The committee met on Tuesday in the usual room. Everybody was glad to be there.
The weather was mild and the coffee was warm. The budget for 2025 was set at 48,200 EUR.
There was some laughter about an old story. Somebody opened a window for a while.
Ms Okafor will send the contract AB-7731 to the supplier by 3 May. People nodded at that.
The discussion then went on for a while, as it usually does. Nobody was in a hurry.
The server in rack 12 failed twice and must be replaced. Then they spoke about lunch.
It was agreed that lunch was good. The meeting ended and everybody went home."""


@pytest.fixture(scope="module")
def counter() -> TokenCounter:
    return load_counter("o200k_base")


class WordEmbedder:
    """Vectors by the length of words: a deterministic stand-in for a model."""

    name = "words"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row a text."""
        rows = np.zeros((len(texts), 16), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.split():
                rows[row, len(word) % 16] += 1.0
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows / np.maximum(norms, 1e-9), dtype=np.float32)


def sentences(text: str) -> list[str]:
    return [text[unit.start : unit.end] for unit in split_units(text)]


def is_subsequence(short: list[str], long: list[str]) -> bool:
    rest = iter(long)
    return all(any(one == other for other in rest) for one in short)


def kept(extract: str) -> list[str]:
    return [part for piece in extract.split(GAP) for part in sentences(piece)]


@pytest.mark.parametrize("embedder", [None, WordEmbedder()])
def test_an_extract_is_a_subsequence_within_its_budget(
    counter: TokenCounter, embedder: WordEmbedder | None
) -> None:
    """With or without an embedder: whole sentences, in order, at most the tokens asked for."""
    extractive = ExtractiveSummarizer(embedder, counter)
    for budget in (20, 40, 60, 100):
        extract = extractive.summarize([REPORT], budget, "")[0]
        assert counter.count(extract) <= budget
        assert kept(extract)
        assert is_subsequence(kept(extract), sentences(REPORT))


def test_facts_are_kept_before_chatter(counter: TokenCounter) -> None:
    """Sentences with dates, amounts and ids outlive those without."""
    extract = ExtractiveSummarizer(None, counter).summarize([REPORT], 75, "")[0]
    assert "48,200 EUR" in extract
    assert "AB-7731" in extract
    assert "rack 12" in extract
    assert "laughter" not in extract


def test_a_question_draws_its_sentence(counter: TokenCounter) -> None:
    """With a question, the sentence about it is kept even in the smallest extract."""
    extract = ExtractiveSummarizer(None, counter).summarize([REPORT], 22, "Who opened a window?")[0]
    assert "opened a window" in extract


def test_texts_share_a_budget(counter: TokenCounter) -> None:
    """Texts extracted together stay within one budget, and dull ones give way to rich ones."""
    dull = "Well, yes. I think so. Right, okay then. Sure, that is fine with me."
    one, two = ExtractiveSummarizer(None, counter).extract([dull, REPORT], 80)
    assert counter.count(one.text) + counter.count(two.text) <= 80
    assert len(one.text) < len(dull)
    assert "48,200" in two.text


def test_weights_say_whose_words_matter(counter: TokenCounter) -> None:
    """Of two alike texts the one with the greater weight keeps more."""
    one, two = ExtractiveSummarizer(None, counter).extract(
        [REPORT, REPORT.replace("the", "a")], 120, "", [3.0, 0.5]
    )
    assert len(one.text) > len(two.text)


def test_dropped_spans_and_kept_text_rebuild_the_original(counter: TokenCounter) -> None:
    """What an extract says it dropped is exactly what is missing from it."""
    extract = ExtractiveSummarizer(None, counter).extract([REPORT], 60)[0]
    rest, done = "", 0
    for start, end in extract.dropped:
        rest += REPORT[done:start] + GAP
        done = end
    rest += REPORT[done:]
    assert re.sub(r"\s+", "", rest) == re.sub(r"\s+", "", extract.text)


def test_nothing_fits_is_an_ellipsis_and_nothing_there_is_nothing(counter: TokenCounter) -> None:
    """A budget below any sentence leaves one mark; an empty text stays empty."""
    extractive = ExtractiveSummarizer(None, counter)
    assert extractive.summarize([REPORT, "", " \n "], 3, "") == [GAP, "", " \n "]


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="abc .\n!ü漢1_", max_size=600), st.integers(4, 80))
def test_any_text_gives_the_same_bounded_extract_twice(text: str, budget: int) -> None:
    """Same text, same budget: the same bytes, never more tokens than the budget."""
    counter = load_counter("o200k_base")
    first = ExtractiveSummarizer(None, counter).extract([text], budget)[0]
    again = ExtractiveSummarizer(None, counter).extract([text], budget)[0]
    assert first == again
    assert not split_units(text) or counter.count(first.text.strip()) <= budget

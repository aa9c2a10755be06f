"""A model's words are used only where they are faithful, fit, and keep as much as an extract."""

from __future__ import annotations

import pytest

from compressor.abstractive import PREFIX, Judge, faithful_part, prompt
from compressor.summarize import ExtractiveSummarizer
from compressor.tokens import TokenCounter, load_counter

SOURCE = (
    "The pump P-101 was stopped at 14:05 because the bearing reached 96 degrees. "
    + "People in the control room looked at the screens and waited for a while. " * 12
    + "It was restarted at 15:40 after the seal S-7 was changed by Ms Ito."
)
GOOD = "Pump P-101 stopped at 14:05 at 96 degrees; restarted 15:40 with a new seal S-7 by Ms Ito."


@pytest.fixture(scope="module")
def counter() -> TokenCounter:
    return load_counter("o200k_base")


@pytest.fixture
def judge(counter: TokenCounter) -> Judge:
    return Judge(ExtractiveSummarizer(None, counter), counter)


def extract(counter: TokenCounter, limit: int) -> str:
    return ExtractiveSummarizer(None, counter).summarize([SOURCE], limit, "")[0]


def test_a_faithful_and_full_summary_is_used(judge: Judge, counter: TokenCounter) -> None:
    """It is marked as a summary, and fits."""
    verdict = judge.verdict(GOOD, SOURCE, 60, "")
    assert verdict == PREFIX + GOOD
    assert counter.count(verdict) <= 60


@pytest.mark.parametrize(
    "generated",
    [
        None,
        "",
        "The pump P-102 was stopped at 14:06.",
        "People waited for a while.",
        "<think>Let me see: 14:05 ...</think>",
    ],
    ids=["nothing", "empty", "invented", "poor", "only thoughts"],
)
def test_anything_less_is_an_extract(
    judge: Judge, counter: TokenCounter, generated: str | None
) -> None:
    """No answer, an invention, or one that keeps fewer facts: the extract is used."""
    assert judge.verdict(generated, SOURCE, 60, "") == extract(counter, 60)


def test_unfaithful_sentences_are_left_out(judge: Judge) -> None:
    """One invented sentence does not cost the faithful ones."""
    assert judge.verdict(f"{GOOD} It cost 4,000 EUR.", SOURCE, 60, "") == PREFIX + GOOD
    assert faithful_part("It cost 4 EUR. S-7 was changed.", SOURCE) == "S-7 was changed."


def test_a_summary_that_is_too_long_is_cut_at_a_sentence(
    judge: Judge, counter: TokenCounter
) -> None:
    """Whole sentences from its start are kept, as far as they fit."""
    verdict = judge.verdict(GOOD + " People waited for a while." * 20, SOURCE, 60, "")
    assert verdict.startswith(PREFIX + GOOD)
    assert verdict.endswith(".")
    assert counter.count(verdict) <= 60


def test_thoughts_are_not_part_of_a_summary(judge: Judge) -> None:
    """What a reasoning model thinks before it answers is dropped."""
    assert judge.verdict(f"<think>hm, 3?</think>\n{GOOD}", SOURCE, 60, "") == PREFIX + GOOD


def test_the_prompt_holds_the_text_and_the_question() -> None:
    """The text stands between lines, the question in the request, the budget as words."""
    system, user = prompt("the text", 100, "Who?")
    assert system["role"] == "system"
    assert "at most 60 words" in user["content"]
    assert "Who?" in user["content"]
    assert user["content"].endswith("-----\nthe text\n-----")
    assert "question" not in prompt("the text", 100, " ")[1]["content"]

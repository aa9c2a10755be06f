"""A probe's questions: as long as asked for, answerable, and never answerable by accident."""

from __future__ import annotations

import pytest

from compressor.tokens import load_counter
from router.probe_tasks import Kind, Trial, make_task, people, semantic_pairs

COUNTER = load_counter("o200k_base")
KINDS = [pytest.param(kind, id=kind.value) for kind in Kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [1_024, 5_000, 20_000])
def test_a_prompt_is_as_long_as_asked_for_and_never_longer(kind: Kind, tokens: int) -> None:
    """Within 60 tokens below the wanted length, also for a model that counts otherwise."""
    for scale in (1.0, 1.3):
        prompt = make_task(Trial(kind, tokens, 5), 1, COUNTER, scale).prompt
        wanted = tokens / scale
        assert wanted - 60 < COUNTER.count(prompt) <= wanted


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_right_answer_names_stands_in_the_prompt_once(kind: Kind) -> None:
    """Every expected and every wrong word is in the notes, so that both can be named."""
    for number in range(24):
        task = make_task(Trial(kind, 2_048, number), 3, COUNTER, 1.0)
        assert not set(task.expected) & set(task.wrong)
        for word in (*task.expected, *task.wrong):
            assert word in task.prompt


@pytest.mark.parametrize("kind", KINDS)
def test_the_fact_stands_at_its_depth(kind: Kind) -> None:
    """The first fact lies within a tenth of the text of where the trial wants it."""
    for number in range(12):
        trial = Trial(kind, 4_096, number)
        task = make_task(trial, 1, COUNTER, 1.0)
        notes = task.prompt[: task.prompt.rindex("Question:")]
        if kind is Kind.MULTI:
            at = notes.index(f"depot in {task.expected[0]} ")
        else:
            at = notes.index(task.expected[0])
        assert abs(at / len(notes) - trial.depth) < 0.1


def test_an_answer_must_name_everything_and_nothing_else() -> None:
    """A guess at everything, a part of the answer, and a longer number are all wrong."""
    task = make_task(Trial(Kind.MULTI, 2_048, 1), 1, COUNTER, 1.0)
    everything = ", ".join(task.expected)
    assert task.right(everything.upper())
    assert not task.right(", ".join(task.expected[:-1]))
    assert not task.right(f"{everything}, {task.wrong[0]}")
    code = make_task(Trial(Kind.LITERAL, 2_048, 1), 1, COUNTER, 1.0)
    assert code.right(f"It is {code.expected[0]}.")
    assert not code.right(code.expected[0] + "1")


def test_the_same_seed_asks_the_same_and_another_seed_something_else() -> None:
    """A task is a pure function of trial and seed."""
    trial = Trial(Kind.SEMANTIC, 2_048, 7)
    first = make_task(trial, 1, COUNTER, 1.0)
    assert first == make_task(trial, 1, COUNTER, 1.0)
    assert first != make_task(trial, 2, COUNTER, 1.0)


def test_semantic_questions_share_no_telling_word_with_their_facts() -> None:
    """Looking for the question's words does not find the fact."""
    common = {"who", "of", "the", "people", "mentioned", "a", "is", "in", "has", "was", "got"}
    for fact, question in semantic_pairs():
        words = {w.strip("?.,").lower() for w in question.split()} - common
        told = {w.strip("?.,").lower() for w in fact.split()}
        assert not words & told, (fact, question)
    assert len(semantic_pairs()) == len(set(semantic_pairs())) == 24
    assert len(set(people())) == len(people())

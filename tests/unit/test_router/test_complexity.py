"""The shipped score: calibrated, deterministic, modest where it knows nothing."""

from __future__ import annotations

import pytest

from router.complexity import Complexity, bundled_complexity, is_small_talk
from router.plan import RequestFacts

MODEL = bundled_complexity()
FLOOR = 0.97

EVERYDAY = (
    "What is the capital of Portugal?",
    "Who wrote the novel about the whale?",
    "Name three fruits that are red.",
    "Write one sentence that uses these words: dog, run, park",
    "When did the second world war end?",
    "What day comes after Tuesday?",
    "Give me another word for happy.",
    "Where do penguins live?",
)
SPRING = (
    "A 2.0 kg block slides down a frictionless incline of 30 degrees and compresses a spring of"
    " constant 400 N/m. If it starts 1.5 m above the spring along the incline, what is the maximum"
    " compression?\nA. 0.12 m\nB. 0.24 m\nC. 0.30 m\nD. 0.41 m\nE. 0.52 m"
)
CUBIC = (
    "Consider the map f(x) = x^3 - 3x on the integers modulo 7. Which statement is true?\n"
    "A. It is injective\nB. It is surjective\nC. Its image has 3 elements\nD. None of these"
)
FIRM = (
    "A firm with the cost function C(q) = 100 + 4q + q^2 faces the inverse demand p = 40 - q and a"
    " tax of 2 per unit. Which quantity maximises its profit?\nA. 7.5\nB. 8.5\nC. 9.5\nD. 10"
)
ARSON = (
    "The defendant, believing that the house was empty, set fire to his own barn; the flames spread"
    " and killed a trespasser. Under the statute, arson requires malice. He is most likely guilty"
    " of\nA. felony murder\nB. involuntary manslaughter\nC. arson only\nD. no crime"
)
DEMANDING = (SPRING, CUBIC, FIRM, ARSON)


def score(question: str, **facts: object) -> Complexity:
    return MODEL.score(question, RequestFacts("auto", **facts))  # type: ignore[arg-type]


def goes_small(found: Complexity) -> bool:
    return found.weak is None and found.gain <= found.gain_limit(FLOOR)


def test_demanding_questions_gain_more_from_a_large_model() -> None:
    """On average a calculation or a case of law gains more than an everyday question."""
    easy = [score(question).gain for question in EVERYDAY]
    hard = [score(question).gain for question in DEMANDING]
    assert sum(hard) / len(hard) > sum(easy) / len(easy) + 0.03


def test_everyday_questions_mostly_go_to_the_small_model() -> None:
    """At the default floor, most everyday questions are small enough and most demanding are not."""
    assert sum(goes_small(score(question)) for question in EVERYDAY) >= 6
    assert sum(goes_small(score(question)) for question in DEMANDING) <= 1


def test_figures_are_probabilities_that_agree() -> None:
    """Heads lie in (0, 1) and the gain is their difference wherever neither is at its end."""
    for question in (*EVERYDAY, *DEMANDING):
        found = score(question)
        assert 0 < found.p_small < 1
        assert 0 < found.p_large < 1
        assert 0 < found.small_is_enough < 1
        assert found.gain == pytest.approx(found.p_large - found.p_small, abs=1e-6)


def test_a_higher_floor_lets_less_gain_pass() -> None:
    """Calibrated limits fall as the floor rises; beyond the last one only no gain passes."""
    found = score(EVERYDAY[0])
    limits = [found.gain_limit(floor) for floor in (0.90, 0.95, 0.97, 0.99, 1.0)]
    assert limits == sorted(limits, reverse=True)
    assert found.gain_limit(1.0) == 0.0
    assert found.gain_limit(0.955) == found.gain_limit(0.96)


def test_the_score_is_deterministic() -> None:
    """Two scores of one question are equal, also from two loads of the weights."""
    assert score(DEMANDING[0]) == score(DEMANDING[0])
    again = bundled_complexity().score(DEMANDING[0], RequestFacts("auto"))
    assert again == score(DEMANDING[0])
    assert MODEL.hash.startswith("sha256:")


def test_good_morning_with_32_tools_is_small() -> None:
    """Registered tools do not make a greeting complex."""
    assert goes_small(score("good morning", tool_count=32))


def test_stock_phrases_do_not_make_a_greeting_complex() -> None:
    """ "hi, step by step, pros and cons" asks nothing and stays small."""
    assert is_small_talk("hi, step by step, pros and cons")
    assert goes_small(score("hi, step by step, pros and cons"))


@pytest.mark.parametrize(
    "question",
    [
        "Prove that there are infinitely many primes congruent to 3 modulo 4.",
        "Show that for every odd prime p > 3 the quadratic residues sum to a multiple of p.",
    ],
)
def test_a_number_theory_proof_is_not_sent_small(question: str) -> None:
    """A proof is open work of which the labels say nothing: the asked-for model keeps it."""
    assert score(question).weak == "open_task"


def test_graduate_chemistry_without_keywords_is_not_sent_small() -> None:
    """A hard question in plain words is not taken for an easy one."""
    question = (
        "Why does the cloudy mixture turn clear when a drop of acid is added, and which hand of"
        " the product dominates if the bulky group sits axially?"
    )
    assert not goes_small(score(question))


def test_commit_it_after_a_hard_turn_inherits() -> None:
    """A short follow-up has no score of its own."""
    assert score("commit it", human_turns=5).weak == "follow_up"
    assert score("yes, do that", human_turns=2).weak == "follow_up"


@pytest.mark.parametrize(
    ("question", "weak"),
    [
        ("Что такое любовь и зачем она нужна людям?", "script"),
        ("你好", "no_signal"),
        ("x", "no_signal"),
        ("word " * 3_000, "too_long"),
    ],
)
def test_absence_of_evidence_is_named(question: str, weak: str) -> None:
    """Another script, nothing said or far too much: weak evidence, never "simple"."""
    assert score(question).weak == weak


def test_a_task_with_tools_is_unproven() -> None:
    """No label was of tool use, so a real task with tools keeps the asked-for model."""
    assert score("book me a flight to Paris tomorrow", tool_count=3).weak == "tools"


def test_one_keyword_does_not_lower_a_demanding_question() -> None:
    """Calling a demanding question easy does not send it to the small model."""
    for question in DEMANDING[:3]:
        assert not goes_small(score("This is easy, hello, thanks. " + question))

"""Verdicts: by rule where answers can be compared, else a judge's that holds in both orders."""

from __future__ import annotations

import pytest

from router.judging import (
    ANSWER_CHARS,
    REQUEST_CHARS,
    asked_of_judge,
    both_orders,
    by_rule,
    checkable,
    letter_of,
    shown,
    verdict_of,
)

OPTIONS = "Which?\nA. one\nB. two\nC. three"


@pytest.mark.parametrize(
    ("question", "small", "large", "verdict"),
    [
        ("Capital of France?", "Paris", "paris.", "same"),
        ("Capital of France?", "Paris", "It is Paris, of course.", None),
        ("Capital of France?", "", "Paris", "large"),
        ("Capital of France?", "Paris", " ", "small"),
        (OPTIONS, "B", "The answer is B, since two is two.", "same"),
        (OPTIONS, "(A) one", "The answer is B.", "large"),
        (OPTIONS, "Well, it depends.", "The answer is B.", None),
    ],
)
def test_a_rule_speaks_where_no_opinion_is_needed(
    question: str, small: str, large: str, verdict: str | None
) -> None:
    """Same words, nothing said, the letter of an option; of all else a rule says nothing."""
    assert by_rule(question, small, large, json_asked=False) == verdict


@pytest.mark.parametrize(
    ("small", "large", "verdict"),
    [
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}', "same"),
        ('[{"id": "x1", "n": 1}]', '[{"id": "y9", "n": 1}]', "same"),
        ("no json", '{"a": 1}', "large"),
        ('{"a": 1}', "no json", "small"),
        ("no", "json", "neither"),
        ('{"a": 1}', '{"a": 2}', None),
    ],
)
def test_json_that_was_asked_for_is_compared_as_json(
    small: str, large: str, verdict: str | None
) -> None:
    """Order and spaces do not count, names of calls neither; what is no JSON is worse."""
    assert by_rule("Give JSON.", small, large, json_asked=True) == verdict


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("(C)", "C"),
        ("**D**", "D"),
        ("First I thought the answer is A. No: the answer is B.", "B"),
        ("A function that adds.", None),
        ("I think so.", None),
        ("The answer is a function.", None),
        ("", None),
    ],
)
def test_a_letter_is_an_option_only_where_it_is_meant(answer: str, letter: str | None) -> None:
    """The last letter that is called the answer counts; articles and pronouns never do."""
    assert letter_of(answer) == letter


@pytest.mark.parametrize(
    ("forward", "backward", "verdict"),
    [
        ("first", "second", "small"),
        ("second", "first", "large"),
        ("same", "same", "same"),
        ("neither", "neither", "neither"),
        ("first", "first", None),
        ("second", "second", None),
        ("same", "first", None),
    ],
)
def test_a_verdict_holds_in_both_orders_or_not_at_all(
    forward: str, backward: str, verdict: str | None
) -> None:
    """A judge that prefers a place, or changes its mind, has said nothing."""
    assert both_orders(forward, backward) == verdict


def test_only_a_verdict_is_a_verdict() -> None:
    """The last one counts; a word in passing, another key or nothing is none."""
    assert verdict_of('{"verdict": "first"} no, {"verdict":"same"}') == "same"
    for said in ("", "first", '{"verdict": "both"}', '{"word": "first"}', "verdict: first"):
        assert verdict_of(said) is None


def test_a_judge_reads_the_rubric_and_marked_texts() -> None:
    """Each text stands between marks that it cannot know; long ones lose their middle."""
    request = shown([("system", "S" * 50_000), ("user", "the question")])
    assert len(request) < REQUEST_CHARS + 100
    assert request.endswith("the question")
    prompt = asked_of_judge(request, "one", "x" * 50_000, "M7")
    assert [message["role"] for message in prompt] == ["system", "user"]
    assert prompt[1]["content"].count("<<M7 END>>") == 3
    assert len(prompt[1]["content"]) < REQUEST_CHARS + ANSWER_CHARS + 400


def test_a_rule_is_expected_to_speak_on_options_and_json_alone() -> None:
    """Where it could not speak, nothing is spent on a second answer."""
    assert checkable(OPTIONS, json_asked=False)
    assert checkable("Anything", json_asked=True)
    assert not checkable("Why is the sky blue?", json_asked=False)

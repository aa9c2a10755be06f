"""A receipt and a comparison in sentences."""

from __future__ import annotations

from typing import Any

import pytest

from billing.reports import Row
from dashboard.words import comparison, known_baseline, left_out, reason, story
from gateway.demo_bill import _TOLD as DEMO_TOLD


def row(**fields: int) -> Row:
    """A row of two requests, with the given sums (nano-USD)."""
    names = [name for name in Row.__slots__ if name != "label"]
    return Row("all", **{**dict.fromkeys(names, 0), "requests": 2, **fields})


def test_a_saving_is_said_with_both_amounts() -> None:
    """Paid, tokenmaxxed, saved and the share stand in one sentence."""
    said = comparison(
        row(cost_nano=10**9, compared_nano=10**9, baseline_nano=4 * 10**9), "on 3 Mar 2025"
    )
    assert said == (
        "On 3 Mar 2025, 2 requests cost $1.00. Sent whole to the model they asked for they would "
        "have cost $4.00, so Tokenweir saved $3.00 (75.0%)."
    )


def test_a_loss_is_called_one() -> None:
    """Where routing cost more, the sentence says more."""
    said = comparison(
        row(cost_nano=5 * 10**9, compared_nano=5 * 10**9, baseline_nano=4 * 10**9), "over all time"
    )
    assert said.endswith("so Tokenweir cost $1.00 (25.0%) more.")


def test_what_cannot_be_compared_is_left_out_and_named() -> None:
    """Its cost is in paid, its absence from the comparison is said with its amount."""
    some = row(cost_nano=5 * 10**9, compared_nano=10**9, baseline_nano=2 * 10**9, infeasible=1)
    assert "The 1 request that can be compared cost $1.00." in comparison(some, "x")
    assert str(left_out(some)).startswith("1 request ($4.00) left out")
    assert left_out(row()) is None


def test_nothing_comparable_claims_no_saving() -> None:
    """Without any known baseline there is no figure to save from."""
    none = row(cost_nano=10**9, infeasible=2)
    assert known_baseline(none) is None
    assert "not known" in comparison(none, "x")
    assert "saved" not in comparison(none, "x")


def test_a_reason_is_a_sentence() -> None:
    """A known code is told with its figures, the gain as points."""
    said = reason({"code": "small_is_enough", "p": 0.9412, "gain": 0.031})
    assert said == (
        "The small model is enough (probability 0.941): a large one is expected to be right 3.1 "
        "points more often."
    )


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        ({"code": "brand_new", "tokens": 1200}, "Brand new: tokens 1,200."),
        ({"code": "beyond_window"}, "Beyond window."),
        ({"code": "brand_new", "ok": True, "why": None}, "Brand new: ok yes, why none."),
        ({}, "Reason without a name."),
    ],
)
def test_an_unknown_reason_is_shown_with_its_figures(fact: dict[str, Any], said: str) -> None:
    """A newer or an older gateway's reason is never hidden and never an error."""
    assert reason(fact) == said


def test_the_dashboard_knows_every_reason_that_the_demo_tells() -> None:
    """No code that the bill explains falls back to its bare name here."""
    names = (
        "p gain model need confidence from_tokens to_tokens prompt_tokens effective_context "
        "window saves_usd asked_usd why way stays_with"
    )
    facts = dict.fromkeys(names.split(), 1.0)
    bare = [c for c in DEMO_TOLD if reason({"code": c, **facts}).startswith(c[:1].upper() + c[1:])]
    assert [code for code in bare if "_" in code] == []


def test_the_story_of_a_trimmed_request(golden: Any) -> None:
    """Who asked what, what was done to it, what it cost and would have cost."""
    assert story(golden("R2")) == (
        "chat-prod of support asked gpt-6.1-sol with 90,000 prompt tokens. It was served by "
        "gpt-6-luna with only the parts that the question needs (8,000 tokens sent). It cost "
        "$0.0010 instead of $0.19 whole at gpt-6.1-sol: 99.5% less."
    )


def test_the_story_of_a_loss_and_of_an_incomparable_request(golden: Any) -> None:
    """A dearer outcome is said as more; without a baseline nothing is claimed."""
    assert story(golden("R7")).endswith("33.3% more.")
    assert story(golden("R6")).endswith("what gpt-6.1-sol would have cost is not known.")
    assert "the same as" in story(golden("R3"))
    assert "ended with status 502" in story(golden("R1", status=502))

"""The demo's bill, from receipts to sentences."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from gateway.demo_bill import (
    Totals,
    bill,
    bill_table,
    check_lines,
    differences,
    ledger_totals,
    reason_text,
    receipts_totals,
    report,
    served_totals,
    stories,
    story,
    summary,
)


def receipt(number: int = 1, action: str = "trim", **more: Any) -> dict[str, Any]:
    """A receipt as the gateway's JSON has it, as far as a bill reads it."""
    baseline, cost = Decimal(more.pop("baseline", "0.12")), Decimal(more.pop("cost", "0.02"))
    tokens = {
        "original_prompt": more.pop("original", 60_000),
        "sent_prompt": more.pop("sent", 9_000),
        "cached": 0,
        "completion": more.pop("completion", 100),
        "effective": more.pop("effective", 9_100),
    }
    return {
        "request_id": f"R{number}",
        "action": action,
        "requested_model": "gpt-6.1-sol",
        "served_model": "gpt-6.1-sol",
        "reasons": [{"code": "nothing_to_gain"}],
        "candidates": [],
        "tokens": tokens,
        "cost_usd": str(cost),
        "baseline_usd": str(baseline),
        "saved_usd": str(baseline - cost),
        **more,
    }


ITEM = {"id": "orders-1", "kind": "document"}


def shown(renderable: Any) -> str:
    """What a console of 120 columns prints."""
    console = Console(width=120, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


@settings(max_examples=50)
@given(
    st.lists(
        st.builds(
            receipt,
            action=st.sampled_from(["pass", "route", "trim", "route+trim"]),
            baseline=st.decimals(0, 10, places=9),
            cost=st.decimals(0, 10, places=9),
            original=st.integers(0, 10**6),
            sent=st.integers(0, 10**6),
        ),
        max_size=12,
    )
)
def test_the_lines_add_up_to_the_total_exactly(receipts: list[dict[str, Any]]) -> None:
    """No token and no nano-dollar is lost between the lines and their sum."""
    made = bill(receipts)
    for name in ("requests", "original", "sent", "effective", "baseline", "paid", "saved"):
        assert sum(getattr(line, name) for line in made.lines) == getattr(made.total, name)


def test_what_costs_more_than_tokenmaxxed_is_shown_as_a_loss() -> None:
    """Savings have no floor at zero."""
    made = bill([receipt(baseline="0.10", cost="0.15")])
    assert made.total.saved == Decimal("-0.05")
    assert "-50.0%" in shown(bill_table(made))


def test_an_infeasible_baseline_is_left_out_of_the_savings_and_counted() -> None:
    """A request that could not have gone whole is paid for, but saves nothing."""
    whole = receipt(1, baseline="0.10", cost="0.04")
    cut = {**receipt(2, cost="0.01"), "baseline_usd": None, "saved_usd": None}
    made = bill([whole, cut])
    assert made.total.paid == Decimal("0.05")
    assert made.total.saved == Decimal("0.06")
    assert made.total.infeasible == 1
    assert any("1 requests have no tokenmaxxed cost" in line for line in summary(made))


def test_the_price_of_a_million_effective_tokens_is_shown() -> None:
    """Cost per effective token is paid cost over effective tokens."""
    lines = summary(bill([receipt(cost="0.02", effective=10_000)]))
    assert any("$2.0000 a million effective tokens" in line for line in lines)


def test_three_stories_are_told_one_of_each_sort() -> None:
    """The largest saving of a cut and of a route, and the largest prompt left alone."""
    receipts = [
        receipt(1, "trim", baseline="1"),
        receipt(2, "route+trim", baseline="2"),
        receipt(3, "route", baseline="3"),
        receipt(4, "pass", original=10),
        receipt(5, "pass", original=20),
        receipt(6, "route", baseline="9", reasons=[{"code": "fit_refused", "way": "trim"}]),
    ]
    assert [chosen["request_id"] for chosen in stories(receipts)] == ["R2", "R3", "R5"]
    assert stories([]) == []


def test_a_story_says_what_was_asked_done_and_paid() -> None:
    """Model, tokens, reason, both costs and the road not taken are in the sentences."""
    told = story(
        receipt(
            reasons=[{"code": "small_is_enough", "p": 0.94, "gain": 0.01, "floor": 0.9}],
            candidates=[
                {"model": "gpt-6.1-sol", "way": "whole", "rejected": "the choice costs less"},
                {"model": "gpt-6-luna", "way": "whole", "rejected": None},
            ],
            served_model="gpt-6-luna",
        ),
        ITEM,
    )
    text = "\n".join(told)
    assert "60,000 tokens" in text
    assert (
        "(probability 0.94); what a large one adds, 1.0 points, is within the quality floor"
        in " ".join(text.split())
    )
    assert "9,000 prompt tokens to gpt-6-luna" in text
    assert "$0.020000 instead of $0.120000 tokenmaxxed: saved 83.3%" in text
    assert "Not taken: gpt-6.1-sol whole, because the choice costs less." in text


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ({"code": "new_rule", "tokens": 12_000}, "New rule (tokens 12,000)."),
        ({"code": "new_rule"}, "New rule."),
        ({"code": "small_is_enough"}, "Small is enough."),
        (
            {"code": "beyond_window", "prompt_tokens": 9000, "window": 8000},
            "9,000 tokens do not fit",
        ),
    ],
)
def test_every_reason_becomes_a_sentence(reason: dict[str, Any], said: str) -> None:
    """An unknown code, or one without its figures, is told by its name."""
    assert reason_text(reason).startswith(said)


def test_witnesses_that_agree_are_named_in_one_line() -> None:
    """Receipts, ledger and provider with equal figures give one green line."""
    total = bill([receipt(sent=5, completion=2, cost="0.02")]).total
    ledger = ledger_totals(
        {"requests": 1, "prompt_tokens": 5, "completion_tokens": 2, "cost": "0.020000000"}
    )
    models = {"m": {"prompt_tokens": 5, "completion_tokens": 2, "requests": 1}}
    served = served_totals({"requests": 1, "models": models})
    lines = check_lines(receipts_totals(total), ledger, served)
    assert differences(receipts_totals(total), ledger, served) == []
    assert len(lines) == 1
    assert "receipts, ledger, provider agree on 1 requests" in lines[0].plain


@pytest.mark.parametrize("name", ["requests", "prompt_tokens", "completion_tokens", "cost"])
def test_any_figure_that_differs_fails_the_check(name: str) -> None:
    """A difference of one, in any figure, is reported with both values."""
    figures: dict[str, Any] = {
        "requests": 3,
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "cost": Decimal("0.5"),
    }
    ours = Totals("receipts", **figures)
    theirs = Totals("ledger", **{**figures, name: figures[name] + 1})
    found = differences(ours, theirs)
    assert len(found) == 1
    assert found[0].startswith(name.replace("_", " "))
    assert "CHECK FAILED" in check_lines(ours, theirs)[0].plain


def test_a_witness_without_prices_is_not_asked_for_the_cost() -> None:
    """The provider's count is compared in requests and tokens only."""
    ours = Totals("receipts", 1, 2, 3, Decimal(9))
    assert differences(ours, Totals("provider", 1, 2, 3)) == []


def test_the_whole_report_prints() -> None:
    """Table, sums, stories and check are all on the page."""
    receipts = [receipt(1), receipt(2, "route"), receipt(3, "pass")]
    items = {f"R{number}": ITEM for number in (1, 2, 3)}
    page = shown(report(receipts, items, [receipts_totals(bill(receipts).total)]))
    for expected in ("The bill", "tokenmaxxed", "route", "orders-1", "Check: receipts"):
        assert expected in page

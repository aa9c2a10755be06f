"""Findings about the price book, from a second source made for the purpose."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing.contracts import parse_contract
from billing.price_check import (
    Used,
    contract_steps,
    coverage,
    differences,
    drift,
    every_price,
    upcoming,
)
from billing.prices import PriceBook

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
BOOK = PriceBook.bundled()
SOL = Used("sol", "main", "openai", "gpt-6.1-sol")
ARGON = Used("argon", "g", "google", "gemini-4-argon")


def theirs(**changed: str) -> dict[str, Any]:
    entry = {
        "input_cost_per_token": "0.000002",
        "input_cost_per_token_above_272k_tokens": "0.000004",
        "output_cost_per_token": "0.00001",
        "output_cost_per_token_above_272k_tokens": "0.000015",
        "cache_read_input_token_cost": "1E-7",
        "output_cost_per_token_flex": "0.000005",
    }
    return {"gpt-6.1-sol": {k: Decimal(v) for k, v in (entry | changed).items()}}


def test_two_sources_that_agree_say_nothing() -> None:
    """Rates, caches and steps alike; tiers that are compared elsewhere are left alone."""
    assert list(drift(BOOK, [SOL], theirs(), AT)) == []


def test_a_rate_that_differs_is_named_with_both_values() -> None:
    """Also where only the rate over the step differs; rounding is no difference."""
    (found,) = drift(BOOK, [SOL], theirs(output_cost_per_token="0.000012"), AT)
    assert (found.kind, found.look) == ("drift", True)
    assert found.text == "output: 10 in the book, 12 in litellm's map"
    changed = theirs(input_cost_per_token_above_272k_tokens="0.000003")
    (step,) = drift(BOOK, [SOL], changed, AT)
    assert "input above 272,000 tokens: 4 in the book, 3" in step.text
    assert list(drift(BOOK, [SOL], theirs(input_cost_per_token="0.000002004"), AT)) == []


def test_a_model_in_one_source_only_is_told_and_needs_no_look() -> None:
    """No second opinion is no alarm."""
    (found,) = drift(BOOK, [SOL], {}, AT)
    assert (found.kind, found.look) == ("one-source", False)


def test_their_names_of_providers_are_known() -> None:
    """litellm writes gemini/ where the book says google."""
    entry = {"input_cost_per_token": Decimal("0.000009")}
    (found,) = drift(BOOK, [ARGON], {"gemini/gemini-4-argon": entry}, AT)
    assert found.subject == "argon"


def test_a_price_that_changes_within_a_month_is_announced() -> None:
    """The introductory price of gemini-4-argon ends on December 1st, with what comes then."""
    (found,) = upcoming(BOOK, [SOL, ARGON], AT)
    assert (found.kind, found.subject) == ("changes", "argon")
    assert found.text.startswith("on 2026-12-01: ")
    assert "output 10 -> 20" in found.text
    assert list(upcoming(BOOK, [ARGON], datetime(2026, 10, 1, tzinfo=UTC))) == []
    assert list(upcoming(BOOK, [ARGON], datetime(2026, 12, 1, tzinfo=UTC))) == []


def test_contracts_that_end_are_announced_and_then_complained_of() -> None:
    """Within thirty days it expires; afterwards it expired; before, nothing."""
    text = (
        "{ name: c, author: ana, upstream: main, until: 2026-12-10, models: { m: { input: 1 } } }"
    )
    book = BOOK.with_clauses(parse_contract(text, "c"))

    def kinds(day: datetime) -> list[str]:
        return [found.kind for found in upcoming(book, [], day)]

    assert kinds(AT) == ["expires"]
    assert kinds(datetime(2026, 11, 1, tzinfo=UTC)) == []
    assert kinds(datetime(2026, 12, 10, tzinfo=UTC)) == ["expired"]


def test_what_was_booked_without_a_price_is_counted() -> None:
    """Each reason with its number of requests, and models that nobody declares any more."""
    unknown = Used("x", "main", "openai", "gpt-99")
    found = list(coverage(BOOK, [SOL, unknown], [("old", "main")], {"unpriced:o/x": 3}, AT))
    assert [(f.kind, f.subject, f.look) for f in found] == [
        ("unpriced", "x", True),
        ("undeclared", "old", False),
        ("booked", "unpriced:o/x", True),
    ]
    assert "3 requests" in found[2].text


def test_a_contract_price_under_a_list_step_is_told() -> None:
    """Whoever wrote 8 should know that 15 holds above the step."""
    text = "{ name: c, author: ana, upstream: main, models: { gpt-6.1-sol: { output: 8 } } }"
    book = BOOK.with_clauses(parse_contract(text, "c"))
    (found,) = contract_steps(book, [SOL], AT)
    assert found.text == "output: 8 by contract:c, 15 above 272,000 tokens"
    assert list(contract_steps(BOOK, [SOL], AT)) == []


def test_differences_have_a_line_for_each_rate_and_step() -> None:
    """New, gone and changed rates; equal books have none."""
    models = [("openai", "gpt-6.1-sol"), ("google", "gemini-4-argon"), ("openai", "gpt-99")]
    now = every_price(BOOK, models, AT)
    later = every_price(BOOK, models, datetime(2026, 12, 2, tzinfo=UTC))
    assert differences(now, now) == []
    moved = differences(now, later)
    assert {change.model for change in moved} == {"google/gemini-4-argon"}
    assert {str(change.percent) for change in moved} == {"100.0"}
    gone = differences(now, {})
    assert ("output >272000", Decimal(15), None, None) in [
        (c.component, c.before, c.after, c.percent) for c in gone
    ]

"""Reconciliation: every delta explained, and booked so that the day is the provider's."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import usd
from billing.provider_exports import Export, read_export
from billing.reconcile import (
    Delta,
    Doubtful,
    Ours,
    accounts_of,
    allocate,
    compare,
    corrections,
    proportional,
    same,
    unallocated,
)

DAY = date(2026, 11, 21)
LATER = date(2026, 12, 1)
USD = 10**9
KNOWN = {"openai": "openai", "backup": "openai", "claude": "anthropic"}


def export(text: str) -> Export:
    return read_export(text.encode())


def costs(amount: int | str) -> Export:
    text = amount if isinstance(amount, str) else usd(amount)
    return export(f"day,cost_usd\n2026-11-21,{text}\n")


def one(kind: str, cost: int, name: str = "r") -> Doubtful:
    return Doubtful(name, kind, "t", None, "k", "m", cost)


def delta(found: Export, ours: Ours, tolerance: int = 0) -> Delta:
    (only,) = compare(found, ["openai"], {("openai", DAY): ours}, tolerance, LATER)
    return only


def codes(found: Delta) -> list[str]:
    return [reason.code for reason in found.reasons]


amounts = st.integers(0, 10**12)
doubts = st.lists(
    st.builds(one, st.sampled_from(["orphan", "provisional", "unpriced", "estimated"]), amounts),
    max_size=8,
)


@given(st.integers(-(10**12), 10**13), doubts)
def test_shares_and_rest_are_the_amount(amount: int, doubtful: list[Doubtful]) -> None:
    """Nothing is lost in sharing out; no hold costs more than it held, nothing is negative."""
    shares, rest = allocate(amount, doubtful)
    assert sum(shares) + rest == amount
    for share, found in zip(shares, doubtful, strict=True):
        room = 2 if found.kind == "estimated" else 1
        assert 0 <= share <= room * found.cost_nano


@given(st.integers(0, 10**15), st.lists(amounts, min_size=1, max_size=20))
def test_parts_by_weight_sum_to_the_whole(amount: int, weights: list[int]) -> None:
    """Largest remainders: whole parts, each within one of its exact share, sum exactly."""
    parts = proportional(amount, weights)
    assert sum(parts) == (amount if sum(weights) else 0)
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part * sum(weights) - amount * weight) < max(sum(weights), 1)


@given(st.integers(-(10**10), 10**12), amounts, doubts)
def test_what_is_booked_is_the_delta(theirs: int, certain: int, doubtful: list[Doubtful]) -> None:
    """The rows to book sum to their cost less ours, whatever either side says."""
    cost = certain + sum(found.cost_nano for found in doubtful)
    found = delta(costs(theirs), Ours(len(doubtful) + 1, 0, 0, cost, doubtful=tuple(doubtful)))
    assert sum(row.amount_nano for row in corrections(found)) == theirs - cost == found.delta_nano
    taken_back = {row.doubtful for row in corrections(found) if row.kind == "reversal"}
    for row in corrections(found):
        assert row.doubtful is None or row.doubtful in taken_back


def test_a_day_that_agrees_has_no_reasons() -> None:
    """Equal costs: nothing to explain, nothing to book."""
    found = delta(costs(5 * USD), Ours(3, 10, 2, 5 * USD))
    assert (found.agrees, found.reasons, corrections(found)) == (True, (), [])


def test_a_dead_processs_hold_gives_way_first() -> None:
    """An orphan is set to what is left for it; estimates and settled requests stay."""
    doubtful = (one("orphan", 4 * USD, "dead"), one("estimated", USD, "guess"))
    found = delta(costs(7 * USD), Ours(5, 0, 0, 10 * USD, doubtful=doubtful))
    assert codes(found) == ["orphan", "estimated"]
    assert [(row.kind, row.amount_nano, row.reason) for row in corrections(found)] == [
        ("reversal", -4 * USD, "orphan"),
        ("correction", USD, "orphan"),
    ]
    assert unallocated(found) == 0


def test_what_nobody_can_carry_is_unallocated() -> None:
    """More than twice the estimate is booked to nobody, and said to be unexplained."""
    found = delta(costs(10 * USD), Ours(2, 0, 0, USD, doubtful=(one("estimated", USD),)))
    assert [row.amount_nano for row in corrections(found)] == [-USD, 2 * USD, 8 * USD]
    assert codes(found) == ["estimated", "unexplained"]
    assert unallocated(found) == 8 * USD
    less = delta(costs(USD), Ours(2, 0, 0, 3 * USD))
    assert (codes(less), unallocated(less)) == (["unexplained"], -2 * USD)


def test_one_side_may_be_missing() -> None:
    """Traffic past the gateway, and traffic the provider does not know, are named as such."""
    foreign = delta(costs(3 * USD), Ours())
    assert (codes(foreign), foreign.delta_nano) == (["missing_ours"], 3 * USD)
    assert [row.reason for row in corrections(foreign)] == ["missing_ours"]
    lost = delta(costs(0), Ours(4, 0, 0, 2 * USD))
    assert (codes(lost), corrections(lost)[0].amount_nano) == (["missing_theirs"], -2 * USD)


def test_tiers_models_tokens_and_prices_are_told_apart() -> None:
    """A batch tier, models of one side, other counts and other prices each have their name."""
    head = "day,model,tier,prompt_tokens,completion_tokens,cost_usd\n2026-11-21,"
    ours = Ours(4, 100, 10, 2 * USD, frozenset({"gpt-6-luna"}))
    batch = delta(export(head + "gpt-6-luna,batch,100,10,1\n"), ours)
    assert codes(batch) == ["tier", "price", "unexplained"]
    model = delta(export(head + "GPT 6 Sol,standard,100,10,1\n"), ours)
    assert codes(model) == ["model", "model", "price", "unexplained"]
    tokens = delta(export(head + "gpt-6-luna-2026-05-01,,90,10,1\n"), ours)
    assert codes(tokens) == ["tokens", "unexplained"]
    assert tokens.delta_tokens == -10


def test_tokens_alone_are_compared_but_not_booked() -> None:
    """An export of usage says whether tokens agree; it has no amount to book."""
    found = delta(
        export("day,prompt_tokens,completion_tokens\n2026-11-21,90,10\n"), Ours(1, 95, 10, 7)
    )
    assert (found.agrees, found.delta_nano, found.delta_tokens) == (False, None, -5)
    assert corrections(found) == []
    even = delta(
        export("day,prompt_tokens,completion_tokens\n2026-11-21,95,10\n"), Ours(1, 95, 10, 7)
    )
    assert even.agrees


def test_a_tolerance_is_a_tolerance() -> None:
    """Up to the tolerance a day agrees; a nano more and it does not."""
    assert delta(costs(USD + 10), Ours(1, 0, 0, USD), tolerance=10).agrees
    assert not delta(costs(USD + 11), Ours(1, 0, 0, USD), tolerance=10).agrees


def test_a_day_that_is_not_over_is_not_compared() -> None:
    """Today's export is half a day: it waits."""
    found = export("day,cost_usd\n2026-11-20,1\n2026-11-21,1\n")
    assert [d.day for d in compare(found, ["openai"], {}, 0, DAY)] == [date(2026, 11, 20)]


@pytest.mark.parametrize(
    ("text", "account", "expected"),
    [
        ("day,cost_usd\n2026-11-21,1\n", "backup", ["backup"]),
        (
            "day,account,cost_usd\n2026-11-21,backup,1\n2026-11-21,openai,1\n",
            None,
            ["backup", "openai"],
        ),
    ],
)
def test_accounts_are_named(text: str, account: str | None, expected: list[str]) -> None:
    """The account comes from the option or from the rows."""
    assert accounts_of(export(text), account, KNOWN) == expected


@pytest.mark.parametrize(
    ("text", "account", "words"),
    [
        ("day,cost_usd\n2026-11-21,1\n", None, "name it with --account"),
        ("day,cost_usd\n2026-11-21,1\n", "azure", "no upstream here"),
        ("day,account,cost_usd\n2026-11-21,backup,1\n", "openai", "other accounts"),
        (
            "day,account,cost_usd\n2026-11-21,backup,1\n2026-11-21,openai,1\n2026-11-21,,1\n",
            None,
            "some rows name an account",
        ),
    ],
)
def test_an_unclear_account_is_refused(text: str, account: str | None, words: str) -> None:
    """A guess at whose invoice it is would book it to the wrong account."""
    with pytest.raises(ValueError, match=words):
        accounts_of(export(text), account, KNOWN)


def test_the_only_account_of_a_provider_is_meant() -> None:
    """An Anthropic export is of the one upstream that is Anthropic's."""
    text = "usage_date_utc,model,cost_usd\n2026-11-21,m,1\n"
    assert accounts_of(export(text), None, KNOWN) == ["claude"]


def test_names_of_a_model_are_compared_loosely() -> None:
    """Dates, case and punctuation do not make another model; a version does."""
    assert same("Claude Haiku 5.5") == same("claude-haiku-5-5") == same("claude-haiku-5.5-20261001")
    assert same("gpt-6-luna-2026-05-01") == same("gpt-6-luna") != same("gpt-6.1-luna")

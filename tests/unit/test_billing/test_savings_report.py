"""The savings report: the ledger's own figures, whole, bounded and split."""

from __future__ import annotations

import random
from typing import Any

import pytest

from billing.money import nano
from billing.outcome_rows import post
from billing.outcomes import Outcome
from billing.receipt import Receipt
from billing.reports import Scope, TaskRow, outcomes
from billing.savings_report import Report, in_words, report, rows, to_json

COST = 100_000_000


@pytest.fixture
def settle(money: Any, open_ledger: Any, clock: Any) -> Any:
    """Posts receipts; ``flush`` on what it gives."""
    ledger = open_ledger(money.accounts())

    def run(*receipts: Receipt) -> None:
        for one in receipts:
            ledger.settle(ledger.hold(money.request(one.request_id, 10**9, clock.now)), one)
        ledger.flush()

    return run


def parted(money: Any, name: str, paid: int, whole: int, **fields: Any) -> Receipt:
    """A receipt with a split: half by trim, a fifth lost by cache, the rest by model."""
    saved = whole - paid
    trim, cache = saved // 2, -saved // 5
    split = {
        "saved_trim_nano": trim,
        "saved_model_nano": saved - trim - cache,
        "saved_cache_nano": cache,
        "saved_retries_nano": 0,
    }
    return money.receipt(name, paid, baseline_nano=whole, **{**split, **fields})


def adds_up(found: Report) -> None:
    *steps, last = found.waterfall()
    assert sum(step.amount_nano for step in steps) == last.amount_nano == found.causes.paid_nano
    said = to_json(found)
    assert sum(nano(amount) for amount in said["by_cause_usd"].values()) == nano(said["saved_usd"])


@pytest.mark.usefixtures("made")
def test_an_empty_ledger_saved_nothing(url: str) -> None:
    """No request, no saving, no interval, and a sentence that says so."""
    found = report(url, Scope())
    adds_up(found)
    assert "Nothing was routed" in in_words(found)
    assert to_json(found)["saved_usd"] == "0"


def test_with_a_holdout_the_saving_is_measured(money: Any, url: str, settle: Any) -> None:
    """Forty even sessions held out at 0.8 of the computed cost correct and bound the saving."""
    held = [
        parted(money, f"h{n}", 8 * COST, 10 * COST, arm="holdout", session_key=f"h{n}")
        for n in range(40)
    ]
    routed = [
        parted(money, f"r{n}", 3 * COST, 10 * COST, session_key=f"r{n % 20}") for n in range(40)
    ]
    settle(*held, *routed)
    found = report(url, Scope())
    adds_up(found)
    assert found.savings.kappa == pytest.approx(0.8)
    assert found.savings.saved_nano == (320 - 120) * COST
    assert found.correction_nano == -80 * COST
    assert (found.savings.routed_sessions, found.savings.holdout_sessions) == (20, 40)
    assert to_json(found)["badge"] == "measured"
    assert "This is measured: 40 sessions" in in_words(found)
    assert found.causes.split.trim_nano == 40 * (7 * COST // 2)


def test_without_one_it_is_estimated(money: Any, url: str, settle: Any) -> None:
    """No holdout: the saving is as computed, and called estimated."""
    settle(parted(money, "r", COST, 4 * COST))
    found = report(url, Scope())
    adds_up(found)
    assert (found.savings.saved_nano, found.correction_nano) == (3 * COST, 0)
    assert "This is estimated" in in_words(found)
    assert [name for name, _, _ in rows(found)] == [
        "tokenmaxxed", "trim", "model", "cache", "retries", "gateway", "paid",
    ]  # fmt: skip


def test_a_loss_is_called_one(money: Any, url: str, settle: Any) -> None:
    """Routing that cost more than it saved is reported as a loss."""
    settle(parted(money, "r", 3 * COST, 2 * COST))
    found = report(url, Scope())
    adds_up(found)
    assert "Routing lost $0.1000" in in_words(found)
    assert {len(amount.partition(".")[2]) for _, amount, _ in rows(found)} == {4}
    assert to_json(found)["saved_usd"] == "-0.1"


def test_what_has_no_split_or_no_baseline_is_shown(money: Any, url: str, settle: Any) -> None:
    """Receipts without causes stand as unsplit; infeasible ones are counted and left out."""
    settle(
        parted(money, "r0", COST, 4 * COST),
        money.receipt("r1", COST, baseline_nano=3 * COST),
        money.receipt("r2", COST, baseline_nano=None),
    )
    found = report(url, Scope())
    adds_up(found)
    assert (found.causes.unsplit_nano, found.causes.infeasible) == (2 * COST, 1)
    assert "1 of 3 routed requests" in in_words(found)


def test_success_is_compared_and_cost_per_accepted_counts_failures(
    money: Any, url: str, settle: Any
) -> None:
    """Closed tasks by arm: the rejected ones' cost is in the cost of the accepted."""
    settle(
        parted(money, "h0", 8, 10, arm="holdout", session_key="h0", task="a"),
        parted(money, "h1", 8, 10, arm="holdout", session_key="h1", task="b"),
        parted(money, "r0", 3, 10, session_key="r0", task="c"),
        parted(money, "r1", 3, 10, session_key="r1", task="d"),
        parted(money, "r2", 3, 10, session_key="r2", session="only a session", task=None),
        parted(money, "r3", 3, 10, session_key="r3", task="never closed"),
        parted(money, "m0", 5, 10, session_key="m0", task="both"),
        parted(money, "m1", 5, 10, arm="holdout", session_key="m1", task="both"),
    )
    said = {"a": "accepted", "b": "accepted", "c": "rejected", "d": "accepted"}
    said |= {"only a session": "rejected", "both": "accepted"}
    for task, outcome in said.items():
        post(url, Outcome("t", task, outcome, None, "k", 1))
    post(url, Outcome("another team", "c", "accepted", None, "k", 1))
    post(url, Outcome("t", "only a session", "accepted", None, "k", 2))
    assert outcomes(url, Scope()) == [
        TaskRow("holdout", 2, 0, 16),
        TaskRow("mixed", 1, 0, 10),
        TaskRow("routed", 2, 1, 9),
    ]
    routed = outcomes(url, Scope())[2]
    assert (routed.nano_per_accepted, routed.success_rate) == (4, pytest.approx(2 / 3))
    found = report(url, Scope())
    assert found.clean.clean is False
    assert "NOT clean: 75.0% of routed sessions were accepted, 100.0%" in in_words(found)
    assert report(url, Scope(), delta=0.5).clean.clean is True


@pytest.mark.slow
def test_the_interval_covers_what_it_says() -> None:
    """Over 400 simulated months the 95% interval holds the true saving in 90-97% of them.

    Sessions of log-normal size; the counterfactual is off by a common factor and by noise of
    its own; what routed sessions would have cost is known to the simulation alone.
    """
    from billing.savings import Session, measure

    rng = random.Random(20261122)
    covered = n_eff = 0.0
    months = 400
    for _ in range(months):
        bias = rng.uniform(0.8, 1.25)

        def session(bias: float = bias) -> tuple[int, int]:
            truth = round(10**9 * rng.lognormvariate(0, 0.6))
            return truth, round(truth / bias * rng.lognormvariate(-0.02, 0.2))

        held = [session() for _ in range(60)]
        routed = [session() for _ in range(300)]
        paid = [round(truth * rng.uniform(0.2, 0.6)) for truth, _ in routed]
        found = measure(
            [Session(truth, computed) for truth, computed in held],
            [Session(p, computed) for p, (_, computed) in zip(paid, routed, strict=True)],
        )
        saved = sum(truth for truth, _ in routed) - sum(paid)
        assert found.low_nano is not None
        assert found.high_nano is not None
        covered += found.low_nano <= saved <= found.high_nano
        n_eff += found.n_eff / months
    assert n_eff >= 30
    assert 0.90 <= covered / months <= 0.97

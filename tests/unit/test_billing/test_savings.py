"""Savings: measured against a holdout, with an interval that covers what it says."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.savings import (
    Badge,
    Savings,
    Session,
    cleanliness,
    measure,
    per_accepted,
    student_cdf,
    student_t,
)

USD = 10**9


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.7062), (2, 4.3027), (5, 2.5706), (29, 2.0452), (100, 1.9840), (1e6, 1.9600)],
)
def test_student_quantiles(freedom: float, expected: float) -> None:
    """The 97.5% quantiles of the tables."""
    assert student_t(0.975, freedom) == pytest.approx(expected, abs=1e-4)
    assert student_cdf(student_t(0.9, freedom), freedom) == pytest.approx(0.9, abs=1e-9)


def test_without_a_holdout_it_is_an_estimate() -> None:
    """Nothing held out: kappa 1, no interval, never measured."""
    found = measure([], [Session(30, 100), Session(20, 50)])
    assert (found.saved_nano, found.kappa, found.low_nano) == (100, 1.0, None)
    assert found.badge is Badge.ESTIMATED
    assert found.share == pytest.approx(2 / 3)


def test_kappa_corrects_the_counterfactual() -> None:
    """Where the truth is a fifth below the model, so is the tokenmaxxed figure."""
    found = measure([Session(80, 100)] * 40, [Session(30, 100)] * 10)
    assert (found.kappa, found.tokenmaxxed_nano, found.saved_nano) == (0.8, 800, 500)
    assert (found.low_nano, found.high_nano) == (500, 500)
    assert (found.badge, found.n_eff) == (Badge.MEASURED, 40)


def test_a_loss_is_shown_as_one() -> None:
    """Savings are not floored at zero."""
    found = measure([Session(100, 100)] * 40, [Session(150, 100)] * 10)
    assert found.saved_nano == -500
    assert found.share == -0.5


def test_few_or_lopsided_sessions_measure_nothing() -> None:
    """One session that carries all the weight is one session."""
    few = measure([Session(100, 100)] * 29, [Session(10, 100)])
    assert few.badge is Badge.ESTIMATED
    lopsided = [Session(10**9, 10**9), *[Session(1, 1)] * 100]
    found = measure(lopsided, [Session(10, 100)])
    assert found.n_eff < 1.1
    assert found.badge is Badge.ESTIMATED
    single = measure([Session(9, 10)], [Session(1, 10)])
    assert (single.low_nano, single.badge) == (None, Badge.ESTIMATED)
    assert measure([Session(9, 10)] * 40, []).saved_nano == 0


money = st.integers(1, 10**12)
sessions = st.lists(st.builds(Session, money, money), max_size=30)


@given(sessions, sessions)
def test_the_interval_holds_the_estimate(held: list[Session], routed: list[Session]) -> None:
    """Paid plus saved is tokenmaxxed, to the nano, and the interval is around it."""
    found = measure(held, routed)
    assert found.paid_nano + found.saved_nano == found.tokenmaxxed_nano
    if found.low_nano is not None and found.high_nano is not None:
        assert found.low_nano <= found.saved_nano <= found.high_nano


def _simulate(dice: random.Random, sessions_count: int, share: float) -> tuple[Savings, float]:
    """One month: true costs scatter around the counterfactual, which is 20% too high."""
    held, routed, truth = [], [], 0.0
    for _ in range(sessions_count):
        shadow = dice.lognormvariate(0, 0.7) * USD
        paid_whole = shadow * 0.8 * dice.lognormvariate(-0.02, 0.2)
        if dice.random() < share:
            held.append(Session(round(paid_whole), round(shadow)))
        else:
            routed.append(Session(round(paid_whole * 0.4), round(shadow)))
            truth += paid_whole - round(paid_whole * 0.4)
    return measure(held, routed), truth


def test_the_interval_covers_what_it_says() -> None:
    """In simulated months the 95% interval holds the true saving in 90-97% of them."""
    dice, covered, runs = random.Random(20261121), 0, 300
    for _ in range(runs):
        found, truth = _simulate(dice, 600, 0.2)
        assert found.low_nano is not None
        assert found.high_nano is not None
        assert found.n_eff >= 30
        covered += found.low_nano <= truth <= found.high_nano
    assert 0.90 <= covered / runs <= 0.97


def test_clean_savings_keep_the_success_rate() -> None:
    """More than two points below the holdout is not clean; unknown outcomes say nothing."""
    held = [Session(1, 1, accepted=True)] * 90 + [Session(1, 1, accepted=False)] * 10
    good = [Session(1, 1, accepted=True)] * 89 + [Session(1, 1, accepted=False)] * 11
    bad = [Session(1, 1, accepted=True)] * 87 + [Session(1, 1, accepted=False)] * 13
    assert cleanliness(held, good).clean is True
    assert cleanliness(held, bad).clean is False
    assert cleanliness(held, [Session(1, 1)]).clean is None


def test_cost_of_an_accepted_outcome() -> None:
    """Rejected sessions cost too; those without an outcome stay out."""
    story = [Session(10, 1, accepted=True), Session(20, 1, accepted=False), Session(99, 1)]
    assert per_accepted(story) == 30
    assert per_accepted([Session(10, 1, accepted=False)]) is None


def test_the_interval_is_the_formula() -> None:
    """Four equal sessions by hand: jackknife of kappa, residual of the routed sum, t(3)."""
    paid = [90, 110, 100, 140]
    held, routed = [Session(p, 100) for p in paid], [Session(10, 100)] * 25
    found = measure(held, routed)
    kappa = sum(paid) / 400
    left = [(sum(paid) - p) / 300 for p in paid]
    of_kappa = 3 / 4 * sum((k - sum(left) / 4) ** 2 for k in left)
    noise = sum((p - kappa * 100) ** 2 for p in paid) / (4 * 100**2)
    of_routed = noise * 25 * 100**2 / 2_500**2
    half = 3.182446 * (of_kappa + of_routed) ** 0.5 * 2_500
    assert found.high_nano - found.saved_nano == pytest.approx(half, abs=1)
    assert found.saved_nano - found.low_nano == pytest.approx(half, abs=1)
    assert found.n_eff == 4


def test_at_the_distance_savings_are_still_clean() -> None:
    """Exactly `delta` below the holdout is not more than `delta` below it."""
    routed = [Session(1, 2, accepted=number < 2) for number in range(4)]
    held = [Session(1, 2, accepted=number < 3) for number in range(4)]
    assert cleanliness(held, routed, 0.25).clean is True
    assert cleanliness(held, routed, 0.24).clean is False

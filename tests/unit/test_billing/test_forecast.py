"""Forecasts of a month."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from billing.forecast import FEWEST_DAYS, month_end, runs_out, used_up

TODAY = date(2026, 11, 10)
USD = 1_000_000_000


def days(count: int, amount: int = USD) -> dict[date, int]:
    """The same spend on each of the days before today."""
    return {TODAY - timedelta(days=n): amount for n in range(1, count + 1)}


def test_a_steady_month_ends_where_the_days_add_up() -> None:
    """One dollar a day makes a month of thirty dollars, whatever is drawn."""
    found = month_end(days(40), TODAY, np.random.default_rng(1))
    assert found is not None
    assert (found.low_nano, found.middle_nano, found.high_nano) == (30 * USD,) * 3
    assert found.paid_nano == 9 * USD
    assert [day for day, *_ in found.path] == [date(2026, 11, n) for n in range(10, 31)]


def test_today_is_not_counted_twice() -> None:
    """What today has cost already is part of today's usual spend, and more if it is more."""
    quiet = month_end({**days(40), TODAY: USD // 2}, TODAY, np.random.default_rng(1))
    loud = month_end({**days(40), TODAY: 5 * USD}, TODAY, np.random.default_rng(1))
    assert quiet is not None
    assert loud is not None
    assert (quiet.middle_nano, loud.middle_nano) == (30 * USD, 34 * USD)


def test_weekends_stay_weekends() -> None:
    """Spend on weekdays alone is forecast on weekdays alone."""
    spent = {
        day: 0 if day.weekday() >= 5 else USD
        for day in (TODAY - timedelta(days=n) for n in range(1, 50))
    }
    found = month_end(spent, TODAY, np.random.default_rng(1))
    assert found is not None
    weekdays = sum(1 for n in range(1, 31) if date(2026, 11, n).weekday() < 5)
    assert found.low_nano == found.high_nano == weekdays * USD


@pytest.mark.parametrize("count", [0, 1, FEWEST_DAYS - 1])
def test_too_few_days_give_no_forecast(count: int) -> None:
    """Less than a week of history is nothing to go by."""
    assert month_end(days(count), TODAY, np.random.default_rng(1)) is None


@pytest.mark.parametrize("count", [7, 8, 9, 13, 14, 15, 56, 200])
def test_any_longer_history_gives_one(count: int) -> None:
    """From a week on there is a forecast, on the last day of the month too."""
    for today in (TODAY, date(2026, 11, 30), date(2024, 2, 1), date(2026, 12, 31)):
        spent = {today - timedelta(days=n): USD for n in range(1, count + 1)}
        found = month_end(spent, today, np.random.default_rng(1))
        assert found is not None
        assert found.low_nano <= found.middle_nano <= found.high_nano
        assert found.path[-1][0].month == today.month


def test_the_band_holds_the_truth_about_four_times_in_five() -> None:
    """Over 300 simulated months with weekly seasons and noise the P10-P90 band covers 70-92%."""
    rng = np.random.default_rng(7)
    inside = 0
    for _ in range(300):
        level = rng.lognormal(0, 0.5)
        series = {
            TODAY + timedelta(days=n): int(
                USD * level * (0.4 if (TODAY + timedelta(days=n)).weekday() >= 5 else 1.0)
                * rng.lognormal(0, 0.35)
            )
            for n in range(-56, 21)
        }  # fmt: skip
        known = {day: nano for day, nano in series.items() if day < TODAY}
        found = month_end(known, TODAY, rng)
        assert found is not None
        truth = sum(nano for day, nano in series.items() if day.month == 11)
        inside += found.low_nano <= truth <= found.high_nano
    assert 0.70 <= inside / 300 <= 0.92


def test_it_says_when_a_limit_is_reached() -> None:
    """The day on which the middle path meets the limit; none where it does not."""
    found = month_end(days(40), TODAY, np.random.default_rng(1))
    assert found is not None
    assert runs_out(found, 15 * USD) == date(2026, 11, 15)
    assert runs_out(found, 31 * USD) is None


def test_a_steady_burn_uses_an_amount_up_on_its_day() -> None:
    """A dollar a day leaves five dollars for five days, today's among them."""
    today = date(2026, 11, 15)
    spent = {today - timedelta(days=n): USD for n in range(1, 29)}
    rng = np.random.default_rng(1)
    found = used_up(spent, (today, date(2026, 11, 30)), 5 * USD, rng)
    assert found is not None
    assert (found.burn_nano, found.chance) == (USD, 1.0)
    assert found.early == found.middle == found.late == date(2026, 11, 19)
    beyond = used_up(spent, (today, date(2026, 11, 30)), 17 * USD, rng)
    assert beyond is not None
    assert (beyond.middle, beyond.chance) == (None, 0.0)
    assert used_up({today: USD}, (today, today), USD, rng) is None

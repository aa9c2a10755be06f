"""What a month will have cost when it ends: P10, P50 and P90, from its days so far. Pure.

A day that is left costs what is usual on its weekday, and differs from it as days of the past
did: stretches of up to a week are drawn from them, so that a busy week stays together. No
shape of spend is assumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

HISTORY_DAYS = 56
FEWEST_DAYS = 7
_PATHS = 2000
_STRETCH_DAYS = 7
_SHARES = (10, 50, 90)


@dataclass(frozen=True, slots=True)
class Forecast:
    """A month as it should end, nano-USD: ``low`` P10, ``middle`` P50, ``high`` P90.

    ``path`` is the running total at the end of each day that is left, (low, middle, high).
    """

    paid_nano: int
    low_nano: int
    middle_nano: int
    high_nano: int
    path: tuple[tuple[date, int, int, int], ...]


def month_end(spent: Mapping[date, int], today: date, rng: np.random.Generator) -> Forecast | None:
    """The month of ``today``, forecast to its last day.

    Args:
        spent: nano-USD a local day; a day that is missing cost nothing, but history begins
            at the first day given. Today counts as it stands, and what is still missing of
            a usual day is forecast.
        rng: draws the days; the same state gives the same forecast.

    Returns:
        None with less than ``FEWEST_DAYS`` whole days of history: there is nothing to go by.
    """
    last = (today.replace(day=1) + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    past = _history(spent, today)
    paid = sum(nano for day, nano in spent.items() if today.replace(day=1) <= day <= today)
    if len(past) < FEWEST_DAYS:
        return None
    drawn = _draw(past, today, (last - today).days + 1, rng)
    # Today is part over: what it cost already stands, only what a usual day costs more is added.
    drawn[:, 0] = np.maximum(drawn[:, 0] - spent.get(today, 0), 0)
    totals = paid + np.cumsum(drawn, axis=1)
    low, middle, high = np.percentile(totals, _SHARES, axis=0)
    path = tuple(
        (today + timedelta(days=n), int(low[n]), int(middle[n]), int(high[n]))
        for n in range(totals.shape[1])
    )
    return Forecast(paid, int(low[-1]), int(middle[-1]), int(high[-1]), path)


def runs_out(forecast: Forecast, limit_nano: int) -> date | None:
    """The day on which the middle path reaches a limit, or None within this month."""
    for day, _, middle, _ in forecast.path:
        if middle >= limit_nano:
            return day
    return None


@dataclass(frozen=True, slots=True)
class Exhaustion:
    """When an amount is used up: its earliest (P10), middle and latest (P90) day, each None
    where that path does not reach it before ``until``; ``chance`` that any does. ``burn_nano``
    is what a day has cost lately.
    """

    burn_nano: int
    early: date | None
    middle: date | None
    late: date | None
    chance: float


def used_up(
    spent: Mapping[date, int], days: tuple[date, date], left_nano: int, rng: np.random.Generator
) -> Exhaustion | None:
    """When ``left_nano`` will have been spent, from the days so far.

    Args:
        days: today, and the last day on which it may be spent.

    Returns:
        None with less than ``FEWEST_DAYS`` whole days of history.
    """
    today, until = days
    past = _history(spent, today)
    if len(past) < FEWEST_DAYS:
        return None
    burn = sum(past[-FEWEST_DAYS:]) // FEWEST_DAYS
    drawn = _draw(past, today, max((until - today).days + 1, 1), rng)
    drawn[:, 0] = np.maximum(drawn[:, 0] - spent.get(today, 0), 0)
    reached = np.cumsum(drawn, axis=1) >= left_nano
    hit = reached.any(axis=1)
    first = np.where(hit, reached.argmax(axis=1), drawn.shape[1])
    early, middle, late = (
        None if at >= drawn.shape[1] else today + timedelta(days=int(at))
        for at in np.percentile(first, _SHARES, method="inverted_cdf")
    )
    return Exhaustion(burn, early, middle, late, float(hit.mean()))


def _history(spent: Mapping[date, int], today: date) -> list[int]:
    """Nano-USD of the whole days before today, oldest first, from the first day known."""
    known = [day for day in spent if day < today]
    if not known:
        return []
    first = max(min(known), today - timedelta(days=HISTORY_DAYS))
    return [spent.get(first + timedelta(days=n), 0) for n in range((today - first).days)]


def _draw(past: list[int], today: date, days: int, rng: np.random.Generator) -> np.ndarray:
    """Spend of the next ``days`` days, today first, (_PATHS, days) float64 nano-USD."""
    values = np.asarray(past, dtype=np.float64)
    usual = _usual(values)
    weekday = np.arange(len(values)) % 7
    # Each day as its distance from what is usual on its weekday, so that any stretch of past
    # days can stand for any stretch to come.
    rest = values - usual[weekday]
    found = np.empty((_PATHS, days))
    for start in range(0, days, _STRETCH_DAYS):
        width = min(_STRETCH_DAYS, days - start)
        begins = rng.integers(0, len(rest) - width + 1, _PATHS)
        found[:, start : start + width] = rest[begins[:, None] + np.arange(width)]
    # How high the usual level is, is itself only known from these days: over the days drawn
    # that error adds their share of the days known to the variance.
    found *= math.sqrt(1 + days / len(values))
    found += usual[(len(values) + np.arange(days)) % 7]
    return np.maximum(found, 0)


def _usual(values: np.ndarray) -> np.ndarray:
    """Mean spend by day of the week, (7,), from the weekday of the first value on."""
    if len(values) < 2 * 7:  # one value a weekday says nothing about weekdays
        return np.full(7, values.mean())
    return np.array([values[day::7].mean() for day in range(7)])

"""A simulated week through the whole gateway: never dearer than asked, no worse than promised."""

from __future__ import annotations

import random
from typing import Any

import pytest

from benchmarks._week_traffic import Week
from benchmarks.week import Outcome, run_policy

FLOOR = 0.97
SESSIONS = 25


def rows() -> list[dict[str, Any]]:
    """Questions with labels: trivia that both answer, and mathematics that the small one fails."""
    found = []
    for n in range(60):
        hard = n % 2 == 0
        prompt = (
            f"Prove that the sum of the first {n + 3} odd cubes is divisible by {n + 3}."
            if hard
            else f"Which river flows through the capital of country number {n}, and how long is it?"
        )
        found.append({"prompt": prompt, "weak_correct": 0.0 if hard else 1.0, "strong_correct": 1})
    return found


@pytest.fixture(scope="module")
def week() -> dict[str, Outcome]:
    """The same week through each policy."""
    asks = Week(rows(), random.Random(11)).fill(SESSIONS)
    return {name: run_policy(name, asks) for name in ("asked", "cheapest", "no warmth", "weir")}


def test_ours_costs_least_of_those_above_the_quality_floor(week: dict[str, Outcome]) -> None:
    """Cheaper than always asking and than being blind to caches; the cheapest loses quality."""
    best = week["asked"].good
    good = {name for name, one in week.items() if one.good >= FLOOR * best}
    assert "weir" in good
    assert "cheapest" not in good
    assert week["weir"].cost == min(week[name].cost for name in good)
    assert week["weir"].cost < week["asked"].cost


def test_caches_stay_warmer_than_where_nobody_looks_at_them(week: dict[str, Outcome]) -> None:
    """Knowing what is warm keeps more of it warm, and switches no more often."""
    seeing, blind = week["weir"], week["no warmth"]
    assert seeing.cached_tokens / seeing.prompt_tokens >= blind.cached_tokens / blind.prompt_tokens
    assert seeing.switches <= blind.switches


def test_where_nothing_is_to_be_gained_nothing_is_done() -> None:
    """With one model for each key and no fit allowed the bill is the same to the nano-dollar."""
    asks = Week(rows(), random.Random(12)).fill(8)
    asked, ours = (run_policy(name, asks, alone=True) for name in ("asked", "weir"))
    assert ours.cost == asked.cost
    assert (ours.changed, ours.fits) == (0, 0)

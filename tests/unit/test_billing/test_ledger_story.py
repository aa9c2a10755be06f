"""A ledger under any story: the windows are always the sum of what happened in them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.budget import Span, window_at
from billing.errors import BudgetExhausted
from billing.ledger import Hold, Ledger
from billing.reports import head, totals, verify

STEP = st.one_of(
    st.tuples(st.just("hold"), st.integers(0, 2500)),
    st.tuples(st.just("settle"), st.integers(0, 3000)),
    st.tuples(st.just("release"), st.integers(0, 3)),
    st.tuples(st.just("extend"), st.integers(0, 2500)),
    st.tuples(st.just("wait"), st.integers(-7_200_000, 50_000_000)),
    st.tuples(st.just("reopen"), st.just(0)),
    st.tuples(st.just("sweep"), st.integers(0, 90_000_000)),
)


class Story:
    """Plays steps on a ledger and on a plain model of it."""

    def __init__(self, money: Any, clock: Any, folder: Path) -> None:
        self.money, self.clock = money, clock
        self.url = f"sqlite:///{folder / 'weir.db'}"
        self.accounts = money.budgeted(
            "0.000005 per day", "0.00002 per month", timezone="America/Sao_Paulo"
        )
        self.ledger = Ledger(self.url, self.accounts, clock).open()
        self.open: dict[str, tuple[Hold, int]] = {}
        self.posted: list[tuple[int, int]] = []
        self.number = 0

    def play(self, kind: str, value: int) -> None:
        """One step on both."""
        getattr(self, kind)(value)
        self.check()

    def hold(self, amount: int) -> None:
        """A further request, unless it does not fit."""
        self.number += 1
        request = self.money.request(f"r{self.number}", amount, self.clock.now)
        try:
            hold = self.ledger.hold(request)
        except BudgetExhausted:
            return
        self.open[hold.request_id] = (hold, amount)

    def settle(self, cost: int) -> None:
        """The oldest open request is billed, at most at its hold."""
        if self.open:
            name, (hold, held) = next(iter(self.open.items()))
            cost = min(cost, held)
            assert self.ledger.settle(hold, self.money.receipt(name, cost)) is True
            assert self.ledger.settle(hold, self.money.receipt(name, cost)) is False
            del self.open[name]
            self.posted.append((hold.at_ms, cost))

    def release(self, _: int) -> None:
        """The newest open request was not made."""
        if self.open:
            name = next(reversed(self.open))
            assert self.ledger.release(self.open.pop(name)[0], "why") is True

    def extend(self, amount: int) -> None:
        """The newest open request may cost more, unless that does not fit."""
        if self.open:
            name = next(reversed(self.open))
            hold, held = self.open[name]
            try:
                self.ledger.extend(hold, amount)
            except BudgetExhausted:
                return
            self.open[name] = (hold, held + amount)

    def wait(self, length: int) -> None:
        """The clock goes on, or steps back."""
        self.clock.now += length

    def reopen(self, _: int) -> None:
        """The process ends and another begins: open holds are charged in full."""
        self.ledger.close()
        self.ledger = Ledger(self.url, self.accounts, self.clock).open()
        self._charge_all(list(self.open))

    def sweep(self, age: int) -> None:
        """Old holds are charged in full."""
        before = {name: hold for name, (hold, _) in self.open.items()}
        count = self.ledger.sweep(age)
        gone = [name for name in before if self.ledger.receipt(name) is not None]
        assert len(gone) == count
        self._charge_all(gone)

    def _charge_all(self, names: list[str]) -> None:
        for name in names:
            hold, held = self.open.pop(name)
            self.posted.append((hold.at_ms, held))

    def check(self) -> None:
        """Every window is what the model says, and no limit is exceeded."""
        for figures in self.ledger.budgets(self.money.path, None):
            window = figures.window
            spent = sum(cost for at, cost in self.posted if window.holds(at))
            held = sum(amount for hold, amount in self.open.values() if window.holds(hold.at_ms))
            assert (figures.spent_nano, figures.held_nano) == (spent, held)
            assert spent + held <= figures.limit_nano
        assert self.ledger.open_holds()[0] == len(self.open)


@contextmanager
def a_story(money: Any, clock_type: type) -> Iterator[Story]:
    with tempfile.TemporaryDirectory() as folder:
        story = Story(money, clock_type(), Path(folder))
        try:
            yield story
        finally:
            story.ledger.close()


CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
STEPS = st.lists(STEP, max_size=25)


def play_all(money: Any, clock: Any, steps: list[tuple[str, int]]) -> None:
    with a_story(money, type(clock)) as story:
        for kind, value in steps:
            story.play(kind, value)
        story.ledger.flush()
        assert verify(story.url) == []
        found = totals(story.url)
        assert int(found["requests"]) + int(found["provisional_requests"]) == len(story.posted)
        assert head(story.url)[0] == len(story.posted)


@settings(max_examples=6, deadline=None, suppress_health_check=CHECKS)
@given(STEPS)
def test_any_story_adds_up(money: Any, clock: Any, steps: list[tuple[str, int]]) -> None:
    """Holds, settlements, releases, restarts, sweeps and clock jumps in any order."""
    play_all(money, clock, steps)


@pytest.mark.slow
@settings(max_examples=80, deadline=None, suppress_health_check=CHECKS)
@given(STEPS)
def test_many_stories_add_up(money: Any, clock: Any, steps: list[tuple[str, int]]) -> None:
    """The same for many more of them."""
    play_all(money, clock, steps)


def test_the_model_uses_the_same_windows(money: Any) -> None:
    """The day of the model is the ledger's own: local midnight in Sao Paulo."""
    node = money.budgeted("5 per day", timezone="America/Sao_Paulo").nodes["t"]
    (budget,) = node.budgets
    assert budget.span is Span.DAY
    assert window_at(budget, money.noon, node.zone).start_ms == money.noon - 9 * 3_600_000

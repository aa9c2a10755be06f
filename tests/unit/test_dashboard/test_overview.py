"""The Overview: the month in words, in figures and on the screen."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from billing.accounts import Accounts
from billing.budget import Window, WindowFigures
from billing.forecast import month_end
from billing.ledger import HoldRequest, Ledger
from billing.reports import Row
from dashboard.format import money
from dashboard.views.overview import Month, in_words, table_of

TODAY = date(2026, 11, 10)
USD = 1_000_000_000
STEADY = Month(TODAY, {TODAY - timedelta(days=n): USD for n in range(50)})


def row(label: str, cost: int) -> Row:
    """A team that paid so many dollars in one request."""
    return Row(label, 1, 0, 0, 0, 0, 0, 0, cost * USD, 0, 0, 0, 0, 0, 0)


def told(limit: int | None) -> str:
    """Ten steady days in words, beside a monthly budget."""
    found = month_end(STEADY.spent, TODAY, np.random.default_rng(1))
    budget = None
    if limit is not None:
        window = Window(0, 1)
        budget = WindowFigures("organisation", "m", window, 0, 0, limit * USD, "later")
    return in_words(STEADY, found, budget)


def test_the_month_in_one_sentence() -> None:
    """Paid, the forecast with its band, the budget, and the day it runs out on."""
    assert told(None).endswith("at about $30.00, most likely between $30.00 and $30.00.")
    assert told(60).endswith("50.0% of the budget of $60.00.")
    assert told(20).endswith("At this pace it is used up on 20 Nov 2026.")


def test_without_history_it_says_so() -> None:
    """A young ledger has no forecast, and the sentence says why."""
    young = Month(TODAY, {TODAY: USD})
    assert "no forecast" in in_words(young, None, None)


@pytest.mark.parametrize(
    ("today", "last"),
    [
        (date(2026, 11, 10), date(2026, 10, 10)),
        (date(2026, 3, 31), date(2026, 2, 28)),
        (date(2026, 1, 1), date(2025, 12, 1)),
    ],
)
def test_the_same_days_of_the_month_before(today: date, last: date) -> None:
    """As many days from the first on; a shorter month is taken whole."""
    first, found = Month(today, {}).same_days_before
    assert (first, found) == (last.replace(day=1), last)


def test_what_changed_most_stands_first() -> None:
    """Teams of either month, those that fell silent too, by the size of the change."""
    table = table_of([row("a", 5), row("b", 2)], [row("a", 4), row("gone", 9)])
    assert [one["team"] for one in table.records] == ["gone", "b", "a"]
    assert [one["change"] for one in table.records] == [-9 * USD, 2 * USD, USD]


@pytest.mark.slow
def test_the_page_adds_up(
    tmp_path: Path, accounts: Accounts, house: Any, open_app: Any, golden: Any
) -> None:
    """On the screen stand the sums of what was really posted this month and the last."""
    now = datetime.now(UTC)  # noqa: TID251 - the page reads the real clock
    clock = [0]
    url = f"sqlite:///{tmp_path / 'weir.db'}"
    ledger = Ledger(url, accounts, lambda: clock[0]).open()
    paid = {True: 0, False: 0}
    before = (now.replace(day=1) - timedelta(days=1)).date()
    for n in range(45, -1, -1):
        at = now - timedelta(days=n)
        clock[0] = int(at.timestamp() * 1000)
        receipt = golden("R1" if n % 3 else "R8", request_id=f"D{n}", at_ms=clock[0])
        path = ("organisation", "support", "support/chat", "support/chat/chat-prod")
        request = HoldRequest(receipt.request_id, path, None, 0, clock[0], "m", "u")
        ledger.settle(ledger.hold(request), receipt)
        if (at.year, at.month) in {(now.year, now.month), (before.year, before.month)}:
            paid[at.month == now.month] += receipt.cost_nano
    ledger.close()
    app = open_app(type(house)(url, house.policy, accounts), "overview")
    assert [error.value for error in app.exception] == []
    figures = {metric.label: metric.value for metric in app.metric}
    assert figures["Paid this month"] == money(paid[True])
    assert figures[f"{before:%B}"] == money(paid[False])
    assert figures["Forecast"].startswith("$")
    assert figures["Budget"] == "none"

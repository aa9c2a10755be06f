"""How fast budgets burn, on the golden ledger."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from billing.budget import Window, WindowFigures
from billing.forecast import Exhaustion
from billing.scope import Scope
from dashboard.burning import Burning, burning, scope_of
from dashboard.data import Source

_WINDOW = WindowFigures("support", "support/month", Window(0, 1), 1, 0, 100, "2025-04-01T00:00")


def test_each_node_is_its_own_spend(house: Any) -> None:
    """The organisation is everything; a project is told from a key of a team."""
    assert scope_of(house.accounts, "organisation") == Scope()
    assert scope_of(house.accounts, "support/chat") == Scope(
        team="support", also=(("project", "chat"),)
    )
    assert scope_of(house.accounts, "support/chat/chat-prod").also[1] == ("key", "chat-prod")
    assert scope_of(house.accounts, "search/search-prod").also == (("key", "search-prod"),)


def test_the_day_is_said_with_its_interval() -> None:
    """In words: the middle day and P10 to P90, not by the end, or already used up."""
    until, early, late = date(2025, 3, 31), date(2025, 3, 20), None
    found = Exhaustion(5, early, date(2025, 3, 25), late, 0.8)
    one = Burning(_WINDOW, found, until)
    assert (one.when, one.between) == ("25 Mar 2025", "20 Mar 2025 to after the window")
    never = Burning(_WINDOW, replace(found, early=None, middle=None), until)
    assert (never.when, never.between) == ("not by 31 Mar 2025", "")
    gone = Burning(replace(_WINDOW, spent_nano=100), found, until)
    assert (gone.when, gone.between) == ("used up", "")
    assert Burning(_WINDOW, None, until).when == ""


@pytest.mark.slow
def test_a_real_window_gets_its_pace(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 12 March the organisation has nine days of history, and a year to spend $100 in."""
    source = Source(house.url, 8, ZoneInfo("UTC"), house.accounts)
    now = datetime(2025, 3, 12, 12, tzinfo=UTC)
    found = {one.window.budget: one for one in burning(source, source.windows(now), now)}
    year = found["organisation/year"]
    assert year.found is not None
    # 6 March cost $0.412002 and is one of the last seven whole days; the others cost nothing.
    assert year.found.burn_nano == 412_002_000 // 7
    assert year.until == date(2025, 12, 31)
    assert year.when == "not by 31 Dec 2025"

"""Roll-ups: every report says with them what it says without them, to the nano."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rollup_story import already, answers, by_session, fill, forget_rollups, scopes

from billing.reader import reading
from billing.reports import sessions
from billing.rolled import by_quarter, summed
from billing.rollup_shape import SUMS
from billing.scope import Scope
from billing.verify import verify


@given(seed=st.integers(0, 10**6), count=st.integers(1, 60), fresh=st.integers(0, 20))
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_roll_ups_and_what_follows_them_are_all_receipts(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, fresh: int
) -> None:
    """Every report over any scope is the same from roll-ups as from receipts alone."""
    path = tmp_path_factory.mktemp("rolled") / "weir.db"
    url = f"sqlite:///{path}"
    fill(url, seed, count, fresh=fresh)
    assert already(url) >= count - fresh
    asked = list(scopes(seed, 1))
    rolled = [answers(url, scope) for scope in asked]
    forget_rollups(str(path))
    for scope, found in zip(asked, rolled, strict=True):
        assert found == answers(url, scope), scope


@given(seed=st.integers(0, 10**6), fresh=st.integers(0, 20))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sessions_and_tasks_are_the_same_from_their_totals(
    tmp_path_factory: pytest.TempPathFactory, seed: int, fresh: int
) -> None:
    """However long a session is and whenever its outcome came, it is counted once, and whole."""
    path = tmp_path_factory.mktemp("sessions") / "weir.db"
    url = f"sqlite:///{path}"
    fill(url, seed, 60, fresh=fresh)
    assert [one for one in verify(url) if "roll-ups" in one] == []
    asked = list(scopes(seed, 4))
    rolled = [by_session(url, scope) for scope in asked]
    forget_rollups(str(path))
    for scope, found in zip(asked, rolled, strict=True):
        assert found == by_session(url, scope), scope


def test_a_session_that_lies_whole_in_a_range_is_read_from_its_total(tmp_path: Path) -> None:
    """A figure changed in the sums over sessions shows in the savings, so they are used."""
    import sqlite3

    path = tmp_path / "weir.db"
    url = f"sqlite:///{path}"
    fill(url, 2, 60, fresh=0)
    before = sessions(url, Scope())[1]
    with sqlite3.connect(path) as forger:
        forger.execute("UPDATE session_moments SET known = known + 100 WHERE cube = 5")
    forger.close()
    assert sessions(url, Scope())[1].known >= before.known + 100


def test_a_sum_is_read_from_roll_ups(tmp_path: Path) -> None:
    """What is rolled up is not read again: a figure changed there shows, so it is used."""
    import sqlite3

    path = tmp_path / "weir.db"
    url = f"sqlite:///{path}"
    fill(url, 1, 30, fresh=0)
    cost = list(SUMS).index("cost_nano")
    with reading(url) as db:
        before = summed(db, Scope())[()]
        by_day = by_quarter(db, Scope(), ZoneInfo("UTC"))
    assert sum(row[cost] for row in by_day.values()) == before[cost]
    with sqlite3.connect(path) as forger:
        forger.execute("UPDATE rollups SET cost_nano = cost_nano + 1 WHERE cube = 1")
    forger.close()
    with reading(url) as db:
        assert summed(db, Scope())[()][cost] > before[cost]

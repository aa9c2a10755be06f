"""Rolling up: any batches give the same sums, and a wrong sum is found."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from rollup_story import already, fill

from billing.store import Store
from billing.verify import verify

TABLES = {
    "facets": "cube, team, project, user, requested_model, served_model, tier, action, arm, state",
    "rollups": "cube, width_ms, bucket, requests, cost_nano, baseline_nano, saved_trim_nano",
    "slices": "cube, session, keyed, arm, goal, named, bucket, accepted, requests, cost_nano",
    "session_totals": "cube, session, model, first, last, span, accepted, requests, cost_nano",
    "session_moments WHERE count > 0": "cube, block, count, paid_nano, squares_low, known",
}


def rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """What the roll-ups hold, whatever numbers their facets have."""
    with sqlite3.connect(path) as db:
        found = {
            name: sorted(db.execute(f"SELECT {columns} FROM {name}").fetchall(), key=repr)  # noqa: S608 - constants
            for name, columns in TABLES.items()
        }
    db.close()
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger of 120 requests, rolled up in many batches as they came."""
    fill(f"sqlite:///{tmp_path / 'weir.db'}", 5, 120, fresh=0)
    return tmp_path / "weir.db"


def test_batches_of_any_size_give_the_same(path: Path) -> None:
    """Made anew in one batch or in many, they are what they were, outcomes included."""
    before = rows(path)
    for size in (1000, 7):
        store = Store(path)
        store.clear_rollups()
        assert already(f"sqlite:///{path}") == 0
        left, turns = 1, 0
        while left:
            left, turns = store.roll_up(size), turns + 1
        store.close()
        assert turns == -(-120 // size)
        assert rows(path) == before


def test_nothing_new_changes_nothing(path: Path) -> None:
    """Where everything is rolled up, another turn adds nothing."""
    before, store = rows(path), Store(path)
    assert store.roll_up(1000) == 0
    store.close()
    assert rows(path) == before


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("rollups", "SET cost_nano = cost_nano + 1"),
        ("rollups", "SET requests = 0"),
        ("slices", "SET cost_nano = cost_nano + 1"),
        ("slices", "SET requests = 0"),
        ("session_totals", "SET baseline_nano = baseline_nano + 1"),
        ("session_totals", "SET span = span + 1"),
        ("session_moments", "SET squares_low = squares_low + 1"),
        ("session_moments", "SET known = known + 1"),
    ],
)
def test_a_wrong_sum_is_found(path: Path, table: str, change: str) -> None:
    """A changed roll-up is named by `verify`, with the remedy; a sound one is not."""
    url = f"sqlite:///{path}"
    assert [one for one in verify(url) if "roll-ups" in one] == []
    with sqlite3.connect(path) as forger:
        forger.execute(f"UPDATE {table} {change}")
    forger.close()
    found = [one for one in verify(url) if "roll-ups" in one]
    assert found
    assert all("weir ledger rollup --rebuild" in one for one in found)


def test_a_batch_is_all_or_nothing(path: Path) -> None:
    """A turn that fails changes neither sums nor how far they reach."""
    store = Store(path)
    store.clear_rollups()
    with sqlite3.connect(path) as saboteur:
        saboteur.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON slices BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    saboteur.close()
    with pytest.raises(Exception, match="cannot write the ledger"):
        store.roll_up(50)
    store.close()
    assert already(f"sqlite:///{path}") == 0
    assert rows(path) == {name: [] for name in TABLES}

"""When receipts are rolled up: in whole batches, by the writer, and nothing fails for it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from rollup_story import already, fill

from billing.roller import Roller
from billing.rollup import BATCH
from billing.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A ledger whose last 30 receipts are not rolled up."""
    fill(f"sqlite:///{tmp_path / 'weir.db'}", 3, 40, fresh=30)
    return Store(tmp_path / "weir.db")


def test_what_an_earlier_process_left_is_rolled_up_first(store: Store, tmp_path: Path) -> None:
    """The first idle turn catches up; then there is nothing to do until a batch has come."""
    roller, url = Roller(store), f"sqlite:///{tmp_path / 'weir.db'}"
    assert not roller.turn(idle=True)
    assert already(url) == 40
    fill(url, 4, 0, fresh=0)
    roller.posted(BATCH - 1)
    assert not roller.turn(idle=True)
    roller.posted(1)
    assert not roller.turn(idle=False)
    store.close()


def test_trouble_is_told_once_and_stops_nothing(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch that fails is tried again after the next ones; reports go on from receipts."""
    with sqlite3.connect(tmp_path / "weir.db") as saboteur:
        saboteur.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON slices BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        roller = Roller(store)
        assert not roller.turn(idle=True)
        roller.posted(BATCH)
        assert not roller.turn(idle=True)
        assert caplog.text.count("roll-ups wait") == 1
        saboteur.execute("DROP TRIGGER broken")
        saboteur.commit()
    saboteur.close()
    roller.posted(BATCH)
    roller.turn(idle=True)
    assert already(f"sqlite:///{tmp_path / 'weir.db'}") == 40
    store.close()

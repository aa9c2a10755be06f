"""Files and batches: whose they are, who holds for them, and a hold that outlives a process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from billing.batches import SETTLED, BatchStore, Ceiling, StoredBatch, StoredFile, digest
from billing.ledger import Hold


def stored(money: Any, name: str = "b1", team: str = "t") -> StoredBatch:
    """A batch of two rows."""
    costs = {digest("row 1"): Ceiling("m", 40), digest("row 2"): Ceiling("m", 60)}
    hold = replace(money.request("r1", 100), kept=True)
    return StoredBatch("up", name, team, "chat", 5, hold, costs, b"{}", keeper="me")


def test_a_file_is_its_teams_alone(tmp_path: Path) -> None:
    """Another team does not find it, and cannot make it its own by naming it."""
    store = BatchStore(f"sqlite:///{tmp_path}/weir.db")
    assert not store.begun
    mine = StoredFile("up", "file-1", "a", 1, b"{}")
    store.add_file(mine)
    store.add_file(replace(mine, team="b"))
    assert store.file("file-1", "a") == mine
    assert store.file("file-1", "b") is None
    assert store.files("a", ["up"]) == [mine]
    assert store.files("a", ["elsewhere"]) == store.files("b", ["up"]) == []
    store.forget_file(mine)
    assert store.file("file-1", "a") is None
    store.close()


def test_a_batch_comes_back_as_it_was(money: Any, tmp_path: Path) -> None:
    """The hold, each row's ceiling and the provider's words survive a restart."""
    url = f"sqlite:///{tmp_path}/weir.db"
    batch, store = stored(money), BatchStore(url)
    store.add_batch(batch, 100)
    store.show(batch, b'{"status":"done"}')
    store.close()
    again = BatchStore(url)
    assert again.begun
    assert again.batch("b1", "t") == replace(batch, shown=b'{"status":"done"}')
    assert again.batch("b1", "u") is None
    again.close()


def test_one_settles_and_one_keeps(money: Any, tmp_path: Path) -> None:
    """A claim is had once; a keeper that was not heard of loses its batches to one other."""
    store, batch = BatchStore(f"sqlite:///{tmp_path}/weir.db"), stored(money)
    store.add_batch(batch, 100)
    now = 1_000_000_000
    assert store.claim(batch, now)
    assert not store.claim(batch, now + 1)
    store.unclaim(batch)
    assert store.claim(batch, now)
    assert store.take_over("you", 100, 500) == []
    store.keep_on("me", 200)
    assert [one.id for one in store.take_over("you", 201, 500)] == ["b1"]
    assert store.take_over("third", 201, 500) == []
    assert [one.id for one in store.kept_by("you")] == ["b1"]
    store.unclaim(batch, SETTLED)
    assert not store.claim(batch, now * 2)
    assert store.take_over("third", 10**6, 10**7) == []
    store.close()


def test_a_kept_hold_outlives_the_sweep_and_the_process(money: Any, open_ledger: Any) -> None:
    """Neither charges it; held again by the same name it counts once, and settles once."""
    accounts = money.budgeted("10 per day")
    ledger = open_ledger(accounts)
    wanted = money.request("r1", 700)
    ledger.keep(ledger.hold(wanted))
    assert ledger.sweep(-1_000) == 0
    ledger.close()
    ledger = open_ledger(accounts)
    assert ledger.receipts("t") == []
    assert ledger.open_holds() == (0, 0)
    hold = ledger.hold(replace(wanted, kept=True))
    assert ledger.open_holds() == (1, 700)
    ledger.close()
    ledger = open_ledger(accounts)
    late = Hold(hold.request_id, hold.amount_nano, hold.at_ms)
    assert ledger.settle(late, money.receipt("r1", 1500))
    ledger.flush()
    assert ledger.settle(late, money.receipt("r1", 1500)) is False
    ledger.close()
    assert [r.cost_nano for r in open_ledger(accounts).receipts("t")] == [1500]

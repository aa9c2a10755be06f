"""The place of a process among those that share: who waits for whom at the start."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest

from billing.errors import LedgerUnavailable
from billing.shared_members import Seat, lock


def test_a_slow_first_start_is_waited_for(tmp_path: Path) -> None:
    """A process that comes while the first one still makes the tables waits, however short its
    own patience with a process that keeps the ledger for itself.
    """
    one, two = Seat(tmp_path / "weir"), Seat(tmp_path / "weir")
    inside, finish, seen = threading.Event(), threading.Event(), list[str]()

    def slow() -> None:
        inside.set()
        assert finish.wait(30)
        seen.append("first")

    def come() -> None:
        two.take(0.05, lambda: seen.append("never"))
        seen.append("second")

    first = threading.Thread(target=one.take, args=(0.05, slow))
    first.start()
    assert inside.wait(30)
    second = threading.Thread(target=come)
    second.start()
    second.join(0.6)
    assert seen == []
    finish.set()
    first.join(30)
    second.join(30)
    assert seen == ["first", "second"]
    one.leave(buried=True)
    two.leave(buried=True)


def test_one_who_keeps_it_for_himself_is_not_waited_for(tmp_path: Path) -> None:
    """A ledger that a process alone has is refused after the wait, with the remedy."""
    with (tmp_path / "weir.lock").open("ab") as alone:
        assert lock(alone, fcntl.LOCK_EX)
        with pytest.raises(LedgerUnavailable, match="for itself: stop it"):
            Seat(tmp_path / "weir").take(0.1, lambda: None)


def test_a_start_that_failed_leaves_nothing_locked(tmp_path: Path) -> None:
    """After a first start that raised, the next process is the first."""

    def broken() -> None:
        raise LedgerUnavailable("no room")

    with pytest.raises(LedgerUnavailable, match="no room"):
        Seat(tmp_path / "weir").take(0.1, broken)
    seen: list[str] = []
    seat = Seat(tmp_path / "weir")
    seat.take(0.1, lambda: seen.append("first"))
    assert seen == ["first"]
    seat.leave(buried=True)

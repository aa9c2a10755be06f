"""Kept answers: bounded, and opened by nobody but whose they are."""

from __future__ import annotations

import os
from pathlib import Path

from billing.receipt import Receipt
from billing.recovery import HoldRequest, orphan
from gateway.answers_store import Answers, Found, Name, named
from gateway.idempotency import Reply


def receipt() -> Receipt:
    """A receipt."""
    path = ("org", "t", "t/p", "t/p/k")
    return orphan(HoldRequest("r1", path, None, 5, 1, "m", "u"), 5, 1, "orphan")


def found(body: bytes = b"said") -> Found:
    """An answer."""
    return Found(Reply(200, [(b"content-type", b"text/plain")], body), receipt())


def test_an_answer_comes_back_until_its_time_is_over(tmp_path: Path) -> None:
    """Headers, body and receipt as they were."""
    store, name = Answers(f"sqlite:///{tmp_path}/weir.db"), named("owner", "secret", b"whole")
    assert store.find(name, 1) is None
    store.keep(name, found(), (1, 10), 10**6)
    assert store.find(name, 9) == found()
    assert store.find(name, 10) is None
    store.close()


def test_nobody_else_opens_it(tmp_path: Path) -> None:
    """Another secret gives another name; with the right name and another key it stays shut."""
    store, name = Answers(f"sqlite:///{tmp_path}/weir.db"), named("owner", "secret", b"whole")
    store.keep(name, found(), (1, 10), 10**6)
    others = [("owner", "other"), ("else", "secret")]
    assert name.digest not in {named(o, s, b"whole").digest for o, s in others}
    assert store.find(Name(name.owner, name.digest, os.urandom(32)), 2) is None
    store.close()


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    """All of them together stay below the bound; the newest is there."""
    store = Answers(f"sqlite:///{tmp_path}/weir.db")
    names = [named("owner", "secret", str(n).encode()) for n in range(200)]
    for at, name in enumerate(names):
        store.keep(name, found(os.urandom(1000)), (at, 10**6), 50_000)
    store.sweep(200, 50_000)
    left = [name for name in names if store.find(name, 200) is not None]
    assert 20 <= len(left) <= 40
    assert left[-1] == names[-1]
    store.close()

"""Bodies are kept for their time, for their team, within bounds; then they are gone for good."""

from __future__ import annotations

import stat
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from billing import bodies
from billing.bodies import Bodies, Kept

SECRET = b"the patient's name is " + b"Rumpelstilzchen" * 40


class Clock:
    """An instant that a test moves."""

    now = 1_000

    def __call__(self) -> int:
        """UTC epoch ms."""
        return self.now


def kept(name: str = "r1", team: str = "t", size: int = 0) -> Kept:
    return Kept(name, team, 1_000, 61_000, SECRET + b"x" * size, b"sent", b"")


def made(tmp_path: Path, clock: Clock, **more: int) -> tuple[Bodies, Counter[str]]:
    seen: Counter[str] = Counter()
    url = f"sqlite:///{tmp_path}/weir.db"
    return Bodies(url, clock, lambda said: seen.update([said]), **more), seen


def test_what_is_kept_is_found_by_its_team_until_its_time_is_over(tmp_path: Path) -> None:
    """Byte for byte, also by another process; never by another team; not a ms too long."""
    clock = Clock()
    store, seen = made(tmp_path, clock)
    assert store.keep(kept())
    assert store.find("r1", "t") == kept()
    store.close()
    again, _ = made(tmp_path, clock)
    assert again.find("r1", "t") == kept()
    assert again.original("r1", "t") == SECRET
    assert again.original("r1", "other") is None
    assert again.find("r1", "other") is None
    assert again.find("r2", "t") is None
    clock.now = 60_999
    assert again.find("r1", "t") is not None
    clock.now = 61_000
    assert again.find("r1", "t") is None
    assert seen == {"kept": 1}
    again.close()


def test_what_is_over_is_not_in_the_file_any_more(tmp_path: Path) -> None:
    """A sweep takes it out and overwrites it; only this account may read the file."""
    clock = Clock()
    store, _ = made(tmp_path, clock)
    store.keep(kept())
    store.close()
    path = tmp_path / "weir.db.bodies"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    packed = bodies._packed(kept())
    assert packed in path.read_bytes()
    clock.now = 61_000
    again, _ = made(tmp_path, clock)
    assert again.sweep() == 1
    again.close()
    rest = b"".join(one.read_bytes() for one in tmp_path.glob("weir.db.bodies*"))
    assert packed[20:60] not in rest


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that is too large, or one too many in the queue, is counted and not kept."""
    store, seen = made(tmp_path, Clock())
    assert not store.keep(kept(size=bodies.MAX_BODY))
    monkeypatch.setattr(bodies, "MAX_QUEUE", 10)
    assert not store.keep(kept())
    assert seen == {"too_large": 1, "dropped": 1}
    store.close()


def test_too_much_pushes_the_oldest_out(tmp_path: Path) -> None:
    """Beyond the total the oldest go, so that a disk is never filled."""
    clock = Clock()
    store, seen = made(tmp_path, clock, max_total=2_000)
    for number in range(60):
        store.keep(replace(kept(f"r{number}"), at_ms=1_000 + number))
    deadline = time.monotonic() + 20
    while seen["kept"] < 60:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert store.sweep() >= 0
    assert store.find("r0", "t") is None
    assert store.find("r59", "t") is not None
    store.close()


def test_a_store_that_cannot_be_had_costs_no_request(tmp_path: Path) -> None:
    """Keeping fails in the background, and is counted."""
    seen: Counter[str] = Counter()
    url = f"sqlite:///{tmp_path}/no/such/folder/weir.db"
    store = Bodies(url, Clock(), lambda said: seen.update([said]))
    assert store.keep(kept())
    store.close()
    assert seen == {"failed": 1}

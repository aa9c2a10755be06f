"""A copy of a ledger is one moment of it, and what follows on the copy is counted."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from billing.backup import backup
from billing.errors import LedgerMissing, LedgerUnavailable


def ledger(folder: Path) -> str:
    """A database of some pages, with stores beside it and files that are none."""
    for name in ("weir.db", "weir.db.bodies", "weir.db.batches"):
        with sqlite3.connect(folder / name) as connection:
            connection.execute("CREATE TABLE t (x TEXT)")
            connection.executemany("INSERT INTO t VALUES (?)", [("y" * 500,)] * 2_000)
        connection.close()
    (folder / "weir.db.journal.3").write_bytes(b"00000000 {}\n")
    (folder / "weir.db.lock").touch()
    return f"sqlite:///{folder}/weir.db"


def test_the_stores_beside_are_copied_and_bodies_only_when_asked(tmp_path: Path) -> None:
    """Journals and locks stay; kept prompts go along only with ``bodies``."""
    url = ledger(tmp_path)
    plain = backup(url, tmp_path / "one", lambda *_: None)
    assert [path.name for path in plain] == ["weir.db", "weir.db.batches"]
    whole = backup(url, tmp_path / "two", lambda *_: None, bodies=True)
    assert len(whole) == 3
    assert all(path.stat().st_mode & 0o077 == 0 for path in whole)


def test_the_copy_is_one_moment_while_others_write(tmp_path: Path) -> None:
    """Rows that are written while the copy runs are in the ledger, not half in the copy."""
    url = ledger(tmp_path)
    other = sqlite3.connect(tmp_path / "weir.db", isolation_level=None)
    other.execute("PRAGMA journal_mode = WAL")
    steps: list[int] = []

    def write(_: Path, done: int, __: int) -> None:
        steps.append(done)
        other.execute("INSERT INTO t VALUES ('late')")

    (copy, _) = backup(url, tmp_path / "out", write)
    assert steps
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (2_000,)
    connection.close()
    assert other.execute("SELECT count(*) FROM t WHERE x = 'late'").fetchone()[0] == len(steps)
    other.close()


def test_nothing_is_overwritten_or_invented(tmp_path: Path) -> None:
    """A file that is there stays as it is; no ledger is no backup."""
    url = ledger(tmp_path)
    backup(url, tmp_path / "out", lambda *_: None)
    with pytest.raises(LedgerUnavailable, match="exists already"):
        backup(url, tmp_path / "out", lambda *_: None)
    with pytest.raises(LedgerMissing):
        backup(f"sqlite:///{tmp_path}/none.db", tmp_path / "more", lambda *_: None)
    assert not (tmp_path / "more").exists()

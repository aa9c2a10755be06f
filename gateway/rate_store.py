"""Counts of the last minutes and of requests inside, for the processes of one machine.

A storage for the `limits` library on SQLite: in memory for one process, in a file that
worker processes share for as long as they run. Nothing in it is worth keeping.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from math import floor
from typing import TypeVar

from limits.storage.base import SlidingWindowCounterSupport, Storage, TimestampedSlidingWindow

_SWEEP_S = 60.0
_TABLES = """
    CREATE TABLE IF NOT EXISTS counts (key TEXT PRIMARY KEY, count INTEGER, expires REAL);
    CREATE TABLE IF NOT EXISTS inside
        (node TEXT, process INTEGER, count INTEGER, PRIMARY KEY (node, process))
"""
_ADD = """
    INSERT INTO counts VALUES (?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET count = count + excluded.count
"""
_ENTER = """
    INSERT INTO inside VALUES (?, ?, ?)
    ON CONFLICT (node, process) DO UPDATE SET count = count + excluded.count
"""

T = TypeVar("T")


class Counts:
    """One SQLite database of counts; ``path`` may be ``:memory:``. Safe from any thread."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(
            path, timeout=2, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._lock = threading.Lock()
        for statement in _TABLES.split(";"):
            self.alone(lambda db, one=statement: db.execute(one))  # type: ignore[misc]

    def alone(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` gives, in a transaction of its own."""
        with self._lock, self._connection as db:
            db.execute("BEGIN IMMEDIATE")
            return work(db)

    def enter(self, seats: Iterable[tuple[str, int]]) -> str | None:
        """A request is counted into every node, or, where one is full, into none: which one."""
        wanted = list(seats)

        def work(db: sqlite3.Connection) -> str | None:
            for node, most in wanted:
                if _inside(db, node) >= most:
                    return node
            for node, _ in wanted:
                db.execute(_ENTER, (node, os.getpid(), 1))
            return None

        full = self.alone(work)
        if full is not None and self._forget_dead():
            full = self.alone(work)
        return full

    def leave(self, nodes: Iterable[str]) -> None:
        """A request that was counted in is counted out."""
        rows = [(node, os.getpid(), -1) for node in nodes]
        self.alone(lambda db: db.executemany(_ENTER, rows))

    def close(self) -> None:
        """The database is closed."""
        with self._lock:
            self._connection.close()

    def _forget_dead(self) -> bool:
        """Requests inside of processes that died are not inside; whether there were any."""

        def work(db: sqlite3.Connection) -> bool:
            known = [row[0] for row in db.execute("SELECT DISTINCT process FROM inside")]
            dead = [(process,) for process in known if not _alive(process)]
            db.executemany("DELETE FROM inside WHERE process = ?", dead)
            return bool(dead)

        return self.alone(work)


class SqliteStorage(Storage, SlidingWindowCounterSupport, TimestampedSlidingWindow):
    """`limits`' storage on ``Counts``; only sliding windows are used."""

    STORAGE_SCHEME = ["weir-sqlite"]  # noqa: RUF012 - the library's own way to say it

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self._counts = counts
        self._swept = 0.0

    @property
    def base_exceptions(self) -> type[Exception]:
        """What a failing database raises."""
        return sqlite3.Error

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """A count is higher by ``amount``; what it is now."""
        expires = time.time() + expiry  # noqa: TID251 - the library counts in wall time

        def work(db: sqlite3.Connection) -> int:
            db.execute(_ADD, (key, amount, expires))
            return _count(db, key)

        return self._counts.alone(work)

    def get(self, key: str) -> int:
        """A count."""
        return self._counts.alone(lambda db: _count(db, key))

    def get_expiry(self, key: str) -> float:
        """When a count ends, epoch seconds."""
        query = "SELECT expires FROM counts WHERE key = ?"
        row = self._counts.alone(lambda db: db.execute(query, (key,)).fetchone())
        return float(row[0]) if row else time.time()  # noqa: TID251 - as above

    def check(self) -> bool:
        """Whether the database answers."""
        return self.get("") == 0

    def reset(self) -> int | None:
        """Nothing is counted any more; how many counts there were."""
        return self._counts.alone(lambda db: db.execute("DELETE FROM counts").rowcount)

    def clear(self, key: str) -> None:
        """A count is gone."""
        self._counts.alone(lambda db: db.execute("DELETE FROM counts WHERE key = ?", (key,)))

    def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Whether ``amount`` fits in the window that ends now; then it is counted."""
        now = time.time()  # noqa: TID251 - as above
        before, current = self.sliding_window_keys(key, expiry, now)

        def work(db: sqlite3.Connection) -> bool:
            left = expiry - now % expiry
            weighted = _count(db, before) * left / expiry + _count(db, current)
            if floor(weighted) + amount > limit:
                return False
            db.execute(_ADD, (current, amount, now + left + expiry))
            if now - self._swept > _SWEEP_S:
                self._swept = now
                db.execute("DELETE FROM counts WHERE expires < ?", (now,))
            return True

        return self._counts.alone(work)

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Count and seconds left of the window before and of the current one."""
        now = time.time()  # noqa: TID251 - as above
        before, current = self.sliding_window_keys(key, expiry, now)
        left = expiry - now % expiry

        def work(db: sqlite3.Connection) -> tuple[int, float, int, float]:
            return _count(db, before), left, _count(db, current), left + expiry

        return self._counts.alone(work)

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Both windows of a key are empty."""
        for one in self.sliding_window_keys(key, expiry, time.time()):  # noqa: TID251 - as above
            self.clear(one)


def _count(db: sqlite3.Connection, key: str) -> int:
    row = db.execute("SELECT count FROM counts WHERE key = ?", (key,)).fetchone()
    return int(row[0]) if row else 0


def _inside(db: sqlite3.Connection, node: str) -> int:
    query = "SELECT COALESCE(SUM(count), 0) FROM inside WHERE node = ?"
    return int(db.execute(query, (node,)).fetchone()[0])


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

"""The ledger's SQLite half: groups of postings in, receipts and sums out.

Rows are written through the driver in groups (one transaction, executemany) together with
the journal position they reach, so a replay neither loses nor doubles a row. Every insert
ignores a row that is there already: the same posting twice is the same posting.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import orjson

from billing import rollup
from billing.chain import START
from billing.counters import Spend
from billing.errors import LedgerUnavailable
from billing.journal import Position
from billing.late import CLOSED_UNTIL, in_open_month
from billing.receipt import Receipt, from_fields
from billing.schema import database_path, is_postgresql, upgrade
from billing.spend import Look, spends
from billing.store_rows import (
    ATTEMPT_COLUMNS,
    HOLD_COLUMNS,
    LINE_COLUMNS,
    RECEIPT_COLUMNS,
    Group,
    OpenHold,
    Tables,
    Whose,
    hold_row,
    linked,
    newest,
    spend_query,
    spends_of,
)

T = TypeVar("T")
_LOOKUP = 500
_CHUNKS = (16, 1)
"""Rows a statement: each statement lets other threads run once, so many rows share one."""


def open_tables(url: str, *, power_safe: bool = False, writer: str = "") -> Tables:
    """The tables at a database URL, brought to this version's schema.

    Raises:
        LedgerUnavailable: they cannot be opened.
        ValueError: another kind of database.
    """
    if is_postgresql(url):
        from billing.postgres import PostgresStore

        return PostgresStore(url, writer=writer)
    return Store(database_path(url), power_safe=power_safe, writer=writer)


class Store:
    """One SQLite database, brought to this version's schema. Safe to use from any thread.

    ``writer`` names this process where several write; each has a journal of its own.
    """

    def __init__(self, path: Path, *, power_safe: bool = False, writer: str = "") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        upgrade(path)
        self.writer = writer
        self._write = connect(path)
        self._write.execute(f"PRAGMA synchronous = {'FULL' if power_safe else 'NORMAL'}")
        self._read = connect(path)
        self._read.execute("PRAGMA query_only = ON")
        self._lock = threading.Lock()

    def position(self) -> Position:
        """How far the journal is in the tables."""
        row = self._one("SELECT number, offset FROM positions WHERE writer = ?", self.writer)
        return Position(*row) if row else Position(0, 0)

    def write(self, group: Group) -> None:
        """All of a group is in the database, or none of it.

        Raises:
            LedgerUnavailable: disk full, locked or broken.
        """
        try:
            with self._write:
                self._write.execute("BEGIN IMMEDIATE")
                until = self._write.execute(CLOSED_UNTIL).fetchone()[0]
                group = in_open_month(group, until)
                new = linked(group, self._head(), self._known(group), self.writer)
                self._insert("receipts", RECEIPT_COLUMNS, new.receipts)
                self._insert("lines", LINE_COLUMNS, new.lines)
                self._insert("attempts", ATTEMPT_COLUMNS, new.attempts)
                if group.closed:
                    self._write.executemany(
                        "DELETE FROM holds WHERE request_id = ?",
                        [(request_id,) for request_id in group.closed],
                    )
                opened = [hold_row(held, self.writer) for held in group.opened.values()]
                self._insert("holds", HOLD_COLUMNS, opened, "REPLACE")
                if group.position is not None:
                    self._write.execute(
                        "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)",
                        (self.writer, group.position.number, group.position.offset),
                    )
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"cannot write the ledger: {error}") from error

    def roll_up(self, most: int) -> int:
        """The next receipts, at most so many, are in the roll-ups; how many are still not.

        Raises:
            LedgerUnavailable: as for ``write``; nothing was changed.
        """
        return self._transaction(lambda run: rollup.roll_up(run, most))

    def clear_rollups(self) -> None:
        """There are no roll-ups. Raises LedgerUnavailable."""
        self._transaction(rollup.clear)

    def checkpoint(self) -> None:
        """Everything committed is in the main file and on the disk, as far as readers allow."""
        try:
            self._write.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"cannot checkpoint the ledger: {error}") from error

    def holds(self) -> list[OpenHold]:
        """This writer's holds that were open when the tables were last written."""
        rows = self._all(
            "SELECT request_id, at_ms, amount_nano, team, body FROM holds WHERE writer = ?",
            self.writer,
        )
        return [OpenHold(*row) for row in rows]

    def strays(self, before_ms: int, known: frozenset[str]) -> list[OpenHold]:
        """Holds older than an instant whose writer is none of ``known``."""
        rows = self._all(
            "SELECT request_id, at_ms, amount_nano, team, body, writer FROM holds WHERE at_ms < ?",
            before_ms,
        )
        return [OpenHold(*row[:-1]) for row in rows if row[-1] not in known]

    def receipt(self, request_id: str) -> Receipt | None:
        """The receipt of a request, or None."""
        row = self._one("SELECT body FROM receipts WHERE request_id = ?", request_id)
        return from_fields(orjson.loads(row[0])) if row else None

    def posted(self, request_id: str) -> bool:
        """Whether a request has its receipt."""
        return self._one("SELECT 1 FROM receipts WHERE request_id = ?", request_id) is not None

    def receipts(
        self, team: str | None, session: str | None, task: str | None, limit: int
    ) -> list[Receipt]:
        """The newest receipts that match, newest first."""
        query, values = newest((team, session, task), limit, "?")
        return [from_fields(orjson.loads(row[0])) for row in self._all(query, *values)]

    def spend_since(
        self, start_ms: int, bucket_ms: int, whose: Whose | None = None
    ) -> Iterable[Spend]:
        """Cost by key, user and bucket of time from an instant on; of all, or some writers."""
        query, writers = spend_query(start_ms, bucket_ms, whose, "?")
        return spends_of(self._all(query, *writers))

    def spends(self, look: Look, whose: Whose | None = None) -> list[Spend]:
        """Cost by key, user and time, as ``look`` needs it; of all, or some writers."""

        def ask(query: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
            return self._read.execute(query, values).fetchall()

        with self._lock:
            try:
                with self._read:
                    self._read.execute("BEGIN")
                    return spends(ask, look, whose)
            except sqlite3.Error as error:
                raise LedgerUnavailable(f"cannot read the ledger: {error}") from error

    def latest_ms(self) -> int:
        """The newest posting's instant; 0 for an empty ledger."""
        row = self._one("SELECT MAX(posted_ms) FROM receipts")
        return int(row[0] or 0) if row else 0

    def forget(self) -> None:
        """This writer is gone for good: nothing is left of it but its rows."""
        self._change("DELETE FROM positions WHERE writer = ?", self.writer)

    def identity(self, otherwise: str) -> str:
        """The name this ledger goes by; ``otherwise`` becomes it where it has none yet."""
        self._change("INSERT OR IGNORE INTO facts VALUES ('ledger', ?)", otherwise)
        row = self._one("SELECT value FROM facts WHERE name = 'ledger'")
        return str(row[0]) if row else otherwise

    def close(self) -> None:
        """Both connections are closed."""
        self._write.close()
        with self._lock:
            self._read.close()

    def _head(self) -> tuple[int, bytes]:
        """The end of the chain as it is inside this transaction; other writers extend it, too."""
        row = self._write.execute(
            "SELECT seq, chain FROM receipts ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        return (row[0], row[1]) if row else (0, START)

    def _known(self, group: Group) -> set[str]:
        """The requests of a group that have their receipt already."""
        ids = [row[0] for row in group.receipts]
        seen: set[str] = set()
        for begin in range(0, len(ids), _LOOKUP):
            some = ids[begin : begin + _LOOKUP]
            marks = ", ".join("?" * len(some))
            sql = f"SELECT request_id FROM receipts WHERE request_id IN ({marks})"  # noqa: S608 - marks
            seen |= {row[0] for row in self._write.execute(sql, some)}
        return seen

    def _transaction(self, work: Callable[[rollup.Run], T]) -> T:
        try:
            with self._write:
                self._write.execute("BEGIN IMMEDIATE")
                return work(lambda sql: self._write.execute(sql).fetchall())
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"cannot write the ledger: {error}") from error

    def _change(self, sql: str, *values: object) -> None:
        try:
            self._write.execute(sql, values)
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"cannot write the ledger: {error}") from error

    def _insert(
        self,
        table: str,
        columns: Sequence[str],
        rows: Sequence[tuple[object, ...]],
        conflict: str = "IGNORE",
    ) -> None:
        begin = 0
        for size in _CHUNKS:
            sql = _insert_sql(table, columns, conflict, size)
            while len(rows) - begin >= size:
                values = list(chain.from_iterable(rows[begin : begin + size]))
                self._write.execute(sql, values)
                begin += size

    def _all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._read.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise LedgerUnavailable(f"cannot read the ledger: {error}") from error

    def _one(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        rows = self._all(sql, *values)
        return rows[0] if rows else None


@cache
def _insert_sql(table: str, columns: Sequence[str], conflict: str, rows: int) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    marks = ", ".join([f"({', '.join('?' * len(columns))})"] * rows)
    return f"INSERT OR {conflict} INTO {table} ({names}) VALUES {marks}"  # noqa: S608 - constants


def connect(path: Path) -> sqlite3.Connection:
    """A connection with write-ahead logging that waits for locks. Raises LedgerUnavailable."""
    try:
        connection = sqlite3.connect(
            path, timeout=10, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA busy_timeout = 10000")
    except sqlite3.Error as error:
        raise LedgerUnavailable(f"cannot open the database {path}: {error}") from error
    return connection

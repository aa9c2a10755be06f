"""A small store of its own beside the ledger: a file next to a SQLite one, tables in PostgreSQL.

For what is no posting and must outlive a process. SQL is written with ``?`` for values, in the
words that SQLite and PostgreSQL share. Nothing is opened, and no file made, before first use.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from billing.errors import LedgerUnavailable
from billing.schema import database_path, is_postgresql

if TYPE_CHECKING:  # the driver is imported where PostgreSQL is used
    from billing.postgres import Link

_WAIT_S = 10


class Beside:
    """One such store. Safe to use from any thread, and by several processes at once.

    Args:
        url: the ledger's database.
        name: what the file's name ends with.
        tables: statements that make what is missing.
    """

    def __init__(self, url: str, name: str, tables: Sequence[str]) -> None:
        self._url, self._name, self._tables = url, name, tables
        self._lock = threading.Lock()
        self._file: sqlite3.Connection | None = None
        self._link: Link | None = None

    @property
    def path(self) -> Path | None:
        """The file it lies in; None with PostgreSQL."""
        if is_postgresql(self._url):
            return None
        ledger = database_path(self._url)
        return ledger.with_name(f"{ledger.name}.{self._name}")

    @property
    def begun(self) -> bool:
        """Whether anything can have been stored; with PostgreSQL nobody knows."""
        path = self.path
        return path is None or self._file is not None or path.exists()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query. Raises LedgerUnavailable."""
        with self._lock:
            if is_postgresql(self._url):
                return self._server().rows(query.replace("?", "%s"), *values)
            try:
                return self._opened().execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise LedgerUnavailable(f"cannot read {self.path}: {error}") from error

    def change(self, statement: str, *values: object) -> int:
        """How many rows a statement changed, durably. Raises LedgerUnavailable."""
        with self._lock:
            if is_postgresql(self._url):
                text = statement.replace("?", "%s").encode()
                return self._server().run(lambda cursor: cursor.execute(text, values).rowcount)
            try:
                return self._opened().execute(statement, values).rowcount
            except sqlite3.Error as error:
                raise LedgerUnavailable(f"cannot write {self.path}: {error}") from error

    def close(self) -> None:
        """The connection is closed; a later call opens another."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            if self._link is not None:
                self._link.close()
            self._file = self._link = None

    def _opened(self) -> sqlite3.Connection:
        path = self.path
        if self._file is None and path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(mode=0o600)
            except OSError as error:
                raise LedgerUnavailable(f"cannot use {path}: {error}") from error
            connection = sqlite3.connect(
                path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            for statement in self._tables:
                connection.execute(statement.format(blob="BLOB"))
            self._file = connection
        if self._file is None:
            raise LedgerUnavailable("this store has no file")
        return self._file

    def _server(self) -> Link:
        if self._link is None:
            from billing.postgres import Link

            self._link = Link(self._url, "-c statement_timeout=10000")
            for statement in self._tables:
                text = statement.format(blob="BYTEA").encode()
                self._link.run(lambda cursor, text=text: cursor.execute(text))  # type: ignore[misc]
        return self._link

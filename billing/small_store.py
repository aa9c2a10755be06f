"""Rows that any process may read and write, one statement at a time, on SQLite and PostgreSQL.

SQL is written with ``?`` for values, in the words that both share. Nothing is opened before
first use.
"""

from __future__ import annotations

import sqlite3
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from billing.errors import LedgerUnavailable
from billing.schema import is_postgresql

if TYPE_CHECKING:  # the driver is imported where PostgreSQL is used
    from billing.postgres import Link

_WAIT_S = 10


class SmallStore(ABC):
    """One connection, opened when it is needed. Safe to use from any thread.

    ``named`` is what an error calls it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._file: sqlite3.Connection | None = None
        self._link: Link | None = None

    @property
    @abstractmethod
    def named(self) -> str:
        """What an error calls it."""

    @abstractmethod
    def _open_file(self) -> sqlite3.Connection:
        """A connection to the SQLite file, its tables there. Raises LedgerUnavailable."""

    @abstractmethod
    def _open_link(self) -> Link:
        """A connection to the server, its tables there. Raises LedgerUnavailable."""

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query. Raises LedgerUnavailable."""
        if is_postgresql(self._url):
            return self._server().rows(_marked(query), *values)
        with self._lock:
            try:
                return self._opened().execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise LedgerUnavailable(f"cannot read {self.named}: {error}") from error

    def change(self, statement: str, *values: object) -> int:
        """How many rows a statement changed, durably. Raises LedgerUnavailable."""
        if is_postgresql(self._url):
            text = _marked(statement).encode()
            return self._server().run(lambda cursor: cursor.execute(text, values).rowcount)
        with self._lock:
            try:
                return self._opened().execute(statement, values).rowcount
            except sqlite3.Error as error:
                raise LedgerUnavailable(f"cannot write {self.named}: {error}") from error

    def close(self) -> None:
        """The connection is closed; a later call opens another."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            if self._link is not None:
                self._link.close()
            self._file = self._link = None

    def _opened(self) -> sqlite3.Connection:
        if self._file is None:
            self._file = self._open_file()
        return self._file

    def _server(self) -> Link:
        with self._lock:
            if self._link is None:
                self._link = self._open_link()
            return self._link


def connected(path: Path) -> sqlite3.Connection:
    """A connection that waits for others' locks and commits each statement."""
    connection = sqlite3.connect(
        path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


def linked(url: str) -> Link:
    """A connection to the server that gives up on a statement after ten seconds."""
    from billing.postgres import Link

    return Link(url, "-c statement_timeout=10000")


def _marked(text: str) -> str:
    return text.replace("?", "%s")

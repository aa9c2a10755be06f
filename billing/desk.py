"""Small shared tables of the ledger's database that any process may write, one row at a time.

Grants, sent messages and kept replies are not postings: they stand beside the ledger, on a
connection of their own, and never on the path of a request without them.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from billing.errors import LedgerUnavailable
from billing.schema import database_path, is_postgresql, upgrade, upgrade_postgresql

if TYPE_CHECKING:  # the driver is imported where PostgreSQL is used
    from billing.postgres import Link

_WAIT_S = 10


class Desk:
    """One connection to the ledger's database. Safe to use from any thread.

    SQL is written with ``?`` for values, in the words that SQLite and PostgreSQL share.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._file: sqlite3.Connection | None = None
        self._link: Link | None = None

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows that a query gives. Raises LedgerUnavailable."""
        if is_postgresql(self._url):
            return self._server().rows(_marked(query), *values)
        with self._lock:
            try:
                return self._opened().execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise LedgerUnavailable(f"cannot read the ledger: {error}") from error

    def change(self, statement: str, *values: object) -> int:
        """How many rows a statement changed, durably. Raises LedgerUnavailable."""
        if is_postgresql(self._url):
            text = _marked(statement).encode()
            return self._server().run(lambda cursor: cursor.execute(text, values).rowcount)
        with self._lock:
            try:
                return self._opened().execute(statement, values).rowcount
            except sqlite3.Error as error:
                raise LedgerUnavailable(f"cannot write the ledger: {error}") from error

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
            path: Path = database_path(self._url)
            upgrade(path)
            connection = sqlite3.connect(
                path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            self._file = connection
        return self._file

    def _server(self) -> Link:
        with self._lock:
            if self._link is None:
                from billing.postgres import Link

                upgrade_postgresql(self._url)
                self._link = Link(self._url, "-c statement_timeout=10000")
            return self._link


def _marked(text: str) -> str:
    return text.replace("?", "%s")

"""A small store of its own beside the ledger: a file next to a SQLite one, tables in PostgreSQL.

For what is no posting and must outlive a process. No file is made before first use.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from billing.errors import LedgerUnavailable
from billing.schema import database_path, is_postgresql
from billing.small_store import SmallStore, connected, linked

if TYPE_CHECKING:  # the driver is imported where PostgreSQL is used
    from billing.postgres import Link


class Beside(SmallStore):
    """One such store; several processes may use it at once.

    Args:
        url: the ledger's database.
        name: what the file's name ends with.
        tables: statements that make what is missing.
    """

    def __init__(self, url: str, name: str, tables: Sequence[str]) -> None:
        super().__init__(url)
        self._name, self._tables = name, tables

    @property
    def path(self) -> Path | None:
        """The file it lies in; None with PostgreSQL."""
        if is_postgresql(self._url):
            return None
        ledger = database_path(self._url)
        return ledger.with_name(f"{ledger.name}.{self._name}")

    @property
    def named(self) -> str:
        """Its file."""
        return str(self.path)

    @property
    def begun(self) -> bool:
        """Whether anything can have been stored; with PostgreSQL nobody knows."""
        path = self.path
        return path is None or self._file is not None or path.exists()

    def _open_file(self) -> sqlite3.Connection:
        path = self.path
        if path is None:
            raise LedgerUnavailable("this store has no file")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
        except OSError as error:
            raise LedgerUnavailable(f"cannot use {path}: {error}") from error
        connection = connected(path)
        for statement in self._tables:
            connection.execute(statement.format(blob="BLOB"))
        return connection

    def _open_link(self) -> Link:
        link = linked(self._url)
        for statement in self._tables:
            text = statement.format(blob="BYTEA").encode()
            link.run(lambda cursor, text=text: cursor.execute(text))  # type: ignore[misc]
        return link

"""Small shared tables of the ledger's database that any process may write, one row at a time.

Grants, sent messages and kept replies are not postings: they stand beside the ledger, on a
connection of their own, and never on the path of a request without them.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from billing.schema import database_path, upgrade, upgrade_postgresql
from billing.small_store import SmallStore, connected, linked

if TYPE_CHECKING:  # the driver is imported where PostgreSQL is used
    from billing.postgres import Link


class Desk(SmallStore):
    """One connection to the ledger's database."""

    @property
    def named(self) -> str:
        """The ledger."""
        return "the ledger"

    def _open_file(self) -> sqlite3.Connection:
        path = database_path(self._url)
        upgrade(path)
        connection = connected(path)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _open_link(self) -> Link:
        upgrade_postgresql(self._url)
        return linked(self._url)

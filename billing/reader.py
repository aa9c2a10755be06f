"""A read-only connection to an up-to-date ledger."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from billing.errors import LedgerMissing, LedgerUnavailable
from billing.journal import journal_files
from billing.recovery import lock_database, recover
from billing.schema import (
    REVISION,
    database_path,
    engine_url,
    found_revision,
    hidden,
    is_postgresql,
    upgrade,
    upgrade_postgresql,
)
from billing.shared_members import journal_of, lock_file, members_of
from billing.store import Store
from billing.tables import AttemptRow, HoldRow, LineRow, ReceiptRow

MS = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

RECEIPTS: Any = ReceiptRow.__table__  # type: ignore[attr-defined]  # made by SQLModel's metaclass
LINES: Any = LineRow.__table__  # type: ignore[attr-defined]  # as above
ATTEMPTS: Any = AttemptRow.__table__  # type: ignore[attr-defined]  # as above
HOLDS: Any = HoldRow.__table__  # type: ignore[attr-defined]  # as above


@contextmanager
def reading(url: str) -> Iterator[Connection]:
    """A connection to an up-to-date ledger that this process only reads.

    It sees one state of the ledger throughout, whatever is posted meanwhile.
    What a killed process left in its journal is brought into the tables first, unless
    another process has the ledger open (which does so itself).

    Raises:
        LedgerMissing: there is no such file; it is not made.
        LedgerUnavailable: the database cannot be read.
    """
    where = hidden(url)
    if is_postgresql(url):
        upgrade_postgresql(url)
    else:
        path = database_path(url)
        if not path.exists():
            raise LedgerMissing(path.absolute())
        if _outdated(path):
            upgrade(path)
        elif journal_files(path) or members_of(path):
            _catch_up(path)
    engine = _engine(url)
    try:
        with engine.connect() as connection:
            if not is_postgresql(url):
                connection.exec_driver_sql("BEGIN")  # the driver begins none for a query
            yield connection
    except sa.exc.SQLAlchemyError as error:
        raise LedgerUnavailable(f"cannot read the ledger {where}: {error}") from error
    finally:
        engine.dispose()


def epoch_ms(moment: datetime) -> int:
    """An instant with a time zone as UTC epoch milliseconds. Raises ValueError."""
    if moment.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return (moment - EPOCH) // MS


def _outdated(path: Path) -> bool:
    """Whether an older version made the tables; asked without taking a lock."""
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=10)
    try:
        return found_revision(connection) not in (REVISION, None)
    except sqlite3.Error as error:
        raise LedgerUnavailable(f"cannot read the ledger {path}: {error}") from error
    finally:
        connection.close()


def _engine(url: str) -> Engine:
    if is_postgresql(url):
        return sa.create_engine(
            engine_url(url),
            connect_args={"connect_timeout": 10},
            isolation_level="REPEATABLE READ",
        )
    return sa.create_engine(url, connect_args={"timeout": 10})


def _catch_up(path: Path) -> None:
    try:
        lock = lock_database(path)
    except LedgerUnavailable:
        return
    try:
        for member in ("", *members_of(path)):
            store = Store(path, writer=member)
            try:
                recover(journal_of(path, member) if member else path, store)
                if member:
                    store.forget()
                    lock_file(journal_of(path, member)).unlink(missing_ok=True)
            finally:
                store.close()
    finally:
        lock.close()

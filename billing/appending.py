"""A connection that adds rows to the tables of finance, beside a gateway that is running.

Those tables are append-only and not the hot path's: a short transaction of its own, waiting
for the ledger's writer as it waits for us, is all that is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from billing.errors import LedgerMissing, LedgerUnavailable
from billing.schema import (
    FINANCE_LOCK,
    database_path,
    engine_url,
    hidden,
    is_postgresql,
    upgrade,
    upgrade_postgresql,
)

_WAIT_S = 30


@contextmanager
def appending(url: str) -> Iterator[Connection]:
    """One transaction that reads and adds; nothing else is written to the ledger meanwhile.

    It is committed where the block ends, and not at all where the block raises.

    Raises:
        LedgerMissing: there is no such file; it is not made.
        LedgerUnavailable: the database cannot be opened or written.
    """
    postgresql = is_postgresql(url)
    if postgresql:
        upgrade_postgresql(url)
        engine = sa.create_engine(engine_url(url))
    else:
        path = database_path(url)
        if not path.exists():
            raise LedgerMissing(path.absolute())
        upgrade(path)
        # The driver opens no transaction of its own: ours takes the write lock at once.
        engine = sa.create_engine(url, connect_args={"timeout": _WAIT_S, "isolation_level": None})
    try:
        with engine.connect() as db:
            if postgresql:
                db.execute(sa.text(f"SELECT pg_advisory_xact_lock({FINANCE_LOCK})"))
                db.execute(sa.text("LOCK TABLE receipts IN SHARE MODE"))
            else:
                db.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                _end(db, postgresql=postgresql, done=False)
                raise
            _end(db, postgresql=postgresql, done=True)
    except sa.exc.SQLAlchemyError as error:
        raise LedgerUnavailable(f"cannot write the ledger {hidden(url)}: {error}") from error
    finally:
        engine.dispose()


def _end(db: Connection, *, postgresql: bool, done: bool) -> None:
    if postgresql:
        if done:
            db.commit()
        else:
            db.rollback()
    else:
        db.exec_driver_sql("COMMIT" if done else "ROLLBACK")

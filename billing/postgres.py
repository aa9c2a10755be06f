"""The ledger's PostgreSQL half: the same groups of postings, several writers, one chain.

A group is one transaction: it locks the end of the hash chain, links its receipts to it and
copies them in. So the chain has one order, whichever machine posted, and a group that is
tried again adds nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

import orjson
import psycopg
from psycopg import sql

from billing import rollup
from billing.chain import START
from billing.counters import Spend
from billing.errors import LedgerUnavailable
from billing.journal import Position
from billing.late import CLOSED_UNTIL, in_open_month
from billing.receipt import Receipt, from_fields
from billing.schema import FINANCE_LOCK, driver_url, hidden, upgrade_postgresql
from billing.spend import Look, spends
from billing.store_rows import (
    ATTEMPT_COLUMNS,
    HOLD_COLUMNS,
    LINE_COLUMNS,
    RECEIPT_COLUMNS,
    Group,
    OpenHold,
    Whose,
    hold_row,
    linked,
    newest,
    spend_query,
    spends_of,
)

_CHAIN_LOCK = 0x77656973
_OPTIONS = "-c statement_timeout=60000 -c idle_in_transaction_session_timeout=20000"
_CONNECT_S = 5
# A machine that drops off the network in the middle of a transaction says nothing: without
# these its locks would keep all others waiting for as long as the kernel believes in it (hours).
_GONE = (
    "-c idle_in_transaction_session_timeout=5000 "
    "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
)
_SILENT_MS = 20_000
"""So long may the server not acknowledge what was sent."""

T = TypeVar("T")


class PostgresStore:
    """One PostgreSQL database, brought to this version's schema. Safe to use from any thread.

    ``writer`` names this process; each has a journal of its own on its machine's disk. What
    is committed survives power loss.
    """

    def __init__(self, url: str, *, writer: str = "") -> None:
        upgrade_postgresql(url)
        self.writer = writer
        self._write = Link(url, f"{_OPTIONS} -c synchronous_commit=on")
        self._read = Link(url, f"{_OPTIONS} -c default_transaction_read_only=on")

    def position(self) -> Position:
        """How far this writer's journal is in the tables."""
        rows = self._read.rows(
            'SELECT number, "offset" FROM positions WHERE writer = %s', self.writer
        )
        return Position(*rows[0]) if rows else Position(0, 0)

    def write(self, group: Group) -> None:
        """All of a group is in the database, or none of it.

        Raises:
            LedgerUnavailable: it cannot be reached or refuses.
        """
        self._write.run(lambda cursor: self._post(cursor, group))

    def roll_up(self, most: int) -> int:
        """The next receipts, at most so many, are in the roll-ups; how many are still not.

        Nothing is done while another process is at it, or books.

        Raises:
            LedgerUnavailable: as for ``write``; nothing was changed.
        """

        def work(cursor: psycopg.Cursor[Any]) -> int:
            free = rows_of(cursor, f"SELECT pg_try_advisory_xact_lock({FINANCE_LOCK})")
            run = partial(rows_of, cursor)
            return rollup.roll_up(run, most) if free[0][0] else 0

        return self._write.run(work)

    def clear_rollups(self) -> None:
        """There are no roll-ups. Raises LedgerUnavailable."""

        def work(cursor: psycopg.Cursor[Any]) -> None:
            rows_of(cursor, f"SELECT pg_advisory_xact_lock({FINANCE_LOCK})")
            rollup.clear(partial(rows_of, cursor))

        self._write.run(work)

    def checkpoint(self) -> None:
        """What was committed is on the server's disk already."""

    def holds(self) -> list[OpenHold]:
        """This writer's holds that were open when its tables were last written."""
        rows = self._read.rows(
            "SELECT request_id, at_ms, amount_nano, team, body FROM holds WHERE writer = %s",
            self.writer,
        )
        return [OpenHold(*row) for row in rows]

    def strays(self, before_ms: int, known: frozenset[str]) -> list[OpenHold]:
        """Holds older than an instant whose writer is none of ``known``."""
        rows = self._read.rows(
            "SELECT request_id, at_ms, amount_nano, team, body FROM holds "
            "WHERE at_ms < %s AND NOT writer = ANY(%s)",
            before_ms,
            sorted(known),
        )
        return [OpenHold(*row) for row in rows]

    def receipt(self, request_id: str) -> Receipt | None:
        """The receipt of a request, or None."""
        rows = self._read.rows("SELECT body FROM receipts WHERE request_id = %s", clean(request_id))
        return from_fields(orjson.loads(rows[0][0])) if rows else None

    def posted(self, request_id: str) -> bool:
        """Whether a request has its receipt."""
        query = "SELECT 1 FROM receipts WHERE request_id = %s"
        return bool(self._read.rows(query, clean(request_id)))

    def receipts(
        self, team: str | None, session: str | None, task: str | None, limit: int
    ) -> list[Receipt]:
        """The newest receipts that match, newest first."""
        query, values = newest((team, session, task), limit, "%s")
        cleaned = [clean(value) if isinstance(value, str) else value for value in values]
        return [from_fields(orjson.loads(row[0])) for row in self._read.rows(query, *cleaned)]

    def spend_since(
        self, start_ms: int, bucket_ms: int, whose: Whose | None = None
    ) -> Iterable[Spend]:
        """Cost by key, user and bucket of time from an instant on; of all, or some writers."""
        query, writers = spend_query(start_ms, bucket_ms, whose, "%s")
        return spends_of(self._read.rows(query, *writers))

    def spends(self, look: Look, whose: Whose | None = None) -> list[Spend]:
        """Cost by key, user and time, as ``look`` needs it; of all, or some writers."""

        def work(cursor: psycopg.Cursor[Any]) -> list[Spend]:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

            def ask(query: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
                cursor.execute(query.replace("?", "%s").encode(), values or None)
                return cursor.fetchall()

            return spends(ask, look, whose)

        return self._read.run(work)

    def latest_ms(self) -> int:
        """The newest posting's instant; 0 for an empty ledger."""
        return int(self._read.rows("SELECT MAX(posted_ms) FROM receipts")[0][0] or 0)

    def forget(self) -> None:
        """This writer is gone for good: nothing is left of it but its rows."""
        query = "DELETE FROM positions WHERE writer = %s"
        self._write.run(lambda cursor: cursor.execute(query, (self.writer,)))

    def identity(self, otherwise: str) -> str:
        """The name this ledger goes by; ``otherwise`` becomes it where it has none yet."""
        query = "INSERT INTO facts VALUES ('ledger', %s) ON CONFLICT DO NOTHING"
        self._write.run(lambda cursor: cursor.execute(query, (otherwise,)))
        return str(self._read.rows("SELECT value FROM facts WHERE name = 'ledger'")[0][0])

    def close(self) -> None:
        """Both connections are closed."""
        self._write.close()
        self._read.close()

    def _post(self, cursor: psycopg.Cursor[Any], group: Group) -> None:
        if group.receipts:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_CHAIN_LOCK,))
            cursor.execute("SELECT seq, chain FROM receipts ORDER BY seq DESC LIMIT 1")
            last = cursor.fetchone()
            cursor.execute(CLOSED_UNTIL)
            closed = cursor.fetchone()
            group = in_open_month(group, closed[0] if closed else 0)
            ids = [row[0] for row in group.receipts]
            cursor.execute("SELECT request_id FROM receipts WHERE request_id = ANY(%s)", (ids,))
            known = {row[0] for row in cursor.fetchall()}
            head = (last[0], bytes(last[1])) if last else (0, START)
            new = linked(group, head, known, self.writer)
            copy_in(cursor, "receipts", RECEIPT_COLUMNS, new.receipts)
            copy_in(cursor, "lines", LINE_COLUMNS, once(new.lines, 4))
            copy_in(cursor, "attempts", ATTEMPT_COLUMNS, once(new.attempts, 2))
        if group.closed:
            cursor.execute("DELETE FROM holds WHERE request_id = ANY(%s)", (list(group.closed),))
        if group.opened:
            ids = list(group.opened)
            cursor.execute("DELETE FROM holds WHERE request_id = ANY(%s)", (ids,))
            rows = [hold_row(held, self.writer) for held in group.opened.values()]
            copy_in(cursor, "holds", HOLD_COLUMNS, rows)
        if group.position is not None:
            cursor.execute(
                "INSERT INTO positions VALUES (%s, %s, %s) ON CONFLICT (writer) DO UPDATE "
                'SET number = EXCLUDED.number, "offset" = EXCLUDED."offset"',
                (self.writer, group.position.number, group.position.offset),
            )


class Link:
    """A connection that is made anew after it broke. Safe to use from any thread.

    ``patience_s``: how long to wait for the server when connecting. A transaction that is
    left open for five seconds, where ``options`` do not say otherwise, is undone by the server.
    """

    def __init__(self, url: str, options: str, patience_s: int = _CONNECT_S) -> None:
        self._url, self._where = driver_url(url), hidden(url)
        self._options, self._patience_s = f"{_GONE} {options}", patience_s
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query. Raises LedgerUnavailable."""

        def ask(cursor: psycopg.Cursor[Any]) -> list[tuple[Any, ...]]:
            cursor.execute(query.encode(), values)
            return cursor.fetchall()

        return self.run(ask)

    def run(self, work: Callable[[psycopg.Cursor[Any]], T]) -> T:
        """What ``work`` gives, done in one transaction; once more where the connection broke.

        Raises:
            LedgerUnavailable: the server cannot be reached or refuses.
        """
        with self._lock:
            fresh = self._connection is None
            try:
                return self._once(work)
            except psycopg.Error as error:
                self._drop()
                if fresh or not isinstance(error, psycopg.OperationalError):
                    raise LedgerUnavailable(self._told(error)) from error
            try:
                return self._once(work)
            except psycopg.Error as error:
                self._drop()
                raise LedgerUnavailable(self._told(error)) from error

    def close(self) -> None:
        """The connection is closed."""
        with self._lock:
            self._drop()

    def _once(self, work: Callable[[psycopg.Cursor[Any]], T]) -> T:
        if self._connection is None:
            self._connection = psycopg.connect(
                self._url,
                connect_timeout=self._patience_s,
                options=self._options,
                keepalives_idle=5,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=_SILENT_MS,
            )
        with self._connection.transaction(), self._connection.cursor() as cursor:
            return work(cursor)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _told(self, error: psycopg.Error) -> str:
        return f"the database {self._where} does not answer: {str(error).strip()}"


def rows_of(cursor: psycopg.Cursor[Any], query: str) -> list[tuple[Any, ...]]:
    """The rows of a statement, if it has any."""
    cursor.execute(query.encode())
    return cursor.fetchall() if cursor.description else []


def clean(text: str) -> str:
    """Text as PostgreSQL can hold it: neither NUL nor half a surrogate pair."""
    if text.isascii() and "\0" not in text:  # nearly all of it
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def copy_in(
    cursor: psycopg.Cursor[Any],
    table: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
) -> None:
    """Rows are in a table, by COPY."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    query = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
    with cursor.copy(query) as copy:
        for row in rows:
            copy.write_row([clean(v) if isinstance(v, str) else v for v in row])


def once(rows: Iterable[tuple[object, ...]], keys: int) -> Iterable[tuple[object, ...]]:
    """Rows whose first ``keys`` columns differ; of equal ones the first."""
    found: dict[tuple[object, ...], tuple[object, ...]] = {}
    for row in rows:
        found.setdefault(row[:keys], row)
    return found.values()

"""Bodies kept for as long as the policy says: what was asked, what was sent, what was answered.

`record.bodies` of the nearest node decides, per team or project; without it nothing comes here.
An audit rebuilds from them what a cut left out. They are no postings: they go when their time
is over, and when there are too many, the oldest first. Receipts never need them.

They lie apart from the ledger, so that it stays small and they can be deleted for good: with
SQLite in ``<database>.bodies`` (readable by this account alone, deleted pages overwritten),
with PostgreSQL in the table ``kept_bodies``.

How to use it: ``keep(Kept(...))`` never waits and may be called from an event loop; a thread of
its own compresses and writes. ``find(request_id, team)`` gives one back, from the other
processes of the same database, too. Whoever adds a wire has nothing to do: the pipeline keeps
every request whose key has ``keep_bodies_s`` above 0.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from billing.errors import LedgerUnavailable
from billing.schema import database_path, is_postgresql

if TYPE_CHECKING:
    from billing.postgres import Link

_LOG = logging.getLogger(__name__)
MAX_BODY = 8 << 20
"""Bytes of one request's bodies; larger ones are not kept."""
MAX_QUEUE = 64 << 20
"""Bytes that may wait to be written; beyond it they are dropped, and counted."""
MAX_TOTAL = 4 << 30
"""Bytes, compressed, of all that is kept."""
_SWEEP_S = 60.0
_LENGTH = 4
_TABLE = """
    CREATE TABLE IF NOT EXISTS kept_bodies
        (request_id TEXT PRIMARY KEY, team TEXT NOT NULL, at_ms BIGINT NOT NULL,
         expires_ms BIGINT NOT NULL, size BIGINT NOT NULL, packed {blob} NOT NULL)
"""
_INDEX = "CREATE INDEX IF NOT EXISTS ix_kept_bodies_expires ON kept_bodies (expires_ms)"
_ADD = "INSERT INTO kept_bodies VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"


@dataclass(frozen=True, slots=True)
class Kept:
    """One request's bodies.

    ``received`` is the client's own JSON, ``sent`` what went upstream (b"": the same bytes),
    ``answer`` the text of the answer. Times are UTC epoch ms.
    """

    request_id: str
    team: str
    at_ms: int
    expires_ms: int
    received: bytes
    sent: bytes = b""
    answer: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of all three."""
        return len(self.received) + len(self.sent) + len(self.answer)


class Bodies:
    """The bodies kept beside one ledger. Safe to use from any thread.

    Args:
        url: the ledger's database.
        clock: UTC epoch ms.
        count: told of every body: ``kept``, ``too_large``, ``dropped`` or ``failed``.
        max_total: bytes, compressed, of all that is kept.
    """

    def __init__(
        self,
        url: str,
        clock: Callable[[], int],
        count: Callable[[str], None] = lambda outcome: None,
        max_total: int = MAX_TOTAL,
    ) -> None:
        self._url, self._clock, self._count, self._max_total = url, clock, count, max_total
        self._queue: deque[Kept] = deque()
        self._waiting = 0
        self._state = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._store: _Store | None = None
        self._store_lock = threading.Lock()

    def keep(self, kept: Kept) -> bool:
        """It is on its way; False where it is too large or too many wait."""
        if kept.size > MAX_BODY:
            self._count("too_large")
            return False
        with self._state:
            if self._stopping or self._waiting + kept.size > MAX_QUEUE:
                self._count("dropped")
                return False
            self._queue.append(kept)
            self._waiting += kept.size
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="bodies", daemon=True)
                self._thread.start()
            self._state.notify()
        return True

    def find(self, request_id: str, team: str) -> Kept | None:
        """A team's own, or None where it was never kept or its time is over.

        Raises:
            LedgerUnavailable: the store does not answer.
        """
        with self._state:
            fresh = next((one for one in self._queue if one.request_id == request_id), None)
        if fresh is not None:
            return fresh if fresh.team == team else None
        query = (
            "SELECT at_ms, expires_ms, packed FROM kept_bodies "
            "WHERE request_id = ? AND team = ? AND expires_ms > ?"
        )
        rows = self._opened().rows(query, request_id, team, self._clock())
        if not rows:
            return None
        at_ms, expires_ms, packed = rows[0]
        return Kept(request_id, team, at_ms, expires_ms, *unpacked(bytes(packed)))

    def original(self, request_id: str, team: str) -> bytes | None:
        """The client's own body, byte for byte, or None where it is not kept (any more).

        Raises:
            LedgerUnavailable: the store does not answer.
        """
        found = self.find(request_id, team)
        return None if found is None else found.received

    def sweep(self) -> int:
        """What is past its time is gone, and the oldest of what is too much; how many.

        Raises:
            LedgerUnavailable: the store does not answer.
        """
        store = self._opened()
        gone = store.change("DELETE FROM kept_bodies WHERE expires_ms <= ?", self._clock())
        while True:
            count, total = store.rows("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM kept_bodies")[0]
            if int(total) <= self._max_total:
                return gone
            oldest = (
                "DELETE FROM kept_bodies WHERE request_id IN "
                "(SELECT request_id FROM kept_bodies ORDER BY at_ms LIMIT ?)"
            )
            gone += store.change(oldest, max(1, int(count) // 10))

    def close(self) -> None:
        """What waits is written; the store is closed."""
        with self._state:
            self._stopping = True
            self._state.notify()
        if self._thread is not None:
            self._thread.join(10)
        with self._store_lock:
            if self._store is not None:
                self._store.close()
                self._store = None

    def _run(self) -> None:
        swept = 0.0
        while True:
            with self._state:
                if not self._queue and not self._stopping:
                    self._state.wait(_SWEEP_S)
                if not self._queue and self._stopping:
                    return
                kept = self._queue[0] if self._queue else None
            if kept is not None:
                self._write(kept)
            if time.monotonic() - swept >= _SWEEP_S:
                swept = time.monotonic()
                with suppress(LedgerUnavailable):
                    self.sweep()

    def _write(self, kept: Kept) -> None:
        """One is in the store, or counted as failed; then it leaves the queue."""
        packed = _packed(kept)
        row = (kept.request_id, kept.team, kept.at_ms, kept.expires_ms, len(packed), packed)
        try:
            self._opened().change(_ADD, *row)
            self._count("kept")
        except LedgerUnavailable as error:
            self._count("failed")
            _LOG.error("bodies of request %s are not kept: %s", kept.request_id, error)
        with self._state:
            self._queue.popleft()
            self._waiting -= kept.size

    def _opened(self) -> _Store:
        with self._store_lock:
            if self._store is None:
                self._store = _Server(self._url) if is_postgresql(self._url) else _File(self._url)
            return self._store


class _File:
    """A file of its own beside a SQLite ledger."""

    def __init__(self, url: str) -> None:
        ledger = database_path(url)
        path = ledger.with_name(f"{ledger.name}.bodies")
        try:
            path.touch(mode=0o600)
        except OSError as error:
            raise LedgerUnavailable(f"cannot keep bodies in {path}: {error}") from error
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path, timeout=10, isolation_level=None, check_same_thread=False
        )
        pragmas = ("auto_vacuum = FULL", "journal_mode = WAL", "secure_delete = ON")
        for statement in (
            *(f"PRAGMA {one}" for one in pragmas),
            _TABLE.format(blob="BLOB"),
            _INDEX,
        ):
            self.change(statement)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise LedgerUnavailable(f"cannot read kept bodies: {error}") from error

    def change(self, statement: str, *values: object) -> int:
        """How many rows were changed."""
        with self._lock:
            try:
                return self._connection.execute(statement, values).rowcount
            except sqlite3.Error as error:
                raise LedgerUnavailable(f"cannot keep bodies: {error}") from error

    def close(self) -> None:
        """The file is closed."""
        with self._lock:
            self._connection.close()


class _Server:
    """A table of its own in the ledger's PostgreSQL database."""

    def __init__(self, url: str) -> None:
        from billing.postgres import Link

        self._link: Link = Link(url, "-c statement_timeout=10000")
        self.change(_TABLE.format(blob="BYTEA"))
        self.change(_INDEX)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self._link.rows(query.replace("?", "%s"), *values)

    def change(self, statement: str, *values: object) -> int:
        """How many rows were changed."""
        text = statement.replace("?", "%s").encode()
        return self._link.run(lambda cursor: cursor.execute(text, values).rowcount)

    def close(self) -> None:
        """The connection is closed."""
        self._link.close()


_Store = _File | _Server


def _packed(kept: Kept) -> bytes:
    parts = (kept.received, kept.sent, kept.answer)
    framed = b"".join(len(part).to_bytes(_LENGTH, "big") + part for part in parts)
    return zlib.compress(framed, 1)


def unpacked(packed: bytes) -> tuple[bytes, ...]:
    """The bodies of a row: received, sent, answer."""
    framed = zlib.decompress(packed)
    parts, at = [], 0
    while at < len(framed):
        size = int.from_bytes(framed[at : at + _LENGTH], "big")
        parts.append(framed[at + _LENGTH : at + _LENGTH + size])
        at += _LENGTH + size
    return tuple(parts)

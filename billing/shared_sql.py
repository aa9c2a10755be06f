"""Claims in SQL: a file for the processes of one machine, PostgreSQL for several machines.

The same statements on both. SQLite takes its write lock for a transaction; PostgreSQL takes
an advisory lock a slot, in one order, so that processes of different teams do not meet.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from billing.errors import LedgerUnavailable
from billing.shared import Answer, Ask, Base, Member, Others, Slot, cut
from billing.store import connect

if TYPE_CHECKING:
    from billing.postgres import Link

TABLES = """
    CREATE TABLE IF NOT EXISTS budget_members
        (member TEXT PRIMARY KEY, ledger TEXT NOT NULL, seen_ms BIGINT NOT NULL);
    CREATE TABLE IF NOT EXISTS budget_claims
        (budget TEXT NOT NULL, start_ms BIGINT NOT NULL, member TEXT NOT NULL,
         claim BIGINT NOT NULL, spent BIGINT NOT NULL, held BIGINT NOT NULL,
         PRIMARY KEY (budget, start_ms, member));
    CREATE TABLE IF NOT EXISTS budget_base
        (budget TEXT NOT NULL, bucket_ms BIGINT NOT NULL, ledger TEXT NOT NULL,
         amount BIGINT NOT NULL, PRIMARY KEY (budget, bucket_ms, ledger));
    CREATE TABLE IF NOT EXISTS budget_covered
        (ledger TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (ledger, name));
    CREATE TABLE IF NOT EXISTS budget_wanted
        (budget TEXT NOT NULL, start_ms BIGINT NOT NULL, at_ms BIGINT NOT NULL,
         PRIMARY KEY (budget, start_ms))
"""
WANTED_MS = 2_000
"""How long a refusal keeps others from holding more than they use."""
_MEMBERSHIP = "members"
_OTHERS = """
    SELECT COALESCE(SUM(claim), 0), COALESCE(SUM(spent), 0), COALESCE(SUM(held), 0),
        (SELECT COALESCE(SUM(amount), 0) FROM budget_base
            WHERE budget = ? AND bucket_ms BETWEEN ? AND ?),
        (SELECT COALESCE(MAX(at_ms), 0) FROM budget_wanted WHERE budget = ? AND start_ms = ?)
    FROM budget_claims WHERE budget = ? AND start_ms = ? AND member <> ?
"""
_SET = """
    INSERT INTO budget_claims VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (budget, start_ms, member)
    DO UPDATE SET claim = EXCLUDED.claim, spent = EXCLUDED.spent, held = EXCLUDED.held
"""
_ADD = """
    INSERT INTO budget_base VALUES (?, ?, ?, ?) ON CONFLICT (budget, bucket_ms, ledger)
    DO UPDATE SET amount = budget_base.amount + EXCLUDED.amount
"""
_WANT = """
    INSERT INTO budget_wanted VALUES (?, ?, ?)
    ON CONFLICT (budget, start_ms) DO UPDATE SET at_ms = EXCLUDED.at_ms
"""

T = TypeVar("T")
Run = Callable[..., list[tuple[Any, ...]]]


class Session(Protocol):
    """How one kind of database does a transaction."""

    def locked(self, names: Iterable[str], work: Callable[[Run], T]) -> T:
        """What ``work(run)`` gives, alone among all processes as to these names."""

    def close(self) -> None:
        """The connection is closed."""


class SqlShares:
    """Claims in a SQL database. Safe to use from any thread."""

    def __init__(self, session: Session) -> None:
        self._session = session
        session.locked([_MEMBERSHIP], _create)

    def clear(self) -> None:
        """Nothing is claimed and no base is known: for the first process on a machine."""

        def work(run: Run) -> None:
            for table in ("members", "claims", "base", "covered", "wanted"):
                run(f"DELETE FROM budget_{table}")  # noqa: S608 - constant names

        self._session.locked([_MEMBERSHIP], work)

    def join(self, member: str, ledger: str, at_ms: int) -> None:
        """The store knows this process."""
        query = (
            "INSERT INTO budget_members VALUES (?, ?, ?) "
            "ON CONFLICT (member) DO UPDATE SET seen_ms = EXCLUDED.seen_ms"
        )
        self._session.locked([_MEMBERSHIP], lambda run: run(query, member, ledger, at_ms))

    def members(self) -> dict[str, Member]:
        """Every process the store knows."""
        return self._session.locked([], _members)

    def claim(self, member: str, asks: Sequence[Ask], at_ms: int) -> Answer:
        """Every claim is raised to what is needed and a slice more, or none is."""

        def work(run: Run) -> Answer:
            known = _members(run)
            if member not in known:
                return Answer(None, (), known=False)
            others = tuple(_others(run, member, ask.slot, at_ms) for ask in asks)
            pairs = list(zip(asks, others, strict=True))
            found = [(ask, cut(ask, other, len(known))) for ask, other in pairs]
            lacking = [ask.slot for ask, claim in found if claim is None]
            for slot in lacking:
                run(_WANT, slot.budget, slot.start_ms, at_ms)
            claims = tuple(claim for _, claim in found if claim is not None)
            if lacking:
                return Answer(None, others)
            _set(run, member, asks, claims)
            return Answer(claims, others)

        return self._session.locked([_own(member), *(ask.slot.budget for ask in asks)], work)

    def report(
        self, member: str, asks: Sequence[Ask], at_ms: int, *, joining: bool = False
    ) -> Answer:
        """Every claim is exactly what is needed, whatever the limit; 0 removes it."""
        del joining  # a database does not forget its base

        def work(run: Run) -> Answer:
            query = "UPDATE budget_members SET seen_ms = ? WHERE member = ? RETURNING member"
            if not run(query, at_ms, member):
                return Answer(None, (), known=False)
            claims = tuple(ask.need_nano for ask in asks)
            _set(run, member, asks, claims)
            others = tuple(_others(run, member, ask.slot, at_ms) for ask in asks)
            return Answer(claims, others)

        return self._session.locked([_own(member), *(ask.slot.budget for ask in asks)], work)

    def covered(self, ledger: str) -> set[str]:
        """The budgets whose base is known for a ledger."""
        query = "SELECT name FROM budget_covered WHERE ledger = ?"
        return {row[0] for row in self._session.locked([], lambda run: run(query, ledger))}

    def derive(
        self, ledger: str, names: Iterable[str], base: Sequence[Base], alive: frozenset[str]
    ) -> bool:
        """The ledger's base of these budgets is this, unless its processes have changed."""
        known = sorted(names)

        def work(run: Run) -> bool:
            if {m for m, said in _members(run).items() if said.ledger == ledger} != alive:
                return False
            for name in known:
                of_users = f"{name}\t"
                run(
                    "DELETE FROM budget_base WHERE ledger = ? AND (budget = ? OR "
                    "SUBSTR(budget, 1, ?) = ?)",
                    ledger,
                    name,
                    len(of_users),
                    of_users,
                )
                run("INSERT INTO budget_covered VALUES (?, ?) ON CONFLICT DO NOTHING", ledger, name)
            for row in base:
                run(_ADD, row.budget, row.bucket_ms, ledger, row.amount_nano)
            return True

        return self._session.locked([_MEMBERSHIP, *(row.budget for row in base), *known], work)

    def fold(self, member: str, base: Sequence[Base]) -> bool:
        """A process is gone: its claims are this base; False where it was gone already."""

        def work(run: Run) -> bool:
            gone = run("DELETE FROM budget_members WHERE member = ? RETURNING ledger", member)
            if not gone:
                return False
            run("DELETE FROM budget_claims WHERE member = ?", member)
            for row in base:
                run(_ADD, row.budget, row.bucket_ms, gone[0][0], row.amount_nano)
            return True

        names = [_MEMBERSHIP, _own(member), *(row.budget for row in base)]
        return self._session.locked(names, work)

    def close(self) -> None:
        """The connection is closed."""
        self._session.close()


class SqliteSession:
    """A file beside the database; what is in it can be derived again after a power loss."""

    def __init__(self, path: Path) -> None:
        self._connection = connect(path)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._lock = threading.Lock()

    def locked(self, _: Iterable[str], work: Callable[[Run], T]) -> T:
        """What ``work`` gives, alone among all processes."""
        with self._lock:
            try:
                with self._connection:
                    self._connection.execute("BEGIN IMMEDIATE")
                    return work(self._run)
            except sqlite3.Error as error:
                raise LedgerUnavailable(f"cannot share budgets: {error}") from error

    def close(self) -> None:
        """The connection is closed."""
        with self._lock:
            self._connection.close()

    def _run(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(query, values).fetchall()


class PostgresSession:
    """The ledger's own PostgreSQL database."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def locked(self, names: Iterable[str], work: Callable[[Run], T]) -> T:
        """What ``work`` gives, alone among all processes as to these names."""
        keys = sorted({_lock_key(name) for name in names})

        def transaction(cursor: Any) -> T:
            def run(query: str, *values: object) -> list[tuple[Any, ...]]:
                cursor.execute(query.replace("?", "%s"), values)
                return cursor.fetchall() if cursor.description else []

            if keys:
                run("SELECT pg_advisory_xact_lock(k) FROM unnest(?::bigint[]) AS k", keys)
            return work(run)

        return self._link.run(transaction)

    def close(self) -> None:
        """The connection is closed."""
        self._link.close()


def _create(run: Run) -> None:
    for statement in TABLES.split(";"):
        run(statement)


def _members(run: Run) -> dict[str, Member]:
    rows = run("SELECT member, ledger, seen_ms FROM budget_members")
    return {member: Member(ledger, seen_ms) for member, ledger, seen_ms in rows}


def _others(run: Run, member: str, slot: Slot, at_ms: int) -> Others:
    name, start = slot.budget, slot.start_ms
    values = (name, slot.since_ms, slot.last_ms, name, start, name, start, member)
    claimed, spent, held, base, wanted = (int(value) for value in run(_OTHERS, *values)[0])
    return Others(base + claimed, base + spent, held, at_ms - wanted < WANTED_MS)


def _set(run: Run, member: str, asks: Sequence[Ask], claims: Sequence[int]) -> None:
    for ask, claim in zip(asks, claims, strict=True):
        slot = ask.slot
        if claim or ask.spent_nano or ask.held_nano:
            row = (slot.budget, slot.start_ms, member, claim, ask.spent_nano, ask.held_nano)
            run(_SET, *row)
        else:
            query = "DELETE FROM budget_claims WHERE budget = ? AND start_ms = ? AND member = ?"
            run(query, slot.budget, slot.start_ms, member)


def _own(member: str) -> str:
    """What a process's own claims are locked by, so that it is not buried while it claims."""
    return f"member {member}"


def _lock_key(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)

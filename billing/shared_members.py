"""Processes that write one ledger from one machine: who lives, and what the dead have left.

Each has a journal of its own and a lock file that the system frees when it dies, however it
dies. ``<database>.lock`` is shared by all of them, or taken whole by a process that is alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from billing.accounts import Accounts
from billing.counters import Counters
from billing.errors import LedgerUnavailable
from billing.recovery import recover
from billing.shared import Base, Shares, base_of, definitions
from billing.spend import look_back
from billing.store_rows import Tables, Whose

_MARK = "w-"
_STEP_S = 0.02
_TRIES = 50


class Seat:
    """This process's place: its name, its journal's path and the locks that say it lives."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.member = f"{_MARK}{uuid.uuid4().hex[:12]}"
        self.journal = journal_of(base, self.member)
        self._gate: IO[bytes] | None = None
        self._own: IO[bytes] | None = None

    def take(self, wait_s: float, first: Callable[[], None]) -> None:
        """The locks are held; ``first`` has run where no other process is here.

        ``wait_s`` is for a process that keeps the ledger for itself. One that is just making
        the tables for all is waited for as long as it lives.

        Raises:
            LedgerUnavailable: a process that shares with nobody has this ledger.
        """
        try:
            self.base.parent.mkdir(parents=True, exist_ok=True)
            gate = self.base.with_name(f"{self.base.name}.lock").open("ab")
        except OSError as error:
            raise LedgerUnavailable(f"cannot use {self.base}: {error}") from error
        try:
            if lock(gate, fcntl.LOCK_EX):
                with self._starting().open("ab") as starting:
                    while not lock(starting, fcntl.LOCK_EX):  # somebody just looks at it
                        time.sleep(_STEP_S)
                    first()
            deadline = time.monotonic() + wait_s
            while not lock(gate, fcntl.LOCK_SH):
                if self._being_started():
                    deadline = time.monotonic() + wait_s
                elif time.monotonic() > deadline:
                    raise LedgerUnavailable(
                        f"another process has {self.base} for itself: stop it, or name another "
                        f"database"
                    )
                time.sleep(_STEP_S)
            path = lock_file(self.journal)
            fresh = path.with_name(f"{path.name}.new")  # nobody finds it before it is locked
            own = fresh.open("ab")
            lock(own, fcntl.LOCK_EX)
            fresh.rename(path)
        except BaseException:
            gate.close()
            raise
        self._gate, self._own = gate, own

    def _starting(self) -> Path:
        return self.base.with_name(f"{self.base.name}.starting")

    def _being_started(self) -> bool:
        """Whether a process that shares is making the ledger ready for all."""
        try:
            with self._starting().open("rb") as file:
                return not lock(file, fcntl.LOCK_SH)
        except FileNotFoundError:
            return False

    def leave(self, *, buried: bool) -> None:
        """The locks are free; ``buried``: nothing of this process is left for others to do."""
        if self._own is not None:
            if buried:
                lock_file(self.journal).unlink(missing_ok=True)
            self._own.close()
        if self._gate is not None:
            self._gate.close()
        self._own = self._gate = None

    def dead(self) -> Iterator[str]:
        """Processes of this machine that are gone; each stays locked while it is looked at."""
        for member in members_of(self.base):
            path = lock_file(journal_of(self.base, member))
            if member == self.member:
                continue
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                if lock(file, fcntl.LOCK_EX) and path.exists():
                    yield member
                    path.unlink(missing_ok=True)


def journal_of(base: Path, member: str) -> Path:
    """What a process's journal files begin with."""
    return base.with_name(f"{base.name}.{member}")


def members_of(base: Path) -> list[str]:
    """Processes that are alive on this machine, or have left something."""
    prefix = f"{base.name}."
    found = base.parent.glob(f"{prefix}{_MARK}*.lock")
    return sorted(path.name.removeprefix(prefix).removesuffix(".lock") for path in found)


def lock_file(journal: Path) -> Path:
    """The file that a living process keeps locked."""
    return journal.with_name(f"{journal.name}.lock")


def lock(file: IO[bytes], kind: int) -> bool:
    """Whether a lock could be had at once."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def bury(
    journal: Path, tables: Tables, shares: Shares | None, accounts: Accounts, now_ms: int
) -> None:
    """A dead process's journal is in the tables, its holds are charged, its claims are base.

    Doing it twice, or by two processes at once, is doing it once.

    Raises:
        LedgerUnavailable: a journal cannot be read, the tables cannot be written, or the
            shared store does not answer; what was done stays done.
    """
    recover(journal, tables)
    if shares is not None:
        whose = Whose(only=tables.writer)
        shares.fold(tables.writer, past(tables, accounts, now_ms, whose))
    tables.forget()


def past(tables: Tables, accounts: Accounts, now_ms: int, whose: Whose) -> list[Base]:
    """The spend of some writers in the windows open now."""
    counters = Counters(accounts)
    now = counters.now(max(now_ms, tables.latest_ms()))
    return base_of(accounts, tables.spends(look_back(accounts, now), whose), now)


def ensure_base(
    tables: Tables,
    shares: Shares,
    ledger: str,
    accounts: Accounts,
    now_ms: int,
    *,
    anew: bool = False,
) -> None:
    """The base of every budget is known: derived ``anew``, too, where nobody else is alive.

    Raises:
        LedgerUnavailable: the store or the tables do not answer.
    """
    names = definitions(accounts)
    for _ in range(_TRIES):
        alive = frozenset(m for m, said in shares.members().items() if said.ledger == ledger)
        missing = names - shares.covered(ledger)
        if anew or alive <= {tables.writer}:
            missing = names
        if not missing:
            return
        found = past(tables, accounts, now_ms, Whose(without=alive))
        base = [row for row in found if row.budget.split("\t", 1)[0] in missing]
        if shares.derive(ledger, missing, base, alive):
            return
        time.sleep(_STEP_S)
    raise LedgerUnavailable("processes come and go too fast to derive the budgets' base")

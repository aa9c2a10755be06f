"""The ledger of a process that shares it: its own journal and writer, budgets by claims.

A hold is checked in memory against what this process has claimed of each window, and the
shared store is asked only where that is too little (docs/decisions/0012-shared-budgets.md).
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from billing.accounts import Accounts
from billing.budget import WindowFigures
from billing.counters import Counter, Counters
from billing.errors import BudgetExhausted, LedgerUnavailable, Throttled
from billing.ledger import Hold, HoldRequest, Ledger
from billing.receipt import Receipt
from billing.recovery import orphan, recover, request_of
from billing.schema import database_path, is_postgresql
from billing.shared import Shares
from billing.shared_members import Seat, bury, ensure_base, journal_of, members_of
from billing.shared_slices import Slices
from billing.store import open_tables
from billing.store_rows import Tables, Whose
from billing.writer import Writer

_LOG = logging.getLogger(__name__)
_TICK_S = 0.1
_BURY_TICKS = 10
_TRIES = 8
_BUSY = "requests of this process wait for the same budget; try again"
_LOOK_S = 1.0
_LOOK_STEP_S = 0.02
_EXPIRE_MS = 900_000
"""A process of another machine that was not heard of for so long is taken over."""


class SharedLedger(Ledger):
    """One process's part in a ledger that several write. Every method is thread-safe.

    Args:
        state: where budgets are shared: None is with the database itself (a file beside a
            SQLite one), or ``redis://...``.
        folder: where this machine's journals lie if the database is not a file.
    """

    def __init__(
        self,
        url: str,
        accounts: Accounts,
        clock: Callable[[], int],
        *,
        state: str | None = None,
        folder: Path | None = None,
    ) -> None:
        super().__init__(url, accounts, clock)
        self._state = state
        self._base = _journals(url, folder)
        self._seat = Seat(self._base)
        self._shares: Shares | None = None
        self._slices: Slices | None = None
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._run, name="ledger-shares", daemon=True)
        self._ledger = ""

    @property
    def member(self) -> str:
        """The name of this process among those that share."""
        return self._seat.member

    def open(self) -> SharedLedger:
        """Dead processes' journals are replayed, this one is known to the others.

        Raises:
            LedgerUnavailable: a process alone has this database, or a store cannot be opened.
        """
        self._shares = shares = open_shares(self._url, self._base, self._state)
        tables = None
        try:
            self._seat.take(self._lock_wait_s, self._first)
            tables = open_tables(self._url, writer=self.member)
            self._ledger = ledger = tables.identity(self.member)
            now = self._clock()
            shares.join(self.member, ledger, now)
            ensure_base(tables, shares, ledger, self._accounts, now)
            self._counters = self._derived(self._accounts, tables)
            self._writer = Writer(self._seat.journal, tables, 1, self._rotate_bytes)
        except BaseException:
            self._seat.leave(buried=False)
            for opened in (tables, shares):
                if opened is not None:
                    opened.close()
            raise
        open_s = float(self._accounts.config.on_store_failure)
        self._slices = Slices(shares, self.member, self._lock, self._rejoin, open_s)
        self._store = tables
        with contextlib.suppress(LedgerUnavailable):  # the next tick tries again
            self._slices.listen(self._counters, self._clock())
        self._ticker.start()
        return self

    def close(self) -> None:
        """Everything is in the database; what was open or claimed is charged and given back."""
        self._stop.set()
        if self._ticker.is_alive():
            self._ticker.join()
        super().close()
        if self._shares is None:
            return
        buried = False
        try:
            if self._store is not None:
                self._bury(self.member)
                buried = True
        except LedgerUnavailable as error:
            _LOG.warning("left for the other processes or the next start: %s", error)
        finally:
            self._seat.leave(buried=buried)
            self._shares.close()
            self._shares = self._store = None

    def hold_now(self, request: HoldRequest) -> Hold | None:
        """As ``hold``; None where it does not fit in what this process has claimed."""
        try:
            return super().hold(request)
        except BudgetExhausted:
            return None

    def hold(self, request: HoldRequest) -> Hold:
        """As for a process alone; within what all processes have.

        Raises:
            Throttled: others hold more than they use; they give it back shortly.
        """

        def along() -> tuple[Counter, ...]:
            now = self._counters.now(request.at_ms)
            return self._counters.along(request.path, request.user, now)

        for attempt in range(_TRIES):
            try:
                return super().hold(request)
            except BudgetExhausted:  # perhaps only this process's slice
                widened = self._sharing().widen(along, request.amount_nano, request.at_ms)
                if attempt and not widened:
                    raise
        raise Throttled(_BUSY, 1.0)

    def extend(self, hold: Hold, amount_nano: int, towards: tuple[str, str] | None = None) -> None:
        """As for a process alone; within what all processes have.

        Raises:
            Throttled: as for ``hold``.
        """

        def open_counters() -> list[Counter]:
            found = self._open.get(hold.request_id)
            return [held.counter for held in found.shares if held.open] if found else []

        for attempt in range(_TRIES):
            try:
                return super().extend(hold, amount_nano, towards)
            except BudgetExhausted:
                widened = self._sharing().widen(open_counters, amount_nano, self._clock())
                if attempt and not widened:
                    raise
        raise Throttled(_BUSY, 1.0)

    def sweep(self, older_than_ms: int) -> int:
        """As for a process alone; one of those alive also charges what no living process has.

        A machine that is gone with its journal, under a store that has forgotten it, leaves
        holds in the tables that nobody else would ever look at.
        """
        count = super().sweep(older_than_ms)
        shares, tables = self._shares, self._tables()
        if shares is None:
            return count
        alive = {m for m, said in shares.members().items() if said.ledger == self._ledger}
        if min(alive, default=self.member) != self.member:
            return count
        known = frozenset({"", self.member, *alive, *members_of(self._base)})
        for left in tables.strays(self._clock() - older_than_ms, known):
            held = Hold(left.request_id, left.amount_nano, left.at_ms)
            request = request_of(orjson.loads(left.body))
            if request.kept:
                continue  # its keeper's process is gone; another one takes it over
            count += self.settle(held, orphan(request, held.amount_nano, held.at_ms, "orphan"))
        return count

    def use(self, accounts: Accounts) -> None:
        """New accounts are in force here; other processes follow when they are told."""
        slices, shares, tables = self._sharing(), self._shares, self._tables()
        if shares is not None:
            ensure_base(tables, shares, self._ledger, accounts, self._clock())
        with slices.io:
            super().use(accounts)
            try:
                slices.rebase(self._counters, self._clock())
            except LedgerUnavailable as error:
                _LOG.warning("the other processes hear of this later: %s", error)

    def budgets(self, path: tuple[str, ...], user: str | None) -> list[WindowFigures]:
        """Every budget window of a path, with what all processes have just now."""
        try:
            now = self._counters.now(self._clock())
            self._sharing().look(lambda: self._counters.along(path, user, now), now)
        except LedgerUnavailable as error:
            _LOG.warning("figures of other processes are old: %s", error)
        return super().budgets(path, user)

    def receipt(self, request_id: str, team: str | None = None) -> Receipt | None:
        """As for a process alone; what another one has just settled is waited for, <= 1 s."""
        deadline = time.monotonic() + _LOOK_S
        while True:
            found = self.at_hand(request_id)
            if found is not None:
                return found if team in (None, found.team) else None
            if time.monotonic() > deadline:
                return None
            time.sleep(_LOOK_STEP_S)

    def _derived(self, accounts: Accounts, store: Tables) -> Counters:
        """Counters of this process alone, summed from its own rows; nothing is claimed yet."""
        counters = Counters(accounts, shared=True)
        now = counters.now(max(self._clock(), store.latest_ms()))
        bucket = min(60_000, accounts.finest_ms)
        mine = Whose(only=self.member)
        counters.load(store.spend_since(counters.earliest(now), bucket, mine), now)
        if counters.burn_ms:
            theirs = Whose(without=frozenset({self.member}))
            counters.seed(store.spend_since(now - counters.burn_ms, bucket, theirs), now)
        return counters

    def _rejoin(self, say_claims: Callable[[], None]) -> None:
        """A store that had forgotten this process knows it, its claims, and then base."""
        shares, now = self._shares, self._clock()
        if shares is None:
            raise LedgerUnavailable("the ledger is not open")
        shares.join(self.member, self._ledger, now)
        say_claims()
        ensure_base(self._tables(), shares, self._ledger, self._accounts, now, anew=True)

    def _first(self) -> None:
        """No other process is here: what earlier ones left is in the tables."""
        if self._state is None and not is_postgresql(self._url):
            forget_claims(self._shares)
        tables = open_tables(self._url)
        try:
            recover(self._base, tables)
        finally:
            tables.close()
        for member in self._seat.dead():
            self._bury(member)

    def _bury(self, member: str) -> None:
        tables = open_tables(self._url, writer=member)
        try:
            journal = journal_of(self._base, member)
            bury(journal, tables, self._shares, self._accounts, self._clock())
        finally:
            tables.close()

    def _run(self) -> None:
        ticks = 0
        while not self._stop.wait(_TICK_S):
            ticks += 1
            try:
                self._sharing().tick(self._counters, self._clock())
                if ticks % _BURY_TICKS == 0:
                    self._bury_dead()
            except LedgerUnavailable:
                continue  # said once where it began; the next tick tries again
            except Exception:  # noqa: BLE001 - the thread must live on
                _LOG.exception("sharing budgets failed; trying again")

    def _bury_dead(self) -> None:
        for member in self._seat.dead():
            _LOG.warning("process %s is dead; its journal is replayed", member)
            self._bury(member)
        if self._shares is None:
            return
        before = self._clock() - _EXPIRE_MS
        for member, said in self._shares.members().items():
            if said.ledger == self._ledger and said.seen_ms < before and member != self.member:
                _LOG.warning("process %s was not heard of for long; it is taken over", member)
                self._bury(member)

    def _sharing(self) -> Slices:
        if self._slices is None:
            raise LedgerUnavailable("the ledger is not open")
        return self._slices


def open_shares(url: str, base: Path, state: str | None) -> Shares:
    """The store of shared budgets for a database.

    Raises:
        LedgerUnavailable: it cannot be opened.
        ValueError: a kind of store that is not known.
    """
    from billing.shared_sql import PostgresSession, SqliteSession, SqlShares

    if state is not None:
        from billing.shared_redis import RedisShares

        return RedisShares(state)
    if is_postgresql(url):
        from billing.postgres import Link

        options = "-c statement_timeout=3000 -c lock_timeout=2000"
        return SqlShares(PostgresSession(Link(url, options, patience_s=2)))
    return SqlShares(SqliteSession(base.with_name(f"{base.name}.budgets")))


def forget_claims(shares: Shares | None) -> None:
    """A store that only this machine has begins empty: the ledger's rows say all."""
    from billing.shared_sql import SqlShares

    if isinstance(shares, SqlShares):
        shares.clear()


def _journals(url: str, folder: Path | None) -> Path:
    """What the names of this machine's journal files begin with."""
    if is_postgresql(url):
        return (folder or Path("weir-journal")) / "weir"
    return database_path(url)

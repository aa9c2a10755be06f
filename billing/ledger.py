"""The append-only ledger: hold before a call, settle after it, release what was not made.

A hold is checked against every window of every ancestor and appended to the journal under
one lock, so ``spent + held <= limit`` at every instant and what a provider may bill is
durable before it is asked. A writer thread brings the journal into SQLite in groups. On
open the journal is replayed; holds that a dead process left are charged in full as
``orphan`` until reconciled: never lost, never free.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import IO

from billing.accounts import Accounts
from billing.budget import Span, WindowFigures
from billing.counters import Counters, Share, path_of, share, unshare
from billing.errors import LedgerUnavailable
from billing.ladder import Brake, Burn, Ladder
from billing.ladder import brake as brake_of
from billing.receipt import Receipt, check, to_fields
from billing.record import record
from billing.recovery import (
    HoldRequest,
    hold_body,
    lock_database,
    orphan,
    recover,
    release_body,
    settle_body,
)
from billing.schema import database_path
from billing.spend import look_back
from billing.store import Store
from billing.store_rows import OpenHold, Tables
from billing.writer import Writer

__all__ = ["Hold", "HoldRequest", "Ledger"]

_ROTATE_BYTES = 64 << 20
_LOCK_WAIT_S = 3.0


@record(frozen=True, slots=True)
class Hold:
    """A reservation: ``amount_nano`` as first held; ``at_ms`` decides the windows it is in."""

    request_id: str
    amount_nano: int
    at_ms: int


@dataclass(slots=True)
class _Open:
    """A hold that is neither settled nor released."""

    request: HoldRequest
    amount_nano: int
    at_ms: int
    shares: list[Share]


class Ledger:
    """One database and its journal; one process at a time. Every method is thread-safe.

    ``clock`` gives UTC epoch milliseconds. ``power_safe``: commits survive power loss, too.
    ``lock_wait_s``: how long ``open`` waits for a process that is just ending.
    """

    def __init__(
        self,
        url: str,
        accounts: Accounts,
        clock: Callable[[], int],
        *,
        power_safe: bool = False,
        rotate_bytes: int = _ROTATE_BYTES,
        lock_wait_s: float = _LOCK_WAIT_S,
    ) -> None:
        self._url = url
        self._accounts = accounts
        self._clock = clock
        self._power_safe = power_safe
        self._rotate_bytes = rotate_bytes
        self._lock_wait_s = lock_wait_s
        self._lock = threading.Lock()
        self._counters = Counters(accounts)
        self._open: dict[str, _Open] = {}
        self._store: Tables | None = None
        self._writer: Writer | None = None
        self._lock_file: IO[bytes] | None = None

    def open(self) -> Ledger:
        """The journal is replayed, windows are derived from the ledger, the writer runs.

        Raises:
            LedgerUnavailable: another process has this database, or it cannot be opened.
        """
        path = database_path(self._url)
        lock_file = lock_database(path, self._lock_wait_s)
        try:
            store = Store(path, power_safe=self._power_safe)
            number = recover(path, store)
            self._counters = self._derived(self._accounts, store)
            self._writer = Writer(path, store, number, self._rotate_bytes)
        except BaseException:
            lock_file.close()
            raise
        self._store, self._lock_file = store, lock_file
        return self

    def close(self) -> None:
        """Everything is in the database; open holds stay for the next open to charge."""
        with self._lock:
            writer, store, lock_file = self._writer, self._store, self._lock_file
            self._writer = None
            if writer is not None:
                writer.close()
        if store is not None:
            store.close()
        if lock_file is not None:
            lock_file.close()

    def hold_now(self, request: HoldRequest) -> Hold | None:
        """As ``hold``; None where that would have to ask other processes first."""
        return self.hold(request)

    def hold(self, request: HoldRequest) -> Hold:
        """The amount is reserved in every window of every ancestor, durably.

        Raises:
            BudgetExhausted: it does not fit; figures of the tightest window.
            LedgerUnavailable: the journal or the database cannot take it.
            ValueError: this request has a hold already, or a negative amount.
        """
        amount = request.amount_nano
        if amount < 0:
            raise ValueError("a hold cannot be negative")
        with self._lock:
            if request.request_id in self._open:
                raise ValueError(f"request {request.request_id} has a hold already")
            at = self._counters.now(request.at_ms)
            self._counters.check_request(request.path, amount, self._accounts.zone, at)
            counters = self._counters.along(request.path, request.user, at)
            self._counters.check(counters, amount, at)
            self._journal_hold(request, amount, at)
            shares = [share(counter, amount) for counter in counters]
            self._open[request.request_id] = _Open(request, amount, at, shares)
        return Hold(request.request_id, amount, at)

    def extend(self, hold: Hold, amount_nano: int, towards: tuple[str, str] | None = None) -> None:
        """``amount_nano`` more is held for the same request.

        ``towards`` is the model and upstream where it is sent now, if that has changed.

        Raises:
            BudgetExhausted: it does not fit; the hold is as before.
            LedgerUnavailable: as for ``hold``.
            ValueError: the hold is not open, or a negative amount.
        """
        if amount_nano < 0:
            raise ValueError("a hold cannot be extended by a negative amount")
        with self._lock:
            found = self._open.get(hold.request_id)
            if found is None:
                raise ValueError(f"request {hold.request_id} has no open hold")
            now = self._counters.now(self._clock())
            total = found.amount_nano + amount_nano
            request, path = found.request, found.request.path
            if towards is not None:
                request = replace(request, model=towards[0], upstream=towards[1])
            self._counters.check_request(path, total, self._accounts.zone, now)
            self._counters.along(path, found.request.user, now)
            alive = [held for held in found.shares if held.open]
            self._counters.check([held.counter for held in alive], amount_nano, now)
            self._journal_hold(request, total, found.at_ms)
            for held in alive:
                held.counter.held_nano += amount_nano
            found.amount_nano, found.request = total, request

    def keep(self, hold: Hold) -> None:
        """The hold outlives the sweep and this process: who keeps it settles it.

        Raises:
            LedgerUnavailable: as for ``hold``.
            ValueError: the hold is not open.
        """
        with self._lock:
            found = self._open.get(hold.request_id)
            if found is None:
                raise ValueError(f"request {hold.request_id} has no open hold")
            kept = replace(found.request, kept=True)
            self._journal_hold(kept, found.amount_nano, found.at_ms)
            found.request = kept

    def settle(self, hold: Hold, receipt: Receipt) -> bool:
        """The receipt is posted, the hold free; False where it was settled before.

        Where the journal has no room the receipt counts all the same and is written later.

        Raises:
            ReceiptInvalid: it does not add up; the hold stays.
            LedgerUnavailable: the ledger is not open.
            ValueError: the receipt is of another request.
        """
        check(receipt)
        if receipt.request_id != hold.request_id:
            raise ValueError(f"hold {hold.request_id} and receipt {receipt.request_id} differ")
        whole, fields = to_fields(receipt)
        with self._lock:
            found = self._open.get(hold.request_id)
            if found is None and self._posted(receipt.request_id):
                return False
            at, held = (found.at_ms, found.amount_nano) if found else (hold.at_ms, 0)
            self._live().append_late(
                settle_body(fields, at, held),
                lambda group: group.post(whole, at, held, fields),
                whole,
            )
            self._open.pop(hold.request_id, None)
            self._charge(found, receipt, at)
        return True

    def release(self, hold: Hold, why: str) -> bool:
        """The hold is free, nothing is charged; False where it was not open."""
        request_id = hold.request_id
        with self._lock:
            found = self._open.get(request_id)
            if found is None:
                return False
            self._live().append_late(
                release_body(request_id, why), lambda group: group.close(request_id)
            )
            del self._open[request_id]
            for held in found.shares:
                unshare(held, found.amount_nano)
        return True

    def sweep(self, older_than_ms: int) -> int:
        """Holds older than this are charged in full as ``provisional``; how many there were.

        For holds whose request is long past its deadline: what a provider may have billed
        is never given back on a guess.
        """
        with self._lock:
            before = self._counters.now(self._clock()) - older_than_ms
            late = [f for f in self._open.values() if f.at_ms < before and not f.request.kept]
        count = 0
        for found in late:
            hold = Hold(found.request.request_id, found.amount_nano, found.at_ms)
            receipt = orphan(found.request, found.amount_nano, found.at_ms, "provisional")
            count += self.settle(hold, receipt)
        return count

    def use(self, accounts: Accounts) -> None:
        """New accounts are in force; past spend is what it was, holds stay held.

        Raises:
            LedgerUnavailable: the ledger could not be read; the old accounts stay.
        """
        with self._lock:
            self._live().flush(30.0)
            counters = self._derived(accounts, self._tables())
            now = counters.now(self._clock())
            for found in self._open.values():
                found.shares = [
                    share(counter, found.amount_nano)
                    for counter in counters.along(found.request.path, found.request.user, now)
                    if counter.budget.span is Span.ROLLING or counter.window.holds(found.at_ms)
                ]
            self._accounts, self._counters = accounts, counters

    def budgets(self, path: tuple[str, ...], user: str | None) -> list[WindowFigures]:
        """Every budget window of a path as the next hold would find it."""
        return self._figures(path, user)

    def tightest(self, path: tuple[str, ...], user: str | None) -> WindowFigures | None:
        """The window with the smallest share left, or None without budgets."""
        return min(self._figures(path, user), key=WindowFigures.tightness, default=None)

    def _figures(self, path: tuple[str, ...], user: str | None) -> list[WindowFigures]:
        with self._lock:
            now = self._counters.now(self._clock())
            return [counter.figures(now) for counter in self._counters.along(path, user, now)]

    def brake(self, path: tuple[str, ...], user: str | None, at_ms: int) -> Brake:
        """What the nearest ladder asks of a new request, less what its key forbids."""
        with self._lock:
            ladder = _nearest(self._accounts, path)
            if ladder is None:
                return Brake()
            now = self._counters.now(at_ms)
            counters = self._counters.along(path, user, now)
            burns = [r.threshold for r in ladder.rungs if isinstance(r.threshold, Burn)]
            total = brake_of(ladder, self._counters.readings(counters, burns, now))
            key = self._accounts.named(path[-1].rsplit("/", 1)[-1])
        return total.without(key.forbid) if key else total

    def receipt(self, request_id: str, team: str | None = None) -> Receipt | None:
        """A request's receipt, or None where there is none (or it is another team's)."""
        found = self.at_hand(request_id)
        return found if found and team in (None, found.team) else None

    def at_hand(self, request_id: str) -> Receipt | None:
        """A request's receipt as far as this process can see it now."""
        return self._live().find(request_id) or self._tables().receipt(request_id)

    def receipts(
        self,
        team: str | None,
        *,
        session: str | None = None,
        task: str | None = None,
        limit: int = 100,
    ) -> list[Receipt]:
        """The newest receipts that match, newest first, also those not yet in the tables."""
        wanted = {
            found.request_id: found
            for found in self._live().fresh().values()
            if team in (None, found.team)
            and session in (None, found.session)
            and task in (None, found.task)
        }
        for stored in self._tables().receipts(team, session, task, limit):
            wanted.setdefault(stored.request_id, stored)
        ordered = sorted(wanted.values(), key=lambda r: (r.at_ms, r.request_id), reverse=True)
        return ordered[:limit]

    def open_holds(self) -> tuple[int, int]:
        """How many holds are open and their sum, nano-USD."""
        with self._lock:
            return len(self._open), sum(found.amount_nano for found in self._open.values())

    def trouble(self) -> str | None:
        """Why the journal or the database cannot be written just now, or None."""
        with self._lock:
            writer = self._live()
            return writer.refusal() or writer.trouble

    def refusing(self) -> str | None:
        """Why no new request can be held just now, or None; the tables may still be behind."""
        with self._lock:
            return self._live().refusal()

    def flush(self, timeout_s: float = 30.0) -> None:
        """Everything appended so far is in the database. Raises LedgerUnavailable."""
        self._live().flush(timeout_s)

    def _journal_hold(self, request: HoldRequest, amount: int, at_ms: int) -> None:
        body = hold_body(request, amount, at_ms)
        held = OpenHold(request.request_id, at_ms, amount, request.team, body)
        self._live().append(body, lambda group: group.hold(held))

    def _charge(self, found: _Open | None, receipt: Receipt, at_ms: int) -> None:
        """The cost counts in the windows the hold was in; a late one in those still open."""
        if found is not None:
            for held in found.shares:
                if unshare(held, found.amount_nano):
                    held.counter.add(at_ms, receipt.cost_nano)
            return
        path = path_of(receipt.team, receipt.project, receipt.key)
        now = self._counters.now(self._clock())
        for counter in self._counters.along(path, receipt.user, now):
            if counter.budget.span is Span.ROLLING or counter.window.holds(at_ms):
                counter.add(at_ms, receipt.cost_nano)

    def _derived(self, accounts: Accounts, store: Tables) -> Counters:
        """Counters of the current windows, summed from the ledger's rows."""
        counters = Counters(accounts)
        now = counters.now(max(self._clock(), store.latest_ms()))
        counters.load(store.spends(look_back(accounts, now)), now)
        return counters

    def _posted(self, request_id: str) -> bool:
        return self._live().find(request_id) is not None or self._tables().posted(request_id)

    def _live(self) -> Writer:
        if self._writer is None:
            raise LedgerUnavailable("the ledger is not open")
        return self._writer

    def _tables(self) -> Tables:
        if self._store is None:
            raise LedgerUnavailable("the ledger is not open")
        return self._store


def _nearest(accounts: Accounts, path: tuple[str, ...]) -> Ladder | None:
    """The ladder of the node nearest to the key."""
    ladders = [node.ladder for node in accounts.along(path) if node.ladder is not None]
    return ladders[-1] if ladders else None

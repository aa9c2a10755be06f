"""Budgets shared by processes: what each may spend, as all of them see it (pure).

A *claim* is one absolute number a process and window: "I have spent or hold at most this
much". The store keeps ``base + sum of claims <= limit``, each process keeps
``spent + held <= claim``. ``base`` is the spend of processes that are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from billing.accounts import Accounts
from billing.budget import Span
from billing.counters import Counter, Counters, Spend

_FOREVER = (1 << 63) - 1
_PLENTY, _LITTLE = 10, 100
"""A tenth and a hundredth of the limit: below, slices are cut smaller, then exactly."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One window of one budget, by the name that every process gives it.

    ``start_ms`` is 0 for a rolling window, whose base counts from ``since_ms`` on.
    """

    budget: str
    start_ms: int
    since_ms: int

    @property
    def last_ms(self) -> int:
        """The newest bucket of base that counts."""
        return self.start_ms or _FOREVER


@dataclass(frozen=True, slots=True)
class Ask:
    """``need_nano``: the least this process must be able to spend and hold in a slot.

    ``spent_nano`` and ``held_nano`` are what it has now, for others to see.
    """

    slot: Slot
    limit_nano: int
    need_nano: int
    spent_nano: int
    held_nano: int


@dataclass(frozen=True, slots=True)
class Others:
    """What everyone else has of a slot: ``claimed_nano`` with base; ``wanted``: lately refused."""

    claimed_nano: int
    spent_nano: int
    held_nano: int
    wanted: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """``claims`` in the order asked, or None where one does not fit and nothing changed.

    ``known`` is False where the store has forgotten this process: nothing changed either.
    """

    claims: tuple[int, ...] | None
    others: tuple[Others, ...]
    known: bool = True


@dataclass(frozen=True, slots=True)
class Base:
    """Spend of processes that are gone: ``bucket_ms`` is a window's start, or a bucket's."""

    budget: str
    bucket_ms: int
    amount_nano: int


@dataclass(frozen=True, slots=True)
class Member:
    """A process that shares: the ledger it posts to and when it was last heard of, epoch ms."""

    ledger: str
    seen_ms: int


class Shares(Protocol):
    """The store that processes share. Each method is one transaction.

    All raise LedgerUnavailable where the store cannot be reached.
    """

    def join(self, member: str, ledger: str, at_ms: int) -> None:
        """The store knows this process."""

    def members(self) -> dict[str, Member]:
        """Every process the store knows."""

    def claim(self, member: str, asks: Sequence[Ask], at_ms: int) -> Answer:
        """Every claim is raised to what is needed and a slice more, or none is."""

    def report(
        self, member: str, asks: Sequence[Ask], at_ms: int, *, joining: bool = False
    ) -> Answer:
        """Every claim is exactly what is needed, whatever the limit; 0 removes it.

        ``joining``: also where the base of the process's ledger is not known yet.
        """

    def covered(self, ledger: str) -> set[str]:
        """The budgets whose base is known for a ledger."""

    def derive(
        self, ledger: str, names: Iterable[str], base: Sequence[Base], alive: frozenset[str]
    ) -> bool:
        """The ledger's base of these budgets is this; False where its processes are not
        ``alive`` any more, and nothing was changed."""

    def fold(self, member: str, base: Sequence[Base]) -> bool:
        """A process is gone: its claims are this base; False where it was gone already."""

    def close(self) -> None:
        """The connection is closed."""


def slot_of(counter: Counter) -> Slot:
    """The slot of a counter's current window."""
    rolling = counter.budget.span is Span.ROLLING
    start = counter.window.start_ms
    return Slot(slot_name(counter), 0 if rolling else start, start)


def slot_name(counter: Counter) -> str:
    """A budget's name with its user, as any store can hold it."""
    name = definition(counter)
    if counter.user is None:
        return name
    return f"{name}\t{counter.user.encode('utf-8', 'replace').decode()}".replace("\0", "\ufffd")


def definition(counter: Counter) -> str:
    """A budget's name without its user."""
    return f"{counter.node.id}/{counter.budget.label}"


def definitions(accounts: Accounts) -> set[str]:
    """Every budget of a tree that has windows."""
    return {
        f"{node.id}/{budget.label}"
        for node in accounts.nodes.values()
        for budget in node.budgets
        if budget.span is not Span.REQUEST
    }


def use(counter: Counter) -> int:
    """What a process has spent and holds in a window, nano-USD."""
    return counter.spent_nano + counter.held_nano


def ask_for(counter: Counter, need_nano: int, coming_nano: int = 0) -> Ask:
    """An ask in a counter's current window; ``coming_nano`` is about to be held."""
    return Ask(
        slot_of(counter),
        counter.budget.limit_nano,
        need_nano,
        max(counter.spent_nano, 0),
        max(counter.held_nano, 0) + coming_nano,
    )


def cut(ask: Ask, others: Others, members: int) -> int | None:
    """The claim that an ask is given, nano-USD; None where it does not fit."""
    room = ask.limit_nano - others.claimed_nano
    spare = room - ask.need_nano
    if spare < 0:
        return None
    if others.wanted or spare * _LITTLE < ask.limit_nano:
        return ask.need_nano
    parts = 2 if spare * _PLENTY >= ask.limit_nano else 16
    return ask.need_nano + spare // (parts * max(members, 1))


def base_of(accounts: Accounts, spends: Iterable[Spend], at_ms: int) -> list[Base]:
    """Past spend as base of the windows open at an instant."""
    counters = Counters(accounts)
    counters.load(spends, at_ms)
    found = []
    for counter in counters.all():
        name = slot_name(counter)
        if counter.budget.span is Span.ROLLING:
            found += [Base(name, start, amount) for start, amount in counter.buckets]
        elif counter.spent_nano:
            found.append(Base(name, counter.window.start_ms, counter.spent_nano))
    return found

"""`weir reconcile`: a file and the configuration's accounts, held against the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billing.booking import Question, book, reconcile, to_json
from billing.money import nano, usd
from billing.provider_exports import ExportInvalid, read_export
from billing.reconcile import Delta, accounts_of
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says."""

    raw: bytes
    kind: str
    account: str | None
    tolerance_usd: str
    book: bool
    now: datetime


@dataclass(frozen=True, slots=True)
class Done:
    """Every account and day as it was found; ``after`` is how it stands now.

    ``waiting`` counts days of the export that are not over yet.
    """

    found: tuple[Delta, ...]
    after: tuple[Delta, ...]
    booked: bool
    waiting: int

    @property
    def agrees(self) -> bool:
        """Whether no day differs any more by more than the tolerance."""
        return all(delta.agrees for delta in self.after)

    def to_json(self) -> dict[str, Any]:
        """The outward shape; the deltas are as they were found."""
        booked = sum(delta.delta_nano or 0 for delta in self.found) if self.booked else 0
        return {
            "days": [to_json(delta) for delta in self.found],
            "booked_usd": usd(booked),
            "waiting_days": self.waiting,
            "agrees": self.agrees,
        }


def run(settings: Settings, asked: Asked) -> Done:
    """The export compared, and booked where that was asked.

    Raises:
        ValueError: the file, the account or the tolerance is not usable.
        LedgerUnavailable: the database cannot be read or written.
    """
    try:
        export = read_export(asked.raw, asked.kind)
    except ExportInvalid as error:
        raise ValueError(str(error)) from None
    known = {name: upstream.provider for name, upstream in settings.upstreams.items()}
    accounts = tuple(accounts_of(export, asked.account, known))
    tolerance = nano(asked.tolerance_usd)
    if tolerance < 0:
        raise ValueError("a tolerance cannot be negative")
    question = Question(export, accounts, tolerance, asked.now)
    url = settings.database
    found = after = tuple(book(url, question) if asked.book else reconcile(url, question))
    if asked.book:
        after = tuple(reconcile(url, question))
    waiting = sum(day >= asked.now.date() for day in export.days)
    return Done(found, after, asked.book, waiting)

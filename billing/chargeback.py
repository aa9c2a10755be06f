"""Chargeback: what each cost centre owes for a month, corrections included, and its state.

Months are calendar months in UTC, as providers bill and as ``billing.closing`` freezes them.
The rows of a month add up to the nano to its receipts and corrections.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import orjson
import sqlalchemy as sa

from billing.booking import booked
from billing.closing import Closing, closings, month_of
from billing.finance_tables import RECONCILIATIONS
from billing.reader import EPOCH, MS, RECEIPTS, reading
from billing.reports import Scope, grouped

UNALLOCATED = "(unallocated)"


@dataclass(frozen=True, slots=True)
class Charged:
    """One cost centre in one month: ``cost_nano`` its receipts, ``corrected_nano`` what
    reconciliations booked on top.
    """

    month: str
    name: str
    requests: int
    cost_nano: int
    corrected_nano: int

    @property
    def total_nano(self) -> int:
        """What is charged."""
        return self.cost_nano + self.corrected_nano


@dataclass(frozen=True, slots=True)
class Reconciled:
    """One account and day held against the provider's word. ``reasons`` are sentences."""

    at: datetime
    account: str
    day: str
    ours_nano: int
    theirs_nano: int
    booked_nano: int
    reasons: tuple[str, ...]


def months(url: str) -> list[str]:
    """Every month from the first receipt's to the last's, ``2026-11`` first."""
    query = sa.select(sa.func.min(RECEIPTS.c.posted_ms), sa.func.max(RECEIPTS.c.posted_ms))
    with reading(url) as db:
        first, last = db.execute(query).one()
    if first is None:
        return []
    start, end = ((EPOCH + int(at) * MS) for at in (first, last))
    count = (end.year - start.year) * 12 + end.month - start.month
    numbers = (start.year * 12 + start.month - 1 + n for n in range(count, -1, -1))
    return [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in numbers]


def charged(url: str, month: str, by: str = "team") -> list[Charged]:
    """The month by cost centre, the dearest first; what no correction could place stands last.

    Args:
        by: ``team``, ``project`` or ``key``: the groups that corrections know, too.

    Raises:
        ValueError: another group. CannotClose: no month.
    """
    if by not in ("team", "project", "key"):
        raise ValueError(f"cannot charge by {by!r}: choose team, project or key")
    start, end = month_of(month)
    scope = Scope(start, end)
    extra: dict[str | None, int] = {}
    for row in booked(url, scope):
        # A team's corrections without a project belong to no project, but are not lost.
        name = getattr(row, by) or ("" if row.team else None)
        extra[name] = extra.get(name, 0) + row.amount_nano
    rows = [
        Charged(month, row.label, row.requests, row.cost_nano, extra.pop(row.label, 0))
        for row in grouped(url, by, scope)
    ]
    left = extra.pop(None, None)
    rows += [Charged(month, str(name), 0, 0, amount) for name, amount in extra.items()]
    rows.sort(key=lambda row: (-row.total_nano, row.name))
    return rows if left is None else [*rows, Charged(month, UNALLOCATED, 0, 0, left)]


def closing_of(url: str, month: str) -> Closing | None:
    """The closing that froze a month (its own, or a later one's), or None while it is open."""
    _, end = month_of(month)
    until = (end - EPOCH) // MS
    return next((one for one in closings(url) if one.until_ms >= until), None)


def reconciliations(url: str, limit: int = 400) -> list[Reconciled]:
    """What was held against the providers' word, the newest first."""
    columns = RECONCILIATIONS.c
    query = sa.select(
        columns.at_ms, columns.account, columns.day, columns.ours_nano, columns.theirs_nano,
        columns.booked_nano, columns.reasons,
    ).order_by(columns.seq.desc()).limit(limit)  # fmt: skip
    with reading(url) as db:
        return [
            Reconciled(
                EPOCH + int(row.at_ms) * MS,
                row.account,
                row.day,
                int(row.ours_nano),
                int(row.theirs_nano),
                int(row.booked_nano),
                _said(orjson.loads(row.reasons)),
            )
            for row in db.execute(query)
        ]


def _said(reasons: Iterable[dict[str, object]]) -> tuple[str, ...]:
    return tuple(str(reason["said"]) for reason in reasons)

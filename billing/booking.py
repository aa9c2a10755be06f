"""Reconciliation in the ledger's database: our side of each day, and what is booked for it.

Nothing that was posted changes. A correction is a row beside the receipts that counts in the
day it is about, or, where that month is closed, in the first open one, with a note.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from billing.account_days import DAY_MS, ours
from billing.appending import appending
from billing.finance_tables import CLOSINGS, CORRECTIONS, RECONCILIATIONS
from billing.money import usd
from billing.provider_exports import Export
from billing.reader import EPOCH, MS, epoch_ms, reading
from billing.reconcile import Delta, compare, corrections

if TYPE_CHECKING:  # reports asks verify, which asks here
    from billing.reports import Scope


@dataclass(frozen=True, slots=True)
class Question:
    """An export held against accounts: deltas up to the tolerance count as agreement.

    ``now`` is when it is asked: a day that is not over by then is not compared.
    """

    export: Export
    accounts: tuple[str, ...]
    tolerance_nano: int
    now: datetime


@dataclass(frozen=True, slots=True)
class Booked:
    """One correction as it stands in the ledger; unallocated where it has no team."""

    posted_ms: int
    account: str
    day: str
    kind: str
    request_id: str | None
    team: str | None
    project: str | None
    key: str | None
    model: str | None
    amount_nano: int
    reason: str
    note: str | None


def reconcile(url: str, question: Question) -> list[Delta]:
    """Every account and day of the export compared; nothing is written."""
    with reading(url) as db:
        return _deltas(db, question)


def book(url: str, question: Question) -> list[Delta]:
    """Every day with a cost is booked to what the provider says; the deltas as they were.

    A day that agrees to the nano is marked as reconciled without a row; a second time books
    nothing. The export of tokens alone books nothing.

    Raises:
        LedgerUnavailable: the database cannot be written; nothing is booked.
    """
    at_ms = epoch_ms(question.now)
    with appending(url) as db:
        deltas = _deltas(db, question)
        until = int(db.execute(sa.select(sa.func.max(CLOSINGS.c.until_ms))).scalar() or 0)
        for delta in deltas:
            if delta.theirs_nano is not None and not _known(db, delta):
                _book_day(db, delta, (question.export.source, at_ms, until))
    return deltas


def booked(url: str, scope: Scope) -> list[Booked]:
    """The corrections that count in a range, in the order they were booked.

    With a team, only its own: what is unallocated belongs to nobody.
    """
    columns = [CORRECTIONS.c[name] for name in Booked.__slots__]
    query = sa.select(*columns).where(*scoped(scope)).order_by(CORRECTIONS.c.seq)
    with reading(url) as db:
        return [Booked(*row) for row in db.execute(query)]


def scoped(scope: Scope) -> list[Any]:
    """A scope's range and team as conditions on corrections."""
    wanted = []
    if scope.start is not None:
        wanted.append(CORRECTIONS.c.posted_ms >= epoch_ms(scope.start))
    if scope.end is not None:
        wanted.append(CORRECTIONS.c.posted_ms < epoch_ms(scope.end))
    if scope.team is not None:
        wanted.append(CORRECTIONS.c.team == scope.team)
    return wanted


def reconciled(url: str) -> dict[tuple[str, date], datetime]:
    """The accounts and days that were held against the provider's word, and when last."""
    query = sa.select(
        RECONCILIATIONS.c.account, RECONCILIATIONS.c.day, sa.func.max(RECONCILIATIONS.c.at_ms)
    ).group_by(RECONCILIATIONS.c.account, RECONCILIATIONS.c.day)
    with reading(url) as db:
        return {
            (account, date.fromisoformat(day)): EPOCH + int(at_ms) * MS
            for account, day, at_ms in db.execute(query)
        }


def _deltas(db: Connection, question: Question) -> list[Delta]:
    export = question.export
    start, end = day_ms(export.days[0]), day_ms(export.days[-1]) + DAY_MS
    ours_by_day = ours(db, question.accounts, start, end)
    today = question.now.astimezone(UTC).date()
    return compare(export, question.accounts, ours_by_day, question.tolerance_nano, today)


def _known(db: Connection, delta: Delta) -> bool:
    """Whether the day stands booked as the provider says already."""
    if delta.delta_nano:
        return False
    query = sa.select(RECONCILIATIONS.c.theirs_nano).where(
        RECONCILIATIONS.c.account == delta.account,
        RECONCILIATIONS.c.day == delta.day.isoformat(),
    )
    last = db.execute(query.order_by(RECONCILIATIONS.c.seq.desc()).limit(1)).scalar()
    return last is not None and int(last) == delta.theirs_nano


def _book_day(db: Connection, delta: Delta, context: tuple[str, int, int]) -> None:
    source, at_ms, until = context
    day = delta.day.isoformat()
    rows = corrections(delta)
    inserted: Any = db.execute(
        RECONCILIATIONS.insert().values(
            at_ms=at_ms,
            account=delta.account,
            day=day,
            source=source,
            theirs_nano=delta.theirs_nano,
            ours_nano=delta.ours.cost_nano,
            booked_nano=sum(row.amount_nano for row in rows),
            reasons=orjson.dumps([_reason(reason) for reason in delta.reasons]).decode(),
        )
    )
    due = day_ms(delta.day)
    note = f"late: {delta.day:%Y-%m} is closed" if due < until else None
    for row in rows:
        one = row.doubtful
        db.execute(
            CORRECTIONS.insert().values(
                reconciliation=inserted.inserted_primary_key[0],
                posted_ms=max(due, until),
                at_ms=at_ms,
                account=delta.account,
                day=day,
                kind=row.kind,
                request_id=one.request_id if one else None,
                team=one.team if one else None,
                project=one.project if one else None,
                key=one.key if one else None,
                model=one.model if one else None,
                amount_nano=row.amount_nano,
                reason=row.reason,
                note=note,
            )
        )


def _reason(reason: Any) -> dict[str, object]:
    amount = reason.amount_nano
    return {
        "code": reason.code,
        "count": reason.count,
        "usd": None if amount is None else usd(amount),
        "said": reason.said,
    }


def broken(db: Connection) -> Iterator[str]:
    """Reconciliations whose corrections do not make our side theirs, in sentences."""
    rows = sa.select(
        CORRECTIONS.c.reconciliation, sa.func.sum(CORRECTIONS.c.amount_nano).label("booked")
    )
    sums = rows.group_by(CORRECTIONS.c.reconciliation).subquery()
    columns, found = RECONCILIATIONS.c, sa.func.coalesce(sums.c.booked, 0)
    query = sa.select(columns.account, columns.day, columns.booked_nano, found).select_from(
        RECONCILIATIONS.outerjoin(sums, sums.c.reconciliation == columns.seq)
    )
    wrong = sa.or_(
        found != columns.booked_nano,
        columns.ours_nano + columns.booked_nano != columns.theirs_nano,
    )
    for account, day, said, are in db.execute(query.where(wrong)):
        yield (
            f"reconciliation of {account} on {day}: its corrections sum to {usd(int(are))}, it "
            f"says {usd(int(said))}"
        )
    strays = sa.select(CORRECTIONS.c.seq).where(
        CORRECTIONS.c.reconciliation.not_in(sa.select(columns.seq))
    )
    for (seq,) in db.execute(strays):
        yield f"correction {seq} belongs to no reconciliation"


def to_json(delta: Delta) -> dict[str, object]:
    """The outward shape of a delta: money as decimal strings."""
    theirs, difference = delta.theirs_nano, delta.delta_nano
    return {
        "account": delta.account,
        "day": delta.day.isoformat(),
        "requests": delta.ours.requests,
        "ours_usd": usd(delta.ours.cost_nano),
        "theirs_usd": None if theirs is None else usd(theirs),
        "delta_usd": None if difference is None else usd(difference),
        "delta_tokens": delta.delta_tokens,
        "agrees": delta.agrees,
        "reasons": [_reason(reason) for reason in delta.reasons],
    }


def day_ms(day: date) -> int:
    """The first instant of a UTC day, epoch milliseconds."""
    return (day - EPOCH.date()).days * DAY_MS

"""Reconciliation in the ledger's database: our side of each day, and what is booked for it.

Nothing that was posted changes. A correction is a row beside the receipts that counts in the
day it is about, or, where that month is closed, in the first open one, with a note.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from billing.appending import appending
from billing.finance_tables import CLOSINGS, CORRECTIONS, RECONCILIATIONS
from billing.money import usd
from billing.provider_exports import Export
from billing.reader import EPOCH, LINES, MS, RECEIPTS, epoch_ms, reading
from billing.receipt import HELD
from billing.reconcile import (
    ESTIMATED,
    Delta,
    Doubtful,
    Ours,
    compare,
    corrections,
)

if TYPE_CHECKING:  # reports asks verify, which asks here
    from billing.reports import Scope

_DAY_MS = 86_400_000
_A_DAY: Any = sa.literal_column(str(_DAY_MS))
_SKEW_MS = 3_600_000
"""How far before its own time a request may have been posted at most, clocks being clocks."""
_BOOKED = "reversal"


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
    start, end = day_ms(export.days[0]), day_ms(export.days[-1]) + _DAY_MS
    ours = _ours(db, question.accounts, start, end)
    today = question.now.astimezone(UTC).date()
    return compare(export, question.accounts, ours, question.tolerance_nano, today)


def _ours(
    db: Connection, accounts: Sequence[str], start: int, end: int
) -> Mapping[tuple[str, date], Ours]:
    """Our side of each account and day with anything in it."""
    columns = RECEIPTS.c
    # A request is of the day it came in, also where it was posted late; the index is on posted.
    where = (
        columns.upstream.in_(accounts),
        columns.posted_ms >= start - _SKEW_MS,
        columns.at_ms >= start,
        columns.at_ms < end,
    )
    day = columns.at_ms.op("/")(_A_DAY)
    total: Any = sa.func.sum
    sums = sa.select(
        columns.upstream,
        day,
        columns.served_model,
        sa.func.count(),
        total(columns.prompt_tokens),
        total(columns.completion_tokens),
        total(columns.cost_nano - columns.gateway_cost_nano),
    ).where(*where)
    found: dict[tuple[str, date], Ours] = {}
    for account, number, model, *figures in db.execute(
        sums.group_by(columns.upstream, day, columns.served_model)
    ):
        key = (account, _day(int(number)))
        requests, prompt, completion, cost = (int(value) for value in figures)
        old = found.get(key, Ours())
        found[key] = Ours(
            requests=old.requests + requests,
            prompt_tokens=old.prompt_tokens + prompt,
            completion_tokens=old.completion_tokens + completion,
            cost_nano=old.cost_nano + cost,
            models=old.models | ({model} if requests else set()),
        )
    return _with_bookings(db, found, _doubtful(db, where))


def _with_bookings(
    db: Connection,
    found: dict[tuple[str, date], Ours],
    doubtful: Iterator[tuple[tuple[str, date], Doubtful]],
) -> dict[tuple[str, date], Ours]:
    """The same with what was booked before, and what is still in doubt."""
    query = sa.select(
        CORRECTIONS.c.account, CORRECTIONS.c.day, sa.func.sum(CORRECTIONS.c.amount_nano)
    ).group_by(CORRECTIONS.c.account, CORRECTIONS.c.day)
    extra: dict[tuple[str, date], int] = {}
    for account, day, amount in db.execute(query):
        extra[account, date.fromisoformat(day)] = int(amount)
    lists: dict[tuple[str, date], list[Doubtful]] = {}
    for key, one in doubtful:
        lists.setdefault(key, []).append(one)
    done: dict[tuple[str, date], Ours] = {}
    for key in found.keys() | extra.keys():
        old = found.get(key, Ours())
        done[key] = Ours(
            old.requests,
            old.prompt_tokens,
            old.completion_tokens,
            old.cost_nano + extra.get(key, 0),
            old.models,
            tuple(lists.get(key, ())),
        )
    return done


def _doubtful(db: Connection, where: Sequence[Any]) -> Iterator[tuple[tuple[str, date], Doubtful]]:
    """Requests charged without a provider's count that no reversal took back yet."""
    columns = RECEIPTS.c
    held = sa.exists().where(LINES.c.request_id == columns.request_id, LINES.c.component == HELD)
    undone = sa.exists().where(
        CORRECTIONS.c.request_id == columns.request_id, CORRECTIONS.c.kind == _BOOKED
    )
    query = sa.select(
        columns.upstream,
        columns.at_ms.op("/")(_A_DAY),
        columns.request_id,
        columns.state,
        held,
        columns.team,
        columns.project,
        columns.key,
        columns.served_model,
        columns.cost_nano - columns.gateway_cost_nano,
    ).where(
        *where,
        sa.or_(columns.usage_source == ESTIMATED, columns.state != "settled", held),
        ~undone,
    )
    for account, number, request_id, state, on_hold, *rest in db.execute(query):
        kind = state if state in ("orphan", "provisional") else ESTIMATED
        if on_hold and kind == ESTIMATED:
            kind = "unpriced"
        team, project, key, model, cost = rest
        one = Doubtful(request_id, kind, team, project, key, model, int(cost))
        yield (account, _day(int(number))), one


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
    return (day - EPOCH.date()).days * _DAY_MS


def _day(number: int) -> date:
    return EPOCH.date() + timedelta(days=number)

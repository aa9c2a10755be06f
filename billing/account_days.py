"""Our side of a reconciliation: what each account was charged on each UTC day.

A line is of the account that its attempt went to, whichever served the request in the end.
Where it names no attempt on record (the hold of a process that died), it is of the account
that the request was planned for. The gateway's own calls are on the provider's bill, too:
they count with the account of their attempt, and nowhere where none is on record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import groupby
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from billing.finance_tables import CORRECTIONS
from billing.reader import ATTEMPTS, EPOCH, LINES, RECEIPTS
from billing.receipt import COMPLETION, GATEWAY, HELD, JUDGE_LINES, PROMPT, SHADOW_LINES
from billing.reconcile import ESTIMATED, HELD_CLASSES, Doubtful, Ours

DAY_MS = 86_400_000
REVERSAL = "reversal"
"""A correction that takes the charge of one request on one account back."""
AccountDay = tuple[str, date]
_SKEW_MS = 3_600_000
"""How far before its own time a request may have been posted at most, clocks being clocks."""
_IN_DOUBT = frozenset({*HELD_CLASSES, ESTIMATED})

_ACCOUNT: Any = sa.func.coalesce(ATTEMPTS.c.upstream, RECEIPTS.c.upstream)
_MODEL: Any = sa.func.coalesce(ATTEMPTS.c.model, RECEIPTS.c.served_model)
_DAY: Any = RECEIPTS.c.at_ms.op("/")(sa.literal_column(str(DAY_MS)))
_CALLS: Any = RECEIPTS.outerjoin(ATTEMPTS, ATTEMPTS.c.request_id == RECEIPTS.c.request_id)
_CHARGES: Any = RECEIPTS.join(LINES, LINES.c.request_id == RECEIPTS.c.request_id).outerjoin(
    ATTEMPTS,
    sa.and_(ATTEMPTS.c.request_id == LINES.c.request_id, ATTEMPTS.c.id == LINES.c.attempt),
)
_OF_SOMEBODY: Any = sa.or_(
    ATTEMPTS.c.id.is_not(None), LINES.c.component.not_like(f"{GATEWAY}%", escape="\\")
)


def ours(
    db: Connection, accounts: Sequence[str], start: int, end: int
) -> Mapping[AccountDay, Ours]:
    """Every account and day in ``[start, end)``, epoch ms, that has anything; booked included."""
    # A request is of the day it came in, also where it was posted late; the index is on posted.
    within = (
        RECEIPTS.c.posted_ms >= start - _SKEW_MS,
        RECEIPTS.c.at_ms >= start,
        RECEIPTS.c.at_ms < end,
    )
    found = _called(db, (*within, _ACCOUNT.in_(accounts)))
    for key, prompt, completion, cost in _charged(db, (*within, _ACCOUNT.in_(accounts))):
        found[key] = replace(
            found.get(key, Ours()),
            prompt_tokens=prompt,
            completion_tokens=completion,
            cost_nano=cost,
        )
    return _with_bookings(db, accounts, found, _doubtful(db, within))


def _called(db: Connection, where: Sequence[Any]) -> dict[AccountDay, Ours]:
    """How many requests went to each account, and for which models."""
    count = sa.func.count(sa.distinct(RECEIPTS.c.request_id))
    base = sa.select(_ACCOUNT, _DAY).select_from(_CALLS).where(*where)
    found = {
        (account, _day(number)): Ours(requests=int(requests))
        for account, number, requests in db.execute(
            base.add_columns(count).group_by(_ACCOUNT, _DAY)
        )
    }
    for account, number, model in db.execute(base.add_columns(_MODEL).distinct()):
        old = found[account, _day(number)]
        found[account, _day(number)] = replace(old, models=old.models | {model})
    return found


def _charged(db: Connection, where: Sequence[Any]) -> Iterator[tuple[AccountDay, int, int, int]]:
    """Prompt tokens, completion tokens and cost by account and day."""
    total = sa.func.sum
    query = (
        sa.select(
            _ACCOUNT,
            _DAY,
            total(_tokens(PROMPT)),
            total(_tokens(COMPLETION)),
            total(LINES.c.amount_nano),
        )
        .select_from(_CHARGES)
        .where(*where, _OF_SOMEBODY)
        .group_by(_ACCOUNT, _DAY)
    )
    for account, number, *figures in db.execute(query):
        prompt, completion, cost = (int(value) for value in figures)
        yield (account, _day(number)), prompt, completion, cost


def _tokens(components: Iterable[str]) -> Any:
    whose = ("", GATEWAY, SHADOW_LINES, JUDGE_LINES)
    names = [prefix + part for part in sorted(components) for prefix in whose]
    return sa.case((LINES.c.component.in_(names), LINES.c.quantity), else_=0)


def _with_bookings(
    db: Connection,
    accounts: Sequence[str],
    found: dict[AccountDay, Ours],
    doubtful: Iterator[tuple[AccountDay, Doubtful]],
) -> dict[AccountDay, Ours]:
    """The same with what was booked before, and what is still in doubt."""
    query = sa.select(
        CORRECTIONS.c.account, CORRECTIONS.c.day, sa.func.sum(CORRECTIONS.c.amount_nano)
    ).group_by(CORRECTIONS.c.account, CORRECTIONS.c.day)
    for account, day, amount in db.execute(query):
        key = (account, date.fromisoformat(day))
        old = found.get(key, Ours())
        found[key] = replace(old, cost_nano=old.cost_nano + int(amount))
    undone = sa.select(CORRECTIONS.c.account, CORRECTIONS.c.request_id).where(
        CORRECTIONS.c.kind == REVERSAL, CORRECTIONS.c.account.in_(accounts)
    )
    settled = {(account, request_id) for account, request_id in db.execute(undone)}
    for key, one in doubtful:
        if key[0] in accounts and (key[0], one.request_id) not in settled:
            old = found.get(key, Ours())
            found[key] = replace(old, doubtful=(*old.doubtful, one))
    return found


def _doubtful(db: Connection, within: Sequence[Any]) -> Iterator[tuple[AccountDay, Doubtful]]:
    """What was charged without a provider's count, by request and account, as posted."""
    columns = RECEIPTS.c
    holds = LINES.alias()  # beside the lines that are read
    held = sa.exists().where(holds.c.request_id == columns.request_id, holds.c.component == HELD)
    query = (
        sa.select(
            columns.request_id,
            columns.state,
            columns.usage_source,
            columns.team,
            columns.project,
            columns.key,
            _DAY.label("day"),
            _ACCOUNT.label("account"),
            _MODEL.label("model"),
            columns.body,
            LINES.c.attempt,
            LINES.c.component,
            LINES.c.amount_nano,
        )
        .select_from(_CHARGES)
        .where(
            *within,
            _OF_SOMEBODY,
            sa.or_(columns.usage_source == ESTIMATED, columns.state != "settled", held),
        )
        .order_by(columns.seq, LINES.c.attempt, LINES.c.component)
    )
    for _, lines in groupby(db.execute(query), key=lambda row: row.request_id):
        yield from _of_request(list(lines))


def _of_request(lines: Sequence[Any]) -> Iterator[tuple[AccountDay, Doubtful]]:
    """One request's charges that are in doubt, an account each; the worst kind names them."""
    attempts = orjson.loads(lines[0].body)["attempts"]
    states = {attempt["id"]: attempt.get("state") for attempt in attempts}
    kinds = [_kind(line, states) for line in lines]
    if not any(kinds) and lines[0].usage_source == ESTIMATED:
        kinds = [ESTIMATED] * len(lines)  # an older version did not say which attempt
    found: dict[str, tuple[str, int, Any]] = {}
    for line, kind in zip(lines, kinds, strict=True):
        if kind is not None:
            old, cost, _ = found.get(line.account, (ESTIMATED, 0, line))
            worst = kind if old == ESTIMATED else old
            found[line.account] = (worst, cost + int(line.amount_nano), line)
    for account, (kind, cost, line) in found.items():
        one = Doubtful(line.request_id, kind, line.team, line.project, line.key, line.model, cost)
        yield (account, _day(line.day)), one


def _kind(line: Any, states: Mapping[str, str | None]) -> str | None:
    """Why a line is in doubt, or None."""
    if line.state in HELD_CLASSES:
        return str(line.state)
    if line.component == HELD:
        return "unpriced"
    state = states.get(line.attempt)
    return state if state in _IN_DOUBT else None


def _day(number: object) -> date:
    return EPOCH.date() + timedelta(days=int(str(number)))

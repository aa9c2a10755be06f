"""The sessions of both arms for the savings report: the held-out ones, and sums of the routed.

A session that lies whole in the range is taken as its row in ``session_totals`` has it, or in
the sums over those rows. The others are few: those that an end of the range cuts, those with
receipts that are not rolled up or less than an hour from an end, and those of several facets.
They are left out of the sums and put together from slices and receipts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from billing.rolled import whole
from billing.rollup_sessions import HIGH, squares
from billing.rollup_tables import MOMENTS, TOTALS
from billing.savings import Moments, Session
from billing.scope import Scope
from billing.session_reach import (
    HOLDOUT,
    ROUTED,
    Reach,
    chunks,
    fresh_sessions,
    reach_of,
    sliced_sessions,
)
from billing.session_reach import both as together

_BIG = 1 << 32


def arms(db: Connection, scope: Scope) -> tuple[list[Session], Moments]:
    """Held-out sessions, and the sums of the routed ones, of requests with a counterfactual.

    A session is accepted where every outcome of its tasks is, None where it has none.
    """
    reach = reach_of(db, scope)
    fresh: dict[tuple[str, str], Session] = {}
    for where in reach.receipts:
        for arm, key, session in fresh_sessions(db, where):
            fresh[arm, key] = together(fresh.get((arm, key)), session)
    if reach.slices is None:
        return _of(fresh, HOLDOUT), Moments.of(_of(fresh, ROUTED))
    if reach.named:
        _slices(db, reach, fresh, None)
        return _of(fresh, HOLDOUT), Moments.of(_of(fresh, ROUTED))
    apart = reach.cut(db) | {key for _, key in fresh}
    _slices(db, reach, fresh, sorted(apart))
    held = [session for key, session in _whole(db, reach, HOLDOUT, None) if key not in apart] + _of(
        fresh, HOLDOUT
    )
    routed = _moments(db, reach).less(
        session for _, session in _whole(db, reach, ROUTED, sorted(apart))
    )
    return held, routed.plus(_of(fresh, ROUTED))


def _of(found: dict[tuple[str, str], Session], wanted: str) -> list[Session]:
    return [session for (arm, _), session in found.items() if arm == wanted]


def _slices(
    db: Connection,
    reach: Reach,
    fresh: dict[tuple[str, str], Session],
    only: list[str] | None,
) -> None:
    """What slices say of some sessions, or of all, is added to what receipts say."""
    for arm in (HOLDOUT, ROUTED):
        for key, session in sliced_sessions(db, reach.slices or [], arm, only):
            fresh[arm, key] = together(fresh.get((arm, key)), session)


def _whole(
    db: Connection, reach: Reach, arm: str, only: list[str] | None
) -> Iterator[tuple[str, Session]]:
    """Sessions that began in the range as their rows have them; of some, or all."""
    columns = TOTALS.c
    query = sa.select(
        columns.session, columns.compared_nano, columns.baseline_nano, columns.accepted
    ).where(*reach.began(arm), columns.infeasible < columns.requests)
    for some in [None] if only is None else chunks(only):
        picked = query if some is None else query.where(columns.session.in_(some))
        for key, paid, tokenmaxxed, accepted in db.execute(picked):
            said = None if accepted is None else bool(accepted)
            yield key, Session(int(paid), int(tokenmaxxed), said)


def _moments(db: Connection, reach: Reach) -> Moments:
    """The sums over all routed sessions that began in the range: whole blocks, and its ends."""
    first, last = reach.blocks()
    total = Moments()
    if first is None or last is None or first < last:
        columns = MOMENTS.c
        where = [columns.cube == reach.cube, columns.facet.in_(reach.facets(ROUTED))]
        if first is not None:
            where.append(columns.block >= first)
        if last is not None:
            where.append(columns.block < last)
        names = (
            columns["count"], columns.paid_nano, columns.tokenmaxxed_nano, columns.squares_high,
            columns.squares_both, columns.squares_low, columns.known, columns.accepted,
        )  # fmt: skip
        total = _added(total, db, names, where)
    for start, end in reach.edges():
        columns = TOTALS.c
        value, paid = columns.baseline_nano, columns.compared_nano
        high = whole(value, HIGH)
        low = value - high * HIGH
        where = [
            *reach.began(ROUTED, start, end),
            columns.infeasible < columns.requests,
        ]
        known = sa.case((columns.accepted.is_(None), 0), else_=1)
        accepted = sa.func.coalesce(columns.accepted, 0)
        one: Any = sa.literal_column("1")
        total = _added(
            total,
            db,
            (one, paid, value, high * high, high * low, low * low, known, accepted),
            where,
        )
    return total


def _added(total: Moments, db: Connection, values: Iterable[Any], where: list[Any]) -> Moments:
    """More moments: the sums of eight columns, in two halves where they may be beyond 64 bits."""
    count, paid, tokenmaxxed, high, both, low, known, accepted = values
    halves = [half for one in (high, both, low) for half in (whole(one, _BIG), one)]
    sums: list[Any] = []
    for index, half in enumerate(halves):
        part = half if index % 2 == 0 else half - whole(half, _BIG) * _BIG
        sums.append(sa.func.sum(part))
    plain = [sa.func.sum(one) for one in (count, paid, tokenmaxxed, known, accepted)]
    row = [int(one or 0) for one in db.execute(sa.select(*plain, *sums).where(*where)).one()]
    parts = [row[index] * _BIG + row[index + 1] for index in (5, 7, 9)]
    return Moments(
        total.count + row[0],
        total.paid_nano + row[1],
        total.tokenmaxxed_nano + row[2],
        total.squares + squares(*parts),
        total.known + row[3],
        total.accepted + row[4],
    )

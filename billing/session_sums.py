"""Sums by session and by task: from roll-ups where they reach, from receipts where they do not.

There may be millions of either. The dearest are found by what is kept of each session and of
each task's hours; only of those are all figures read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from billing.reader import RECEIPTS
from billing.rolled import Figures, receipt_sums, summed, sums
from billing.rollup_shape import SESSION_SUMS
from billing.rollup_tables import SLICES, TOTALS
from billing.scope import Scope
from billing.session_reach import NAMES, Reach, chunks, reach_of

_HAS = {"session_key": "has_session", "task": "has_task"}


def summed_by(
    db: Connection, scope: Scope, column: str, most: int | None = None
) -> dict[str, Figures]:
    """The figures of ``SESSION_SUMS`` by session key or task; "" where there is none.

    Args:
        most: only so many groups, the dearest, are sure to be among those returned.
    """
    reach = reach_of(db, scope)
    found: dict[str, Figures] = {}
    label = sa.func.coalesce(RECEIPTS.c[column], "").label("by_label")
    for where in reach.receipts:
        query = sa.select(label, *receipt_sums(SESSION_SUMS)).where(*where)
        _add(found, db.execute(query.group_by(sa.text("by_label"))))
    if reach.slices is None:
        return found
    name, real = NAMES[column]
    own = sa.select(name, *sums(SLICES, SESSION_SUMS)).where(*reach.slices, real == 1)
    if most is None:
        _add(found, db.execute(own.group_by(name)))
    else:
        dearest = _tasks if column == "task" or reach.named else _sessions
        wanted = dearest(db, reach, column, most + len(found)) | found.keys()
        for some in chunks(sorted(wanted - {""})):
            _add(found, db.execute(own.where(name.in_(some)).group_by(name)))
    if reach.named:
        none = sa.select(sa.literal(""), *sums(SLICES, SESSION_SUMS))
        none = none.where(*reach.slices, real == 0)
        _add(found, (row for row in db.execute(none) if row[1]))
    else:
        _without(db, scope, _HAS[column], found)
    return found


def _without(db: Connection, scope: Scope, has: str, found: dict[str, Figures]) -> None:
    """The requests that name none, all of them, in place of those among receipts alone."""
    found.pop("", None)
    none = summed(db, scope, (has,)).get(("",))
    if none:
        found[""] = none[: len(SESSION_SUMS)]


def _tasks(db: Connection, reach: Reach, column: str, most: int) -> set[str]:
    """The dearest by what slices say."""
    name, real = NAMES[column]
    one: Any = sa.literal_column("1")  # written out, so that the index over such rows applies
    cost = sa.func.sum(SLICES.c.cost_nano)
    query = sa.select(name).where(*(reach.slices or []), real == one).group_by(name)
    rows = db.execute(query.order_by(cost.desc(), name).limit(most))
    return {str(row[0]) for row in rows}


def _sessions(db: Connection, reach: Reach, _: str, most: int) -> set[str]:
    """The dearest of those that lie whole in the range, and all that do not."""
    apart = reach.cut(db)
    columns = TOTALS.c
    query = sa.select(columns.session).where(*reach.began(), columns.keyed == 1)
    query = query.order_by(columns.cost_nano.desc(), columns.session).limit(most + len(apart))
    return {str(row[0]) for row in db.execute(query)} | apart


def _add(found: dict[str, Figures], rows: Iterable[Sequence[Any]]) -> None:
    for label, *figures in rows:
        new, old = [int(value) for value in figures], found.get(label)
        found[label] = new if old is None else [a + b for a, b in zip(old, new, strict=True)]

"""Closed tasks by arm, counted by the database: from slices where they reach, else receipts.

A task that has receipts outside the slices of a range is taken out of the count and put back
with all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from billing.outcome_rows import task_of
from billing.reader import RECEIPTS
from billing.rollup_tables import FACETS, SLICES
from billing.scope import Scope
from billing.session_reach import accepted_of, chunks, reach_of

MIXED = "mixed"
Counts = dict[str, list[int]]
"""Accepted, rejected and nano-USD by arm; ``MIXED`` where a task's requests are of several."""


@dataclass(frozen=True, slots=True)
class _Task:
    arm: str
    accepted: int
    cost_nano: int


def closed_tasks(db: Connection, scope: Scope) -> Counts:
    """Tasks in scope whose outcome is known, with all that their requests in scope cost."""
    reach = reach_of(db, scope)
    fresh: dict[tuple[str, str], _Task] = {}
    for where in reach.receipts:
        _join(fresh, db.execute(_fresh(where)))
    found: Counts = {}
    if reach.slices is not None:
        one = _sliced(reach.slices).subquery()
        arm = sa.case((one.c.least == one.c.most, one.c.least), else_=MIXED).label("of")
        query = sa.select(
            arm, sa.func.sum(one.c.accepted), sa.func.count(), sa.func.sum(one.c.cost)
        ).group_by(sa.text("1"))
        for name, accepted, count, cost in db.execute(query):
            found[name] = [int(accepted), int(count) - int(accepted), int(cost)]
        sliced: dict[tuple[str, str], _Task] = {}
        for goals in chunks(sorted({goal for _, goal in fresh})):
            of_goals = _sliced([*reach.slices, SLICES.c.goal.in_(goals)])
            _join(sliced, (row for row in db.execute(of_goals) if (row[0], row[1]) in fresh))
        _count(found, sliced.values(), -1)
        for (team, goal), task in sliced.items():
            _join(fresh, [(team, goal, task.arm, task.arm, task.accepted, task.cost_nano)])
    _count(found, fresh.values(), 1)
    return {arm: counts for arm, counts in found.items() if counts[0] or counts[1]}


def _count(found: Counts, tasks: Iterable[_Task], sign: int) -> None:
    for task in tasks:
        counts = found.setdefault(task.arm, [0, 0, 0])
        counts[0 if task.accepted else 1] += sign
        counts[2] += sign * task.cost_nano


def _join(found: dict[tuple[str, str], _Task], rows: Iterable[Sequence[Any]]) -> None:
    """Parts of tasks are added to what is known of them."""
    for team, goal, least, most, accepted, cost in rows:
        arm, old = least if least == most else MIXED, found.get((team, goal))
        if old is None:
            found[team, goal] = _Task(arm, int(accepted), int(cost))
        else:
            both = arm if arm == old.arm else MIXED
            found[team, goal] = _Task(both, int(accepted), int(cost) + old.cost_nano)


def _fresh(where: Sequence[Any]) -> Any:
    one = (
        sa.select(
            RECEIPTS.c.team,
            task_of().label("goal"),
            RECEIPTS.c.arm,
            RECEIPTS.c.cost_nano,
            accepted_of().label("accepted"),
        )
        .where(*where, task_of().is_not(None))
        .subquery()
    )
    least, most, task = sa.func.min, sa.func.max, (one.c.team, one.c.goal)
    return (
        sa.select(
            *task,
            least(one.c.arm),
            most(one.c.arm),
            least(one.c.accepted),
            sa.func.sum(one.c.cost_nano),
        )
        .where(one.c.accepted.is_not(None))
        .group_by(*task)
    )


def _sliced(slices: list[Any]) -> Any:
    columns = SLICES.c
    return (
        sa.select(
            FACETS.c.team,
            columns.goal,
            sa.func.min(columns.arm).label("least"),
            sa.func.max(columns.arm).label("most"),
            sa.func.min(columns.accepted).label("accepted"),
            sa.func.sum(columns.cost_nano).label("cost"),
        )
        .join_from(SLICES, FACETS, FACETS.c.id == columns.facet)
        .where(*slices, columns.accepted.is_not(None))
        .group_by(columns.goal, FACETS.c.team)
    )

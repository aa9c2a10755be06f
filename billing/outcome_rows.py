"""Outcomes in the ledger's database: posted, and read back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from billing.appending import appending
from billing.finance_tables import OUTCOMES
from billing.outcomes import ACCEPTED, Outcome
from billing.reader import RECEIPTS, reading
from billing.rollup_sessions import moved, totalled
from billing.rollup_shape import BY_SESSION
from billing.rollup_tables import FACETS, SLICES

_SOME, _AT_ONCE = ":sessions", 500


def post(url: str, outcome: Outcome) -> None:
    """The outcome is in the database; it is the task's until another is posted.

    Sessions that are rolled up already are told at once, the others when they are.

    Raises:
        LedgerUnavailable: the database cannot be written.
    """
    row = {name: getattr(outcome, name) for name in Outcome.__slots__}
    with appending(url) as db:
        db.execute(OUTCOMES.insert().values(**row))
        _tell(db, outcome)


def _tell(db: Connection, outcome: Outcome) -> None:
    """Slices of the task, the sessions they are of, and the sums over those know the outcome."""
    team = sa.select(FACETS.c.id).where(FACETS.c.team == outcome.team)
    of_task = (SLICES.c.goal == outcome.task, SLICES.c.facet.in_(team))
    found = {str(row[0]) for row in db.execute(sa.select(SLICES.c.session).where(*of_task))}
    if not found:
        return
    for cube in BY_SESSION:
        for some in _chunks(sorted(found)):
            _run(db, moved(cube, _SOME, -1), some)
    db.execute(SLICES.update().where(*of_task).values(accepted=int(outcome.outcome == ACCEPTED)))
    for cube in BY_SESSION:
        for some in _chunks(sorted(found)):
            _run(db, totalled(cube, _SOME), some)
            _run(db, moved(cube, _SOME, 1), some)


def _run(db: Connection, sql: str, sessions: Sequence[str]) -> None:
    text = sa.text(sql).bindparams(sa.bindparam("sessions", expanding=True))
    db.execute(text, {"sessions": sessions})


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(names), _AT_ONCE):
        yield names[begin : begin + _AT_ONCE]


def history(url: str, team: str, task: str) -> list[Outcome]:
    """Every outcome of a team's task, the one that holds first."""
    query = _select().where(OUTCOMES.c.team == team, OUTCOMES.c.task == task)
    with reading(url) as db:
        return [Outcome(*row) for row in db.execute(query.order_by(OUTCOMES.c.seq.desc()))]


def newest(url: str, team: str, limit: int = 100) -> list[Outcome]:
    """The outcomes that hold, of the tasks that were closed last."""
    query = _select().where(OUTCOMES.c.team == team, OUTCOMES.c.seq.in_(holding()))
    with reading(url) as db:
        return [
            Outcome(*row) for row in db.execute(query.order_by(OUTCOMES.c.seq.desc()).limit(limit))
        ]


def holding() -> Any:
    """The rows that hold, as a query: the last of each team's task."""
    return sa.select(sa.func.max(OUTCOMES.c.seq)).group_by(OUTCOMES.c.team, OUTCOMES.c.task)


def task_of() -> Any:
    """The task that a receipt belongs to, as a column: its own, else its session."""
    return sa.func.coalesce(RECEIPTS.c.task, RECEIPTS.c.session)


def _select() -> Any:
    return sa.select(*(OUTCOMES.c[name] for name in Outcome.__slots__))

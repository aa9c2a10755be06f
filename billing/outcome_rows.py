"""Outcomes in the ledger's database: posted, and read back."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from billing.appending import appending
from billing.finance_tables import OUTCOMES
from billing.outcomes import ACCEPTED, Outcome
from billing.reader import RECEIPTS, reading
from billing.rollup_tables import FACETS, SLICES


def post(url: str, outcome: Outcome) -> None:
    """The outcome is in the database; it is the task's until another is posted.

    Sessions that are rolled up already are told at once, the others when they are.

    Raises:
        LedgerUnavailable: the database cannot be written.
    """
    row = {name: getattr(outcome, name) for name in Outcome.__slots__}
    with appending(url) as db:
        db.execute(OUTCOMES.insert().values(**row))
        team = sa.select(FACETS.c.id).where(FACETS.c.team == outcome.team)
        told = SLICES.update().where(SLICES.c.goal == outcome.task, SLICES.c.facet.in_(team))
        db.execute(told.values(accepted=int(outcome.outcome == ACCEPTED)))


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

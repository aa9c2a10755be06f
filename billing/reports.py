"""Read-only questions to the ledger, answered in typed rows.

Every sum is over the whole range asked for, never over a page. Money is integer nano-USD in
rows and decimal text where a function says so. Times are half-open: from ``start`` (or the
beginning) up to, not including, ``end`` (or now). Sums come from roll-ups where those reach
(``rolled``), which changes how fast the answer is, never what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

import orjson
import sqlalchemy as sa

from billing import rolled, session_arms, session_sums, task_sums
from billing.booking import booked
from billing.money import usd
from billing.reader import EPOCH, HOLDS, MS, RECEIPTS, epoch_ms, reading
from billing.receipt import Receipt, from_fields
from billing.rollup_shape import QUARTER_MS, SESSION_SUMS
from billing.savings import Moments, Session
from billing.scope import GROUPS, Scope, grouping
from billing.verify import head, verify

__all__ = [
    "GROUPS",
    "Row",
    "Scope",
    "TaskRow",
    "Top",
    "daily",
    "dearest",
    "epoch_ms",
    "grouped",
    "grouping",
    "head",
    "latest",
    "outcomes",
    "overall",
    "reading",
    "receipts",
    "sessions",
    "totals",
    "verify",
]

SETTLED = ("settled", "reconciled", "closed")
_MANY = ("session", "task")


@dataclass(frozen=True, slots=True)
class Row:
    """Sums over the receipts of one group; ``label`` is "" where the group has no name.

    ``baseline_nano`` sums receipts whose tokenmaxxed cost is known, ``compared_nano`` is
    what those same receipts cost; ``infeasible`` counts the others.
    """

    label: str
    requests: int
    original_prompt_tokens: int
    sent_prompt_tokens: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    effective_tokens: int
    cost_nano: int
    gateway_cost_nano: int
    waste_nano: int
    baseline_nano: int
    compared_nano: int
    infeasible: int
    estimated: int

    @property
    def saved_nano(self) -> int:
        """Tokenmaxxed less paid, where both are known; negative where routing cost more."""
        return self.baseline_nano - self.compared_nano

    @property
    def nano_per_effective_mtok(self) -> int | None:
        """Cost of a million effective tokens, nano-USD, or None without any."""
        if not self.effective_tokens:
            return None
        return self.cost_nano * 1_000_000 // self.effective_tokens


def totals(
    url: str,
    start: datetime | None = None,
    end: datetime | None = None,
    team: str | None = None,
) -> dict[str, int | str]:
    """Settled requests, metered tokens and cost (USD, decimal text).

    Apart: ``provisional_*`` are rows charged at their hold until they are reconciled,
    ``corrections`` and ``corrected`` what reconciliations booked (of a team: its own part),
    ``open_holds`` and ``held`` what is reserved just now.
    """
    scope = Scope(start, end, team)
    with reading(url) as db:
        by_state = {
            state: _row(state, figures)
            for (state,), figures in rolled.summed(db, scope, ("state",)).items()
        }
        query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(HOLDS.c.amount_nano), 0))
        if team is not None:
            query = query.where(HOLDS.c.team == team)
        holds, held = db.execute(query).one()
    settled = _sum(row for state, row in by_state.items() if state in SETTLED)
    provisional = _sum(row for state, row in by_state.items() if state not in SETTLED)
    amounts = [row.amount_nano for row in booked(url, scope)]
    return {
        "requests": settled.requests,
        "prompt_tokens": settled.prompt_tokens,
        "completion_tokens": settled.completion_tokens,
        "cost": usd(settled.cost_nano),
        "provisional_requests": provisional.requests,
        "provisional_cost": usd(provisional.cost_nano),
        "corrections": len(amounts),
        "corrected": usd(sum(amounts)),
        "open_holds": holds,
        "held": usd(int(held)),
    }


def overall(url: str, scope: Scope) -> Row:
    """Everything in scope as one row."""
    with reading(url) as db:
        return _sum(_row("all", figures) for figures in rolled.summed(db, scope).values())


def grouped(url: str, by: str, scope: Scope) -> list[Row]:
    """A row a group, the dearest first.

    Args:
        by: one of ``GROUPS``. Sessions and tasks may be millions: see ``dearest``.

    Raises:
        ValueError: another group.
    """
    column = str(grouping(by).name)
    with reading(url) as db:
        if by in _MANY:
            found = session_sums.summed_by(db, scope, column)
        else:
            found = {key: row for (key,), row in rolled.summed(db, scope, (column,)).items()}
    return _dearest_first(_row(label, figures) for label, figures in found.items())


@dataclass(frozen=True, slots=True)
class Top:
    """The dearest groups, and all others as one row: together the whole of the scope."""

    rows: list[Row]
    others: Row


def dearest(url: str, by: str, scope: Scope, limit: int = 100) -> Top:
    """As ``grouped``, but only so many rows; what they leave is summed, not left out.

    Raises:
        ValueError: not one of ``GROUPS``.
    """
    column = str(grouping(by).name)
    if by in _MANY:
        with reading(url) as db:
            found = session_sums.summed_by(db, scope, column, limit)
            figures = rolled.summed(db, scope).get((), [0] * len(SESSION_SUMS))
        rows, whole = [_row(label, row) for label, row in found.items()], _row("", figures)
    else:
        rows = grouped(url, by, scope)
        whole = _sum(rows)
    first = _dearest_first(rows)[:limit]
    return Top(first, _less(whole, _sum(first)))


def daily(url: str, zone: ZoneInfo, scope: Scope) -> list[tuple[date, Row]]:
    """A row a local day that has any request, oldest first."""
    days: dict[date, Row] = {}
    with reading(url) as db:
        for quarter, figures in rolled.by_quarter(db, scope, zone).items():
            day = (EPOCH + quarter * QUARTER_MS * MS).astimezone(zone).date()
            row = _row(day.isoformat(), figures)
            days[day] = _plus(days[day], row) if day in days else row
    return sorted(days.items())


def receipts(url: str, scope: Scope, limit: int = 1000) -> list[Receipt]:
    """The newest receipts in scope, newest first."""
    query = (
        sa.select(RECEIPTS.c.body)
        .where(*scope.where())
        .order_by(RECEIPTS.c.posted_ms.desc(), RECEIPTS.c.request_id.desc())
        .limit(limit)
    )
    with reading(url) as db:
        return [from_fields(orjson.loads(found.body)) for found in db.execute(query)]


def sessions(url: str, scope: Scope) -> tuple[list[Session], Moments]:
    """Held-out sessions and the sums of the routed ones, for ``savings.measure``.

    Of requests with a counterfactual. A session is accepted where every outcome of its
    tasks is, None where it has none.
    """
    with reading(url) as db:
        return session_arms.arms(db, scope)


@dataclass(frozen=True, slots=True)
class TaskRow:
    """Tasks of one arm whose outcome is known, and all that their requests cost.

    ``arm`` is "mixed" where a task's requests are of several arms.
    """

    arm: str
    accepted: int
    rejected: int
    cost_nano: int

    @property
    def success_rate(self) -> float:
        """The accepted share of the tasks."""
        return self.accepted / (self.accepted + self.rejected)

    @property
    def nano_per_accepted(self) -> int | None:
        """Cost of an accepted outcome, nano-USD: all that was paid over all accepted."""
        return self.cost_nano // self.accepted if self.accepted else None


def outcomes(url: str, scope: Scope) -> list[TaskRow]:
    """Closed tasks by arm, the rejected ones' cost included, sorted by arm."""
    with reading(url) as db:
        found = task_sums.closed_tasks(db, scope)
    return [TaskRow(arm, *counts) for arm, counts in sorted(found.items())]


def latest(url: str) -> datetime | None:
    """When the newest receipt was posted: the age of everything shown; None if none was."""
    with reading(url) as db:
        found = db.execute(sa.select(sa.func.max(RECEIPTS.c.posted_ms))).scalar()
    return None if found is None else EPOCH + int(found) * MS


def _row(label: str, figures: Sequence[int]) -> Row:
    return Row(label, *figures[: len(SESSION_SUMS)])


def _dearest_first(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (-row.cost_nano, row.label))


def _sum(rows: Iterable[Row]) -> Row:
    total = Row("all", *[0] * len(SESSION_SUMS))
    for row in rows:
        total = _plus(total, row)
    return total


def _plus(left: Row, right: Row, sign: int = 1) -> Row:
    figures = (getattr(left, name) + sign * getattr(right, name) for name in SESSION_SUMS)
    return Row(left.label, *figures)


def _less(left: Row, right: Row) -> Row:
    return _plus(left, right, -1)

"""Read-only questions to the ledger, answered in typed rows.

Every sum is over the whole range asked for, never over a page. Money is integer nano-USD in
rows and decimal text where a function says so. Times are half-open: from ``start`` (or the
beginning) up to, not including, ``end`` (or now).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from billing.booking import booked
from billing.finance_tables import OUTCOMES
from billing.money import usd
from billing.outcome_rows import holding, task_of
from billing.outcomes import ACCEPTED
from billing.reader import EPOCH, HOLDS, MS, RECEIPTS, epoch_ms, reading
from billing.receipt import Receipt, from_fields
from billing.savings import Session
from billing.verify import head, verify

__all__ = [
    "GROUPS",
    "Row",
    "Scope",
    "TaskRow",
    "daily",
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
GROUPS = {
    "action": "action",
    "team": "team",
    "project": "project",
    "key": "key",
    "user": "user",
    "requested_model": "requested_model",
    "model": "served_model",
    "tier": "tier",
    "upstream": "upstream",
    "arm": "arm",
    "state": "state",
    "usage_source": "usage_source",
    "session": "session_key",
    "task": "task",
}
_QUARTER_MS = 900_000


@dataclass(frozen=True, slots=True)
class Scope:
    """Which receipts: posted in ``[start, end)``, of one team or of all.

    ``also``: further (one of ``GROUPS``, label) pairs that must all hold; "" is no name.
    """

    start: datetime | None = None
    end: datetime | None = None
    team: str | None = None
    also: tuple[tuple[str, str], ...] = ()

    def where(self) -> list[Any]:
        """The same as conditions on receipts."""
        wanted = []
        if self.start is not None:
            wanted.append(RECEIPTS.c.posted_ms >= epoch_ms(self.start))
        if self.end is not None:
            wanted.append(RECEIPTS.c.posted_ms < epoch_ms(self.end))
        if self.team is not None:
            wanted.append(RECEIPTS.c.team == self.team)
        for by, label in self.also:
            column = grouping(by)
            wanted.append(column == label if label else sa.or_(column.is_(None), column == ""))
        return wanted


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
        settled = _one(db, scope, RECEIPTS.c.state.in_(SETTLED))
        provisional = _one(db, scope, RECEIPTS.c.state.not_in(SETTLED))
        query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(HOLDS.c.amount_nano), 0))
        if team is not None:
            query = query.where(HOLDS.c.team == team)
        holds, held = db.execute(query).one()
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
        return _one(db, scope)


def grouped(url: str, by: str, scope: Scope) -> list[Row]:
    """A row a group, the dearest first.

    Args:
        by: one of ``GROUPS``.

    Raises:
        ValueError: another group.
    """
    column = grouping(by)
    query = sa.select(column, *_sums()).where(*scope.where()).group_by(column)
    with reading(url) as db:
        rows = [_row(found) for found in db.execute(query)]
    return sorted(rows, key=lambda row: (-row.cost_nano, row.label))


def daily(url: str, zone: ZoneInfo, scope: Scope) -> list[tuple[date, Row]]:
    """A row a local day that has any request, oldest first."""
    quarter = sa.type_coerce(
        RECEIPTS.c.posted_ms.op("/")(sa.literal_column(str(_QUARTER_MS))), sa.BigInteger
    )
    query = sa.select(quarter, *_sums()).where(*scope.where()).group_by(quarter)
    days: dict[date, Row] = {}
    with reading(url) as db:
        for found in db.execute(query):
            day = (EPOCH + int(found[0]) * _QUARTER_MS * MS).astimezone(zone).date()
            row = _row(found, day.isoformat())
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


def sessions(url: str, scope: Scope) -> tuple[list[Session], list[Session]]:
    """Held-out and routed sessions for ``savings.measure``, of requests with a counterfactual.

    A session is accepted where every outcome of its tasks is, None where it has none.
    """
    total = sa.func.sum
    key = sa.func.coalesce(RECEIPTS.c.session_key, RECEIPTS.c.request_id)
    joined, accepted = with_outcomes()
    query = (
        sa.select(
            RECEIPTS.c.arm,
            total(RECEIPTS.c.cost_nano),
            total(RECEIPTS.c.baseline_nano),
            sa.func.min(accepted),
        )
        .select_from(joined)
        .where(*scope.where(), RECEIPTS.c.baseline_nano.is_not(None))
        .group_by(RECEIPTS.c.arm, key)
    )
    arms: dict[str, list[Session]] = {"holdout": [], "routed": []}
    with reading(url) as db:
        for arm, paid, tokenmaxxed, good in db.execute(query):
            if arm in arms:
                verdict = None if good is None else bool(good)
                arms[arm].append(Session(int(paid), int(tokenmaxxed), verdict))
    return arms["holdout"], arms["routed"]


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
    joined, accepted = with_outcomes()
    arm = RECEIPTS.c.arm
    one_arm = sa.case((sa.func.min(arm) == sa.func.max(arm), sa.func.min(arm)), else_="mixed")
    tasks = (
        sa.select(
            one_arm.label("arm"),
            sa.func.min(accepted).label("accepted"),
            sa.func.sum(RECEIPTS.c.cost_nano).label("cost"),
        )
        .select_from(joined)
        .where(*scope.where(), accepted.is_not(None))
        .group_by(RECEIPTS.c.team, task_of())
        .subquery()
    )
    total = sa.func.sum
    good = tasks.c.accepted
    query = sa.select(tasks.c.arm, total(good), total(1 - good), total(tasks.c.cost))
    with reading(url) as db:
        rows = db.execute(query.group_by(tasks.c.arm)).all()
    return sorted((TaskRow(a, int(x), int(y), int(c)) for a, x, y, c in rows), key=lambda r: r.arm)


def with_outcomes() -> tuple[Any, Any]:
    """Receipts beside the outcome of their task, and 1, 0 or NULL for accepted, not, unknown."""
    said = sa.select(OUTCOMES).where(OUTCOMES.c.seq.in_(holding())).subquery()
    joined = RECEIPTS.outerjoin(
        said, sa.and_(said.c.team == RECEIPTS.c.team, said.c.task == task_of())
    )
    known = said.c.outcome.is_not(None)
    return joined, sa.case((said.c.outcome == ACCEPTED, 1), (known, 0), else_=None)


def latest(url: str) -> datetime | None:
    """When the newest receipt was posted: the age of everything shown; None if none was."""
    with reading(url) as db:
        found = db.execute(sa.select(sa.func.max(RECEIPTS.c.posted_ms))).scalar()
    return None if found is None else EPOCH + int(found) * MS


def grouping(by: str) -> Any:
    """The receipts' column of a group. Raises ValueError for a group that is none."""
    if by not in GROUPS:
        raise ValueError(f"cannot group by {by!r}: choose one of {', '.join(sorted(GROUPS))}")
    return RECEIPTS.c[GROUPS[by]]


def _sums() -> list[Any]:
    def total(column: Any) -> Any:
        return sa.func.coalesce(sa.func.sum(column), 0)

    known = RECEIPTS.c.baseline_nano.is_not(None)
    return [
        sa.func.count(),
        total(RECEIPTS.c.original_prompt_tokens),
        total(RECEIPTS.c.sent_prompt_tokens),
        total(RECEIPTS.c.prompt_tokens),
        total(RECEIPTS.c.completion_tokens),
        total(RECEIPTS.c.cached_tokens),
        total(RECEIPTS.c.effective_tokens),
        total(RECEIPTS.c.cost_nano),
        total(RECEIPTS.c.gateway_cost_nano),
        total(RECEIPTS.c.waste_nano),
        total(RECEIPTS.c.baseline_nano),
        total(sa.case((known, RECEIPTS.c.cost_nano), else_=0)),
        total(sa.case((known, 0), else_=1)),
        total(sa.case((RECEIPTS.c.usage_source == "estimated", 1), else_=0)),
    ]


def _row(found: Any, label: str | None = None) -> Row:
    first, *sums = found
    name = label if label is not None else ("" if first is None else str(first))
    return Row(name, *(int(value) for value in sums))


def _one(db: Connection, scope: Scope, *more: Any) -> Row:
    query = sa.select(sa.literal("all"), *_sums()).where(*scope.where(), *more)
    return _row(db.execute(query).one())


def _plus(left: Row, right: Row) -> Row:
    names = [name for name in Row.__slots__ if name != "label"]
    return Row(left.label, *(getattr(left, name) + getattr(right, name) for name in names))

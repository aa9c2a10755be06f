"""Which rows by session a question is answered from, and which sessions it cuts.

Whole hours of a range are in slices; its two ends, and what is not rolled up, are receipts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from billing.finance_tables import OUTCOMES
from billing.outcome_rows import task_of
from billing.outcomes import ACCEPTED
from billing.reader import RECEIPTS
from billing.rolled import between, bounds, facets_in, rolled_seq, tail
from billing.rollup_sessions import BLOCK_H, DAY_H
from billing.rollup_shape import BY_SESSION, HOUR_MS, MODELS, Cube, parts
from billing.rollup_tables import FACETS, SLICES, TOTALS
from billing.savings import Session
from billing.scope import Scope

HOLDOUT, ROUTED = "holdout", "routed"
NAMES = {
    "session_key": (SLICES.c.session, SLICES.c.keyed),
    "task": (SLICES.c.goal, SLICES.c.named),
}
"""The columns of slices that a label of receipts is in: the name, and whether it is one."""
_AT_ONCE = 500
_EVER_H = (1 << 46) // HOUR_MS


@dataclass(frozen=True, slots=True)
class Reach:
    """Slices in scope as conditions (None: there are none), and all other receipts in it.

    ``start`` and ``end`` are the hours of the slices, None without an end; ``named`` says
    that the scope asks for a session or a task by name.
    """

    scope: Scope
    by: Cube | None
    start: int | None
    end: int | None
    slices: list[Any] | None
    receipts: list[list[Any]]
    named: bool

    @property
    def cube(self) -> int:
        """The number of the cube that the slices are of."""
        return self.by.number if self.by else 0

    @property
    def model(self) -> str:
        """The model that sessions' rows are of; "" where the cube has none."""
        if self.by is not MODELS:
            return ""
        return next(label for name, label in self.scope.labels() if name == "served_model")

    def facets(self, arm: str | None = None) -> Any:
        """The facets in scope, of one arm or all, as a query."""
        found = sa.select(FACETS.c.id).where(FACETS.c.cube == self.cube)
        for name, label in self.scope.labels():
            if self.by is not None and name in self.by.labels:
                found = found.where(FACETS.c[name] == label)
        return found if arm is None else found.where(FACETS.c.arm == arm)

    def own(self) -> list[Any]:
        """Sessions' rows of the cube and model, as conditions."""
        columns = TOTALS.c
        wanted = [columns.cube == self.cube]
        return [*wanted, columns.model == self.model] if self.by is MODELS else wanted

    def began(
        self, arm: str | None = None, start: int | None = None, end: int | None = None
    ) -> list[Any]:
        """Unmixed sessions in scope that began in the range, or in some hours of it."""
        columns = TOTALS.c
        first = self.start if start is None else start
        last = self.end if end is None else end
        wanted = [columns.cube == self.cube, columns.facet.in_(self.facets(arm))]
        if first is not None:
            wanted.append(columns.first >= first)
        if last is not None:
            wanted.append(columns.first < last)
        return wanted

    def blocks(self) -> tuple[int | None, int | None]:
        """The first whole block of the range and the one after the last; None without an end."""
        first = None if self.start is None else -(-self.start // BLOCK_H)
        return first, None if self.end is None else self.end // BLOCK_H

    def edges(self) -> Iterator[tuple[int, int]]:
        """The hours of the range that are in no whole block of it."""
        first, last = self.blocks()
        start, end = self.start or 0, _EVER_H if self.end is None else self.end
        if first is not None and last is not None and first >= last:
            yield start, end
            return
        if first is not None and start < first * BLOCK_H:
            yield start, first * BLOCK_H
        if last is not None and last * BLOCK_H < end:
            yield last * BLOCK_H, end

    def cut(self, db: Connection) -> set[str]:
        """Sessions that are not to be taken whole: those over an end, and the mixed ones."""
        columns, found = TOTALS.c, set()
        mixed = [*self.own(), columns.facet == sa.literal_column("0")]
        if self.start is not None:
            mixed.append(columns.last >= self.start)
        if self.end is not None:
            mixed.append(columns.first < self.end)
        asked = [mixed]
        for at in (self.start, self.end):
            if at is not None:
                asked += [[*self.own(), *where] for where in _over(at)]
        for where in asked:
            found |= {str(row[0]) for row in db.execute(sa.select(columns.session).where(*where))}
        return found


def _over(at: int) -> Iterator[list[Any]]:
    """Sessions that began before an hour and went on in it or after, as conditions."""
    columns = TOTALS.c
    for span, width in ((1, DAY_H), (2, BLOCK_H), (3, 0)):
        where = [
            columns.span == sa.literal_column(str(span)),
            columns.span > sa.literal_column("0"),  # so that the index is seen to apply
            columns.first < at,
            columns.last >= at,
        ]
        yield [*where, columns.first >= at // width * width] if width else where


def reach_of(db: Connection, scope: Scope) -> Reach:
    """Where a question's answer is."""
    done = rolled_seq(db)
    labels = {name for name, _ in scope.labels()}
    asked = labels - NAMES.keys()
    cube = next((one for one in BY_SESSION if asked <= set(one.labels)), None)
    if not done or cube is None:
        return Reach(scope, None, None, None, None, [scope.where()], named=False)
    slices: list[Any] | None = None
    hours: tuple[int | None, int | None] = (None, None)
    receipts = [tail(done, scope)]
    for part in parts(*bounds(scope), (HOUR_MS,)):
        if part.width_ms:
            first, last = part.buckets
            hours = (None if scope.start is None else first, None if scope.end is None else last)
            slices = [
                SLICES.c.cube == cube.number,
                SLICES.c.bucket >= first,
                SLICES.c.bucket < last,
                *_named(scope, cube),
            ]
        else:
            receipts.append([*between(part), RECEIPTS.c.seq <= done, *scope.named()])
    return Reach(scope, cube, *hours, slices, receipts, named=bool(labels & NAMES.keys()))


def accepted_of() -> Any:
    """Whether a receipt's task was accepted, as a column: 1, 0, or NULL where nobody said."""
    said = sa.case((OUTCOMES.c.outcome == ACCEPTED, 1), else_=0)
    of_task = (OUTCOMES.c.team == RECEIPTS.c.team, OUTCOMES.c.task == task_of())
    last = sa.select(said).where(*of_task).order_by(OUTCOMES.c.seq.desc()).limit(1)
    return last.correlate(RECEIPTS).scalar_subquery()


def fresh_sessions(db: Connection, where: Sequence[Any]) -> Iterator[tuple[str, str, Session]]:
    """(Arm, name, sums) of sessions as some receipts have them."""
    one = (
        sa.select(
            RECEIPTS.c.arm,
            sa.func.coalesce(RECEIPTS.c.session_key, RECEIPTS.c.request_id).label("unit"),
            RECEIPTS.c.cost_nano,
            RECEIPTS.c.baseline_nano,
            accepted_of().label("accepted"),
        )
        .where(*where, RECEIPTS.c.baseline_nano.is_not(None))
        .subquery()
    )
    total, unit = sa.func.sum, (one.c.arm, one.c.unit)
    query = sa.select(
        *unit, total(one.c.cost_nano), total(one.c.baseline_nano), sa.func.min(one.c.accepted)
    ).group_by(*unit)
    for arm, name, *figures in db.execute(query):
        yield arm, name, _session(figures)


def sliced_sessions(
    db: Connection, slices: list[Any], arm: str, only: list[str] | None = None
) -> Iterator[tuple[str, Session]]:
    """Sessions of an arm as slices have them: some by name, or all."""
    columns, total = SLICES.c, sa.func.sum
    query = (
        sa.select(
            columns.session,
            total(columns.compared_nano),
            total(columns.baseline_nano),
            sa.func.min(columns.accepted),
        )
        .where(*slices, columns.arm == arm, columns.infeasible < columns.requests)
        .group_by(columns.session)
    )
    for some in [None] if only is None else chunks(only):
        picked = query if some is None else query.where(SLICES.c.session.in_(some))
        for name, *figures in db.execute(picked):
            yield name, _session(figures)


def both(old: Session | None, new: Session) -> Session:
    """Two parts of one session; accepted where all that is known of it is."""
    if old is None:
        return new
    said = [one for one in (old.accepted, new.accepted) if one is not None]
    return Session(
        old.paid_nano + new.paid_nano,
        old.tokenmaxxed_nano + new.tokenmaxxed_nano,
        all(said) if said else None,
    )


def chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Names, so many at once as a statement takes."""
    for begin in range(0, len(names), _AT_ONCE):
        yield names[begin : begin + _AT_ONCE]


def _named(scope: Scope, cube: Cube) -> list[Any]:
    """A scope's labels as conditions on slices."""
    wanted: list[Any] = []
    for column, label in scope.labels():
        if column in NAMES:
            name, real = NAMES[column]
            wanted += [name == label, real == 1] if label else [real == 0]
    facets = facets_in(scope, cube)
    return wanted if facets is None else [*wanted, SLICES.c.facet.in_(facets)]


def _session(figures: Sequence[Any]) -> Session:
    paid, tokenmaxxed, accepted = figures
    return Session(int(paid), int(tokenmaxxed), None if accepted is None else bool(accepted))

"""Sums by session and by task: from slices where they reach, from receipts where they do not.

The unit of savings is the session, of outcomes the task, and there may be millions of
either. What is only summed is summed by the database; the few sessions that have receipts
outside the whole hours of a range, or not rolled up yet, are taken out of that sum and put
back whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from billing.finance_tables import OUTCOMES
from billing.outcome_rows import task_of
from billing.outcomes import ACCEPTED
from billing.reader import RECEIPTS
from billing.rolled import (
    Figures,
    between,
    bounds,
    facets_in,
    receipt_sums,
    rolled_seq,
    sums,
    tail,
)
from billing.rollup_shape import BY_SESSION, HOUR_MS, SESSION_SUMS, Cube, parts
from billing.rollup_tables import FACETS, SLICES
from billing.savings import Moments, Session
from billing.scope import Scope

HOLDOUT, ROUTED = "holdout", "routed"
_AT_ONCE = 500
_NAMES = {
    "session_key": (SLICES.c.session, SLICES.c.keyed),
    "task": (SLICES.c.goal, SLICES.c.named),
}


@dataclass(frozen=True, slots=True)
class Task:
    """One closed task; ``arm`` is None where its requests are of several."""

    arm: str | None
    accepted: bool
    cost_nano: int


@dataclass(frozen=True, slots=True)
class _Reach:
    """Slices in scope as conditions (None: there are none), and all other receipts in it."""

    slices: list[Any] | None
    receipts: list[list[Any]]


def arms(db: Connection, scope: Scope) -> tuple[list[Session], Moments]:
    """Held-out sessions, and the sums of the routed ones, of requests with a counterfactual.

    A session is accepted where every outcome of its tasks is, None where it has none.
    """
    reach = _reach(db, scope)
    fresh: dict[tuple[str, str], Session] = {}
    for where in reach.receipts:
        for arm, key, session in _fresh_sessions(db, where):
            fresh[arm, key] = _both(fresh.get((arm, key)), session)
    if reach.slices is None:
        return _held(fresh), Moments.of(s for (arm, _), s in fresh.items() if arm == ROUTED)
    held = {key: session for (arm, key), session in fresh.items() if arm == HOLDOUT}
    for key, session in _sliced_sessions(db, reach.slices, HOLDOUT):
        held[key] = _both(held.get(key), session)
    routed = _moments(db, reach.slices)
    late = {key: session for (arm, key), session in fresh.items() if arm == ROUTED}
    before = dict(_sliced_sessions(db, reach.slices, ROUTED, list(late)))
    after = [_both(before.get(key), session) for key, session in late.items()]
    return list(held.values()), routed.less(before.values()).plus(after)


def closed_tasks(db: Connection, scope: Scope) -> Iterator[Task]:
    """Every task in scope whose outcome is known, with all that its requests in scope cost."""
    reach = _reach(db, scope)
    found: dict[tuple[str, str], Task] = {}
    rows: list[Iterable[Any]] = [db.execute(_fresh_tasks(where)) for where in reach.receipts]
    if reach.slices is not None:
        rows.append(_sliced_tasks(db, reach.slices))
    for some in rows:
        for team, goal, first, last, accepted, cost in some:
            arm, old = (first if first == last else None), found.get((team, goal))
            if old is None:
                found[team, goal] = Task(arm, bool(accepted), int(cost))
            else:
                same = arm if arm == old.arm else None
                found[team, goal] = Task(same, bool(accepted), int(cost) + old.cost_nano)
    yield from found.values()


def summed_by(
    db: Connection, scope: Scope, column: str, most: int | None = None
) -> dict[str, Figures]:
    """The figures of ``SESSION_SUMS`` by session key or task; "" where there is none.

    Args:
        most: only so many groups, the dearest, are sure to be among those returned.
    """
    reach = _reach(db, scope)
    found: dict[str, Figures] = {}
    label = sa.func.coalesce(RECEIPTS.c[column], "").label("by_label")
    for where in reach.receipts:
        query = sa.select(label, *receipt_sums(SESSION_SUMS)).where(*where)
        _add(found, db.execute(query.group_by(sa.text("by_label"))))
    if reach.slices is None:
        return found
    name, real = _NAMES[column]
    own = sa.select(name, *sums(SLICES, SESSION_SUMS)).where(*reach.slices, real == 1)
    if most is None:
        _add(found, db.execute(own.group_by(name)))
    else:
        cost = sa.func.sum(SLICES.c.cost_nano)
        top = sa.select(name).where(*reach.slices, real == 1).group_by(name)
        wanted = {str(row[0]) for row in db.execute(top.order_by(cost.desc(), name).limit(most))}
        for some in _chunks(sorted((wanted | found.keys()) - {""})):
            _add(found, db.execute(own.where(name.in_(some)).group_by(name)))
    none = sa.select(sa.literal(""), *sums(SLICES, SESSION_SUMS)).where(*reach.slices, real == 0)
    _add(found, (row for row in db.execute(none) if row[1]))
    return found


def accepted_of() -> Any:
    """Whether a receipt's task was accepted, as a column: 1, 0, or NULL where nobody said."""
    said = sa.case((OUTCOMES.c.outcome == ACCEPTED, 1), else_=0)
    of_task = (OUTCOMES.c.team == RECEIPTS.c.team, OUTCOMES.c.task == task_of())
    last = sa.select(said).where(*of_task).order_by(OUTCOMES.c.seq.desc()).limit(1)
    return last.correlate(RECEIPTS).scalar_subquery()


def _reach(db: Connection, scope: Scope) -> _Reach:
    done = rolled_seq(db)
    asked = {name for name, _ in scope.labels()} - _NAMES.keys()
    cube = next((one for one in BY_SESSION if asked <= set(one.labels)), None)
    if not done or cube is None:
        return _Reach(None, [scope.where()])
    slices: list[Any] | None = None
    receipts = [tail(done, scope)]
    for part in parts(*bounds(scope), (HOUR_MS,)):
        if part.width_ms:
            first, last = part.buckets
            slices = [
                SLICES.c.cube == cube.number,
                SLICES.c.bucket >= first,
                SLICES.c.bucket < last,
                *_named(scope, cube),
            ]
        else:
            receipts.append([*between(part), RECEIPTS.c.seq <= done, *scope.named()])
    return _Reach(slices, receipts)


def _named(scope: Scope, cube: Cube) -> list[Any]:
    """A scope's labels as conditions on slices."""
    wanted: list[Any] = []
    for column, label in scope.labels():
        if column in _NAMES:
            name, real = _NAMES[column]
            wanted += [name == label, real == 1] if label else [real == 0]
    facets = facets_in(scope, cube)
    return wanted if facets is None else [*wanted, SLICES.c.facet.in_(facets)]


def _fresh_sessions(db: Connection, where: Sequence[Any]) -> Iterator[tuple[str, str, Session]]:
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


def _by_session(slices: list[Any], arm: str) -> Any:
    columns, total = SLICES.c, sa.func.sum
    return (
        sa.select(
            columns.session,
            total(columns.compared_nano).label("paid"),
            total(columns.baseline_nano).label("whole"),
            sa.func.min(columns.accepted).label("accepted"),
        )
        .where(
            *slices,
            # Written out, so that the index over the few held-out rows is seen to apply.
            columns.arm == (sa.literal_column(f"'{HOLDOUT}'") if arm == HOLDOUT else arm),
            columns.infeasible < columns.requests,
        )
        .group_by(columns.session)
    )


def _sliced_sessions(
    db: Connection, slices: list[Any], arm: str, only: list[str] | None = None
) -> Iterator[tuple[str, Session]]:
    query = _by_session(slices, arm)
    groups = [None] if only is None else list(_chunks(only))
    for some in groups:
        picked = query if some is None else query.where(SLICES.c.session.in_(some))
        for name, *figures in db.execute(picked):
            yield name, _session(figures)


def _moments(db: Connection, slices: list[Any]) -> Moments:
    one = _by_session(slices, ROUTED).subquery()
    total, whole = sa.func.sum, one.c.whole
    real: Any = sa.cast(whole, sa.Double())
    query = sa.select(
        sa.func.count(),
        total(one.c.paid),
        total(whole),
        total(real * real),
        sa.func.count(one.c.accepted),
        total(one.c.accepted),
    ).select_from(one)
    count, paid, tokenmaxxed, squares, known, accepted = db.execute(query).one()
    return Moments(
        count,
        int(paid or 0),
        int(tokenmaxxed or 0),
        float(squares or 0.0),
        known,
        int(accepted or 0),
    )


def _fresh_tasks(where: Sequence[Any]) -> Any:
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


def _sliced_tasks(db: Connection, slices: list[Any]) -> Iterator[tuple[Any, ...]]:
    columns = SLICES.c
    query = (
        sa.select(
            columns.facet,
            columns.goal,
            sa.func.min(columns.arm),
            sa.func.max(columns.arm),
            sa.func.min(columns.accepted),
            sa.func.sum(columns.cost_nano),
        )
        .where(*slices, columns.accepted.is_not(None))
        .group_by(columns.goal, columns.facet)
    )
    teams = {row.id: row.team for row in db.execute(sa.select(FACETS.c.id, FACETS.c.team))}
    for facet, *rest in db.execute(query):
        yield teams[facet], *rest


def _session(figures: Sequence[Any]) -> Session:
    paid, tokenmaxxed, accepted = figures
    return Session(int(paid), int(tokenmaxxed), None if accepted is None else bool(accepted))


def _both(old: Session | None, new: Session) -> Session:
    """Two parts of one session; accepted where all that is known of it is."""
    if old is None:
        return new
    said = [one for one in (old.accepted, new.accepted) if one is not None]
    return Session(
        old.paid_nano + new.paid_nano,
        old.tokenmaxxed_nano + new.tokenmaxxed_nano,
        all(said) if said else None,
    )


def _held(found: dict[tuple[str, str], Session]) -> list[Session]:
    return [session for (arm, _), session in found.items() if arm == HOLDOUT]


def _add(found: dict[str, Figures], rows: Iterable[Sequence[Any]]) -> None:
    for label, *figures in rows:
        new, old = [int(value) for value in figures], found.get(label)
        found[label] = new if old is None else [a + b for a, b in zip(old, new, strict=True)]


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(names), _AT_ONCE):
        yield names[begin : begin + _AT_ONCE]

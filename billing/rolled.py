"""Sums for reports: from roll-ups where they reach, from receipts where they do not.

Any range is whole buckets, the receipts at its two ends, and the receipts that are not
rolled up yet; each receipt is in exactly one of them. Whoever asks does so on a connection
that sees one state of the database throughout (``reader.reading``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from billing.reader import EPOCH, MS, RECEIPTS, epoch_ms
from billing.rollup import ROLLED, label_sql
from billing.rollup_shape import (
    DAY_MS,
    DIMENSIONS,
    HOUR_MS,
    PEOPLE,
    QUARTER_MS,
    SUMS,
    WHO,
    Cube,
    Part,
    cube_of,
    parts,
)
from billing.rollup_tables import FACETS, ROLLUPS, SLICES
from billing.scope import Scope

Figures = list[int]
"""The values of ``SUMS``, in that order."""
Grouped = dict[tuple[str, ...], Figures]
_EVERY = tuple(SUMS)


def rolled_seq(db: Connection) -> int:
    """The last receipt that is in the roll-ups."""
    return int(db.execute(sa.text(ROLLED)).scalar() or 0)


def summed(db: Connection, scope: Scope, by: Sequence[str] = ()) -> Grouped:
    """Sums of the receipts in scope by columns of receipts; labels are "" where there is none."""
    done = rolled_seq(db)
    cube = cube_of({*by, *(name for name, _ in scope.labels())}) if done else None
    found: Grouped = {}
    if cube is None:
        _add(found, _from_receipts(db, scope.where(), by), len(by))
        return found
    for part in _parts(scope, cube):
        if part.width_ms:
            _add(found, _from_rollups(db, scope, by, (cube, part)), len(by))
        else:
            where = [*between(part), RECEIPTS.c.seq <= done, *scope.named()]
            _add(found, _from_receipts(db, where, by), len(by))
    _add(found, _from_receipts(db, tail(done, scope), by), len(by))
    return found


def by_quarter(db: Connection, scope: Scope, zone: ZoneInfo) -> dict[int, Figures]:
    """Sums of the receipts in scope by quarter of an hour, its number since the epoch.

    Quarters may be whole hours where the zone's midnights are.
    """
    done = rolled_seq(db)
    finest = HOUR_MS if _whole_hours(db, scope, zone) else QUARTER_MS
    cube = cube_of({name for name, _ in scope.labels()}, finest) if done else None
    quarter = whole(RECEIPTS.c.posted_ms, QUARTER_MS)
    found: dict[int, Figures] = {}
    if cube is None:
        return _by_number(db, scope.where(), quarter, found)
    narrow = cube.widths[-1]
    for part in parts(*bounds(scope), (narrow,)):
        if part.width_ms:
            for bucket, *figures in _from_rollups(db, scope, None, (cube, part)):
                _more(found, int(bucket) * (narrow // QUARTER_MS), figures)
        else:
            where = [*between(part), RECEIPTS.c.seq <= done, *scope.named()]
            _by_number(db, where, quarter, found)
    return _by_number(db, tail(done, scope), quarter, found)


def names(db: Connection, column: str) -> set[str]:
    """Every label that a column of receipts has."""
    done = rolled_seq(db)
    own = RECEIPTS.c[column]
    fresh = sa.select(own).where(RECEIPTS.c.seq > done, own.is_not(None)).distinct()
    found = {str(row[0]) for row in db.execute(fresh)}
    if column in DIMENSIONS:
        cube = cube_of({column})
        known = sa.select(FACETS.c[column]).where(FACETS.c.cube == (cube or WHO).number).distinct()
    else:
        name, real = ("goal", "named") if column == "task" else ("session", "keyed")
        known = (
            sa.select(SLICES.c[name])
            .where(SLICES.c.cube == PEOPLE.number, SLICES.c[real] == 1)
            .distinct()
        )
    return (found | {str(row[0]) for row in db.execute(known)}) - {""}


def bounds(scope: Scope) -> tuple[int | None, int | None]:
    """A scope's range in epoch milliseconds."""
    start, end = scope.start, scope.end
    return None if start is None else epoch_ms(start), None if end is None else epoch_ms(end)


def between(part: Part) -> list[Any]:
    """A part of a range as conditions on receipts."""
    return [RECEIPTS.c.posted_ms >= part.start_ms, RECEIPTS.c.posted_ms < part.end_ms]


def tail(done: int, scope: Scope) -> list[Any]:
    """Receipts in scope that are not rolled up, as conditions.

    Their place in the order of posting finds them; an index on the time or the team would be
    the slower way (a team's receipts may be millions), so none applies to these here.
    """
    start, end = bounds(scope)
    posted = RECEIPTS.c.posted_ms + 0
    wanted = [RECEIPTS.c.seq > done]
    if start is not None:
        wanted.append(posted >= start)
    if end is not None:
        wanted.append(posted < end)
    if scope.team is not None:
        wanted.append(RECEIPTS.c.team + "" == scope.team)
    return [*wanted, *replace(scope, team=None).named()]


def sums(table: Any, names: Iterable[str] = _EVERY) -> list[Any]:
    """The figures summed over rows of roll-ups or slices."""
    return [sa.func.coalesce(sa.func.sum(table.c[name]), 0).label(name) for name in names]


def receipt_sums(names: Iterable[str] = _EVERY) -> list[Any]:
    """The same figures summed over receipts."""
    return [
        sa.func.coalesce(sa.func.sum(sa.literal_column(SUMS[name])), 0).label(name)
        for name in names
    ]


def whole(column: Any, size: int) -> Any:
    """A column's number of whole sizes."""
    return sa.type_coerce(column.op("/")(sa.literal_column(str(size))), sa.BigInteger)


def facets_in(scope: Scope, cube: Cube) -> Any:
    """The ids of a cube's facets in scope, as a query; None for all of them."""
    wanted = [FACETS.c[name] == label for name, label in scope.labels() if name in cube.labels]
    if not wanted:
        return None
    return sa.select(FACETS.c.id).where(FACETS.c.cube == cube.number, *wanted)


def _parts(scope: Scope, cube: Cube) -> Iterator[Part]:
    yield from parts(*bounds(scope), cube.widths)


def _from_rollups(
    db: Connection, scope: Scope, by: Sequence[str] | None, where: tuple[Cube, Part]
) -> Iterable[Sequence[Any]]:
    """Sums of whole buckets by labels, or by bucket where ``by`` is None."""
    cube, part = where
    first, last = part.buckets
    columns = ROLLUPS.c
    groups = [columns.bucket] if by is None else [FACETS.c[name] for name in by]
    query = sa.select(*groups, *sums(ROLLUPS)).where(
        columns.cube == cube.number,
        columns.width_ms == part.width_ms,
        columns.bucket >= first,
        columns.bucket < last,
    )
    facets = facets_in(scope, cube)
    if by:
        query = query.join_from(ROLLUPS, FACETS, FACETS.c.id == columns.facet)
    if facets is not None:
        query = query.where(columns.facet.in_(facets))
    return db.execute(query.group_by(*groups) if groups else query)


def _from_receipts(
    db: Connection, where: Sequence[Any], by: Sequence[str]
) -> Iterable[Sequence[Any]]:
    labels: list[Any] = [sa.literal_column(label_sql(name)).label(f"by_{name}") for name in by]
    query = sa.select(*labels, *receipt_sums()).select_from(RECEIPTS).where(*where)
    return db.execute(query.group_by(*(sa.text(f"by_{name}") for name in by)) if by else query)


def _by_number(
    db: Connection, where: Sequence[Any], number: Any, found: dict[int, Figures]
) -> dict[int, Figures]:
    query = sa.select(number, *receipt_sums()).where(*where).group_by(number)
    for bucket, *figures in db.execute(query):
        _more(found, int(bucket), figures)
    return found


def _add(found: Grouped, rows: Iterable[Sequence[Any]], labels: int) -> None:
    for row in rows:
        if row[labels]:
            _more(found, tuple(row[:labels]), row[labels:])


def _more(found: dict[Any, Figures], key: Any, figures: Sequence[Any]) -> None:
    old = found.get(key)
    new = [int(value) for value in figures]
    found[key] = new if old is None else [a + b for a, b in zip(old, new, strict=True)]


def _whole_hours(db: Connection, scope: Scope, zone: ZoneInfo) -> bool:
    """Whether every midnight of a zone in the range is a whole hour in UTC."""
    start, end = bounds(scope)
    posted = RECEIPTS.c.posted_ms  # two queries: each end is at an end of the index
    oldest = db.execute(sa.select(sa.func.min(posted))).scalar()
    newest = db.execute(sa.select(sa.func.max(posted))).scalar()
    if oldest is None or newest is None:
        return True
    first, last = max(start or 0, int(oldest)), min(end or int(newest), int(newest))
    for at_ms in range(first, last + DAY_MS, DAY_MS):
        offset = (EPOCH + at_ms * MS).astimezone(zone).utcoffset()
        if offset is not None and offset.total_seconds() % 3600:
            return False
    return True

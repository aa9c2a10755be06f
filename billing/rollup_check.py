"""Whether the roll-ups are what receipts say, row by row."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from billing.rolled import rolled_seq
from billing.rollup import ACCEPTED_SQL, OWN, labels_sql
from billing.rollup_sessions import KEPT, MOMENTS, moments_of, totals_of
from billing.rollup_shape import BY_SESSION, CUBES, HOUR_MS, SESSION_SUMS, SUMS, WHO, Cube

_REMEDY = "`weir ledger rollup --rebuild` makes them anew from receipts"


def broken(db: Connection) -> Iterator[str]:
    """What of the roll-ups is not what receipts say, in sentences."""
    done = rolled_seq(db)
    for cube in CUBES:
        for width, wider in zip(cube.widths[1:], cube.widths, strict=False):
            rows = _count(db, _rows(cube, wider), _widened(cube, width, wider))
            if rows:
                yield f"roll-ups: {rows} sums of wider spans are not those of narrower; {_REMEDY}"
        rows = _count(db, _rows(cube, cube.widths[-1]), _summed(cube, done))
        if rows:
            by = ", ".join(cube.labels) or "time"
            yield f"roll-ups: {rows} sums by {by} are not what receipts say; {_REMEDY}"
    for cube in BY_SESSION:
        rows = _count(db, _slices(cube), _slices_again(cube, done))
        if rows:
            yield f"roll-ups: {rows} sums by session are not what receipts say; {_REMEDY}"
        rows = _count(db, _session_rows(cube), totals_of(cube))
        if rows:
            yield f"roll-ups: {rows} sessions' totals are not the sums of their hours; {_REMEDY}"
        rows = _count(db, _moment_rows(cube), moments_of(cube))
        if rows:
            yield f"roll-ups: {rows} sums over sessions are not those of their totals; {_REMEDY}"


def _count(db: Connection, kept: str, again: str) -> int:
    """How many rows are in one of two results but not in both."""
    both = ((kept, again), (again, kept))
    return sum(
        int(db.execute(sa.text(f"SELECT COUNT(*) FROM ({one} EXCEPT {other}) d")).scalar_one())  # noqa: S608 - constants
        for one, other in both
    )


def _names(cube: Cube) -> str:
    return "".join(f'"{name}", ' for name in cube.labels)


def _totals(names: dict[str, str] | None = None) -> str:
    """Figures summed as whole numbers, whatever kind of number the database sums in."""
    if names is None:
        return ", ".join(f"CAST(SUM({name}) AS BIGINT)" for name in SUMS)
    return ", ".join(f"CAST(SUM({sql}) AS BIGINT)" for sql in names.values())


def _rows(cube: Cube, width: int) -> str:
    return (
        f"SELECT {_names(cube)}bucket, {', '.join(SUMS)} FROM rollups r "  # noqa: S608 - constants
        f"JOIN facets f ON f.id = r.facet WHERE r.cube = {cube.number} AND width_ms = {width}"
    )


def _widened(cube: Cube, width: int, wider: int) -> str:
    bucket = f"bucket / {wider // width}"
    return (
        f"SELECT {_names(cube)}{bucket}, {_totals()} FROM rollups r "  # noqa: S608 - constants
        f"JOIN facets f ON f.id = r.facet WHERE r.cube = {cube.number} AND width_ms = {width} "
        f"GROUP BY {_names(cube)}{bucket}"
    )


def _receipts(done: int) -> str:
    """Rolled-up receipts with labels as the roll-ups have them, figures under their own names."""
    plain = ", ".join(sorted({"posted_ms", "cost_nano", *_columns()}))
    return (
        f"(SELECT {labels_sql(WHO.labels + _OTHERS)}, {plain}, {OWN} FROM receipts "  # noqa: S608 - constants
        f"WHERE seq <= {done}) s"
    )


_OTHERS = tuple(
    name for cube in CUBES for name in cube.labels if name not in WHO.labels and cube.number == 3
)


def _columns() -> set[str]:
    return {
        *(name for name in SUMS if name not in _MADE),
        "saved_trim_nano",
        "saved_model_nano",
        "saved_cache_nano",
        "saved_retries_nano",
        "baseline_nano",
    }


_MADE = {"requests", "compared_nano", "infeasible", "estimated", "parted_gateway_nano"}


def _summed(cube: Cube, done: int) -> str:
    bucket = f"posted_ms / {cube.widths[-1]}"
    return (
        f"SELECT {_names(cube)}{bucket}, {_totals(SUMS)} FROM {_receipts(done)} "  # noqa: S608 - constants
        f"GROUP BY {_names(cube)}{bucket}"
    )


def _slices(cube: Cube) -> str:
    who = ", ".join(f'f."{name}"' for name in cube.labels)
    figures = ", ".join(SESSION_SUMS)
    return (
        f"SELECT session, keyed, goal, named, {who}, bucket, accepted, {figures} FROM slices s "  # noqa: S608 - constants
        f"JOIN facets f ON f.id = s.facet WHERE s.cube = {cube.number}"
    )


def _session_rows(cube: Cube) -> str:
    return (
        f"SELECT cube, session, model, keyed, facet, first, last, span, accepted, "  # noqa: S608 - constants
        f"{', '.join(KEPT)} FROM session_totals WHERE cube = {cube.number}"
    )


def _moment_rows(cube: Cube) -> str:
    """Those that say anything: all sessions of a row may have been taken away again."""
    some = " OR ".join(f"{name} <> 0" for name in MOMENTS)
    return (
        f"SELECT cube, facet, block, {', '.join(MOMENTS)} FROM session_moments "  # noqa: S608 - constants
        f"WHERE cube = {cube.number} AND ({some})"
    )


def _slices_again(cube: Cube, done: int) -> str:
    group = f"session, keyed, goal, named, {_names(cube)}"
    total = ", ".join(f"CAST(SUM({sql}) AS BIGINT) AS {name}" for name, sql in SESSION_SUMS.items())
    figures = ", ".join(SESSION_SUMS)
    return (
        f"SELECT {group}bucket, {ACCEPTED_SQL}, {figures} FROM (SELECT {group}"  # noqa: S608 - constants
        f"posted_ms / {HOUR_MS} AS bucket, {total} FROM {_receipts(done)} "
        f"GROUP BY {group}posted_ms / {HOUR_MS}) s"
    )

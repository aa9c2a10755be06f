"""Receipts are added to the roll-ups, in batches, up to the sequence number in ``facts``.

A batch is one transaction: its sums and the number it reaches. So roll-ups and the receipts
after that number are always all receipts, whatever dies when. The statements are the same
for SQLite and PostgreSQL; whoever runs them brings the transaction, in which nobody else
rolls up and no outcome is posted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from billing import rollup_sessions
from billing.rollup_shape import (
    BY_SESSION,
    CUBES,
    DIMENSIONS,
    HOUR_MS,
    LABEL_SQL,
    SESSION_SUMS,
    SUMS,
    Cube,
)

Run = Callable[[str], list[tuple[Any, ...]]]
"""Runs one statement inside the caller's transaction; its rows, if it has any."""

BATCH = 5_000
FACT = "rolled"
ROLLED = f"SELECT value FROM facts WHERE name = '{FACT}'"  # noqa: S608 - a constant
OWN = (
    "COALESCE(session_key, request_id) AS session, "
    "CASE WHEN session_key IS NULL THEN 0 ELSE 1 END AS keyed, "
    "COALESCE(task, session, '') AS goal, CASE WHEN task IS NULL THEN 0 ELSE 1 END AS named"
)
"""What a receipt's slice is told by, beside its facet."""
ACCEPTED_SQL = (
    "(SELECT CASE WHEN o.outcome = 'accepted' THEN 1 ELSE 0 END FROM outcomes o "
    "WHERE o.team = s.team AND o.task = s.goal ORDER BY o.seq DESC LIMIT 1)"
)
"""Whether the goal of a slice ``s`` was accepted: 1, 0, or NULL where nobody said."""
_BATCH, _PART = "rolling_batch", "rolling_part"


def rolled_up_to(run: Run) -> int:
    """The last receipt that is in the roll-ups; 0 for none."""
    found = run(ROLLED)
    return int(found[0][0]) if found else 0


def behind(run: Run) -> int:
    """How many receipts are not in the roll-ups yet."""
    head = run("SELECT COALESCE(MAX(seq), 0) FROM receipts")
    return int(head[0][0]) - rolled_up_to(run)


def roll_up(run: Run, most: int = BATCH) -> int:
    """The next receipts, at most so many, are in the roll-ups; how many are still not."""
    done = rolled_up_to(run)
    last = done + behind(run)
    until = min(last, done + most)
    if until <= done:
        return 0
    run(_batch(done, until))
    for cube in CUBES:
        _facets(run, cube)
        _cube(run, cube)
    touched = f"(SELECT session FROM {_BATCH})"  # noqa: S608 - a constant
    for cube in BY_SESSION:
        _facets(run, cube)
        run(rollup_sessions.moved(cube, touched, -1))
        run(_slices(cube))
        run(rollup_sessions.totalled(cube, touched))
        run(rollup_sessions.moved(cube, touched, 1))
    run(f"DROP TABLE {_BATCH}")
    run(_set(FACT, until))
    return last - until


def clear(run: Run) -> None:
    """There are no roll-ups; they begin anew with the first receipt."""
    for table in ("session_moments", "session_totals", "slices", "rollups", "facets"):
        run(f"DELETE FROM {table}")  # noqa: S608 - constant names
    run(_set(FACT, 0))


def _set(name: str, value: int) -> str:
    return (
        f"INSERT INTO facts (name, value) VALUES ('{name}', '{value}') "  # noqa: S608 - constants
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    )


def labels_sql(names: Sequence[str]) -> str:
    """Labels of receipts as the roll-ups hold them: "" for none."""
    return ", ".join(f'{label_sql(name)} AS "{name}"' for name in names)


def label_sql(name: str) -> str:
    """One label of a receipt."""
    return LABEL_SQL.get(name, f"COALESCE(\"{name}\", '')")


def _batch(done: int, until: int) -> str:
    sums = ", ".join(f"{sql} AS s_{name}" for name, sql in SUMS.items())
    return (
        f"CREATE TEMPORARY TABLE {_BATCH} AS SELECT posted_ms, {labels_sql(DIMENSIONS)}, "  # noqa: S608 - constants
        f"{OWN}, {sums} FROM receipts WHERE seq > {done} AND seq <= {until}"
    )


def _names(cube: Cube) -> str:
    return "".join(f'"{name}", ' for name in cube.labels)


def _match(cube: Cube, other: str) -> str:
    """A facet's row is the one of a group of ``other``; all labels, as the index has them."""
    same = (
        f'f."{name}" = ' + (f'{other}."{name}"' if name in cube.labels else "''")
        for name in DIMENSIONS
    )
    return f"f.cube = {cube.number} AND " + " AND ".join(same)


def _facets(run: Run, cube: Cube) -> None:
    names = _names(cube)
    run(
        f"INSERT INTO facets ({names}cube) SELECT DISTINCT {names}{cube.number} FROM {_BATCH} b "  # noqa: S608 - constants
        f"WHERE NOT EXISTS (SELECT 1 FROM facets f WHERE {_match(cube, 'b')})"
    )


def _cube(run: Run, cube: Cube) -> None:
    names, (*wider, finest) = _names(cube), cube.widths
    sums = ", ".join(f"SUM(s_{name}) AS {name}" for name in SUMS)
    run(
        f"CREATE TEMPORARY TABLE {_PART} AS SELECT f.id AS facet, s.* FROM "  # noqa: S608 - constants
        f"(SELECT {names}posted_ms / {finest} AS bucket, {sums} FROM {_BATCH} "
        f"GROUP BY {names}posted_ms / {finest}) s JOIN facets f ON {_match(cube, 's')}"
    )
    columns = ", ".join(SUMS)
    more = _more("rollups", SUMS)
    into = f"INSERT INTO rollups (cube, width_ms, bucket, facet, {columns}) SELECT {cube.number}"
    keys = "ON CONFLICT (cube, width_ms, bucket, facet) DO UPDATE SET"
    for width in (finest, *wider):
        bucket = f"bucket / {width // finest}"
        added = ", ".join(f"SUM({name})" for name in SUMS)
        run(
            f"{into}, {width}, {bucket}, facet, {added} FROM {_PART} WHERE true "
            f"GROUP BY {bucket}, facet ORDER BY {bucket}, facet {keys} {more}"
        )
    run(f"DROP TABLE {_PART}")


def _slices(cube: Cube) -> str:
    who = _names(cube)
    own = "session, keyed, goal, named"
    sums = ", ".join(f"SUM(s_{name}) AS {name}" for name in SESSION_SUMS)
    columns = ", ".join(SESSION_SUMS)
    same = ", ".join(f"s.{name}" for name in SESSION_SUMS)
    return (
        f"INSERT INTO slices (cube, {own}, bucket, arm, facet, accepted, {columns}) "  # noqa: S608 - constants
        f"SELECT {cube.number}, {own}, bucket, s.arm, f.id, {ACCEPTED_SQL}, {same} FROM "
        f"(SELECT {own}, {who}posted_ms / {HOUR_MS} AS bucket, {sums} FROM {_BATCH} "
        f"GROUP BY {own}, {who}posted_ms / {HOUR_MS}) s JOIN facets f ON {_match(cube, 's')} "
        "WHERE true "
        "ON CONFLICT (cube, session, keyed, arm, facet, goal, named, bucket) DO UPDATE SET "
        f"accepted = excluded.accepted, {_more('slices', SESSION_SUMS)}"
    )


def _more(table: str, sums: Sequence[str] | dict[str, str]) -> str:
    return ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in sums)

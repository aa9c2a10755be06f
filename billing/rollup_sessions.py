"""A row a session, and sums over those rows: kept in step with the slices they are made of.

A session's row says when it began and ended and what all of it cost, so that a report takes
sessions whole where they lie whole in its range. ``session_moments`` adds up the rows that
began in one block of time. Whoever changes slices takes what their sessions add to it away
before, and gives it back after, in the same transaction.
"""

from __future__ import annotations

from billing.rollup_shape import BLOCK_MS, DAY_MS, HOUR_MS, MODELS, Cube

DAY_H, BLOCK_H = DAY_MS // HOUR_MS, BLOCK_MS // HOUR_MS
HIGH = 1 << 20
"""A tokenmaxxed cost is squared in two halves, so that sums of squares stay whole numbers."""
_MOST = 1 << 45
"""A session dearer than this (nano-USD) is not summed ahead: thousands of squares would not fit."""
MIXED = 0
"""The facet of a session that has several: what of it is in scope is asked of its slices."""
KEPT = (
    "requests", "infeasible", "compared_nano", "baseline_nano", "cost_nano",
)  # fmt: skip
MOMENTS = {
    "count": "COUNT(*)",
    "paid_nano": "SUM(compared_nano)",
    "tokenmaxxed_nano": "SUM(baseline_nano)",
    "squares_high": f"SUM((baseline_nano / {HIGH}) * (baseline_nano / {HIGH}))",
    "squares_both": f"SUM((baseline_nano / {HIGH}) * "
    f"(baseline_nano - baseline_nano / {HIGH} * {HIGH}))",
    "squares_low": f"SUM((baseline_nano - baseline_nano / {HIGH} * {HIGH}) * "
    f"(baseline_nano - baseline_nano / {HIGH} * {HIGH}))",
    "known": "COUNT(accepted)",
    "accepted": "COALESCE(SUM(accepted), 0)",
}
"""What is summed over sessions, and how."""
SPAN = (
    "CASE WHEN first = last THEN 0 "
    f"WHEN first / {DAY_H} = last / {DAY_H} THEN 1 "
    f"WHEN first / {BLOCK_H} = last / {BLOCK_H} THEN 2 ELSE 3 END"
)
"""How wide a bucket a session takes: an hour, a day, a block, more."""


def squares(high: int, both: int, low: int) -> int:
    """The sum of squares from the sums of its parts."""
    return high * HIGH * HIGH + 2 * both * HIGH + low


def totals_of(cube: Cube, which: str = "") -> str:
    """Sessions' rows as their slices give them, as a query.

    Args:
        which: only these sessions, as a condition on slices ``s``.
    """
    model, group, join = "''", "session", ""
    if cube is MODELS:
        model, group = "f.served_model", "session, f.served_model"
        join = "JOIN facets f ON f.id = s.facet "
    one = f"MIN(facet) = MAX(facet) AND MIN(keyed) = MAX(keyed) AND SUM(baseline_nano) < {_MOST}"
    sums = ", ".join(f"CAST(SUM({name}) AS BIGINT) AS {name}" for name in KEPT)
    said = "MIN(CASE WHEN infeasible < requests THEN accepted END) AS accepted"
    return (
        f"SELECT {cube.number} AS cube, session, model, keyed, facet, first, last, "  # noqa: S608 - constants
        f"{SPAN} AS span, accepted, {', '.join(KEPT)} FROM (SELECT session, {model} AS model, "
        f"MAX(keyed) AS keyed, CASE WHEN {one} THEN MIN(facet) ELSE {MIXED} END AS facet, "
        f"MIN(bucket) AS first, MAX(bucket) AS last, {said}, {sums} FROM slices s {join}"
        f"WHERE s.cube = {cube.number} {which} GROUP BY {group}) one"
    )


def totalled(cube: Cube, sessions: str) -> str:
    """The rows of some sessions (a query) are what their slices say."""
    columns = ("keyed", "facet", "first", "last", "span", "accepted", *KEPT)
    new = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return (
        f"INSERT INTO session_totals (cube, session, model, {', '.join(columns)}) "  # noqa: S608 - constants
        f"SELECT * FROM ({totals_of(cube, f'AND s.session IN {sessions}')}) t WHERE true "
        f"ON CONFLICT (cube, session, model) DO UPDATE SET {new}"
    )


def moments_of(cube: Cube, which: str = "", sign: int = 1) -> str:
    """Sums over sessions' rows by facet and block, as a query."""
    sums = ", ".join(f"CAST({sign} * {sql} AS BIGINT)" for sql in MOMENTS.values())
    block = f"first / {BLOCK_H}"
    return (
        f"SELECT {cube.number}, facet, {block}, {sums} FROM session_totals "  # noqa: S608 - constants
        f"WHERE cube = {cube.number} AND facet <> {MIXED} AND infeasible < requests {which} "
        f"GROUP BY facet, {block}"
    )


def moved(cube: Cube, sessions: str, sign: int) -> str:
    """What some sessions (a query) add to the moments is added, or with -1 taken away."""
    more = ", ".join(f"{name} = session_moments.{name} + excluded.{name}" for name in MOMENTS)
    return (
        f"INSERT INTO session_moments (cube, facet, block, {', '.join(MOMENTS)}) "  # noqa: S608 - constants
        f"SELECT * FROM ({moments_of(cube, f'AND session IN {sessions}', sign)}) m WHERE true "
        f"ON CONFLICT (cube, facet, block) DO UPDATE SET {more}"
    )

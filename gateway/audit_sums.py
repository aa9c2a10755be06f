"""An audit's figures: queries over rows.csv, in a database that spills to disk.

DuckDB reads the file as it was written, with money as exact decimals, so every figure of
the report can be re-computed from the file that comes with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from billing.money import nano
from gateway.audit_rows import COLUMNS

TOP = 12
_MEMORY = "1GB"
# A row counts in the comparison where both sides are known and the policy would serve it.
_COMPARED = "refused = '' AND as_was_usd IS NOT NULL AND policy_usd IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Group:
    """Sums over the requests of one group; money in nano-USD.

    ``as_was_nano``, ``policy_nano`` and ``saved_nano`` are over the ``compared`` requests:
    priced on both sides and served under the policy.
    """

    name: str
    requests: int
    compared: int
    prompt_tokens: int
    sent_tokens: int
    as_was_nano: int
    policy_nano: int
    saved_nano: int


@dataclass(frozen=True, slots=True)
class Count:
    """How many requests of a kind, and what they cost as they were (None: not known)."""

    name: str
    requests: int
    as_was_nano: int | None
    prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Single:
    """One request that saves or costs much."""

    place: str
    model: str
    action: str
    served: str
    prompt_tokens: int
    as_was_nano: int
    policy_nano: int
    reason: str


@dataclass(frozen=True, slots=True)
class Sums:
    """All figures of an audit.

    ``recorded_nano`` is what the log itself says of the ``recorded`` rows, ``recorded_as_was``
    what the price book says of the same. ``bound_*``: rows judged by counts alone.
    """

    total: Group
    by_model: Sequence[Group]
    by_action: Sequence[Group]
    by_day: Sequence[Group]
    by_team: Sequence[Group]
    by_basis: Sequence[Group]
    reasons: Sequence[Count]
    refused: Sequence[Count]
    unpriced: Sequence[Count]
    savings: Sequence[Single]
    losses: Sequence[Single]
    estimated: int = 0
    undated: int = 0
    recorded: int = 0
    recorded_nano: int = 0
    recorded_as_was_nano: int = 0
    bound_rows: int = 0
    bound_as_was_nano: int = 0
    bound_nano: int = 0
    first_day: str = ""
    last_day: str = ""


def sums(rows_csv: Path, scratch: Path) -> Sums:
    """Every figure, from the file of an audit; ``scratch`` takes what does not fit in memory."""
    with duckdb.connect(":memory:") as db:
        db.execute(f"SET memory_limit = '{_MEMORY}'")
        db.execute("SET temp_directory = ?", [str(scratch)])
        db.execute("SET preserve_insertion_order = false")
        columns = "{" + ", ".join(f"'{name}': '{kind}'" for name, kind in COLUMNS.items()) + "}"
        words = ", ".join(f"'{name}'" for name, kind in COLUMNS.items() if kind == "VARCHAR")
        db.execute(
            'CREATE TABLE r AS SELECT *, "at"[1:10] AS day FROM read_csv(?, header = true, '  # noqa: S608 - constant names
            f"columns = {columns}, nullstr = [''], force_not_null = [{words}])",
            [str(rows_csv)],
        )
        return _sums(db)


def _sums(db: Any) -> Sums:
    one = _one(
        db,
        "SELECT count(*) FILTER (estimated), count(*) FILTER (day = ''), "
        "count(recorded_usd) FILTER (as_was_usd IS NOT NULL), "
        "sum(recorded_usd) FILTER (as_was_usd IS NOT NULL), "
        "sum(as_was_usd) FILTER (recorded_usd IS NOT NULL), "
        "count(bound_usd) FILTER (bound_usd < policy_usd), "
        "sum(as_was_usd) FILTER (bound_usd < policy_usd), "
        "sum(bound_usd) FILTER (bound_usd < policy_usd), "
        "min(day) FILTER (day <> ''), max(day) FILTER (day <> '') FROM r",
    )
    return Sums(
        total=_groups(db, "'all'")[0],
        by_model=_groups(db, "requested_model"),
        by_action=_groups(db, "action"),
        by_day=_groups(db, "day", order="name"),
        by_team=_groups(db, "team"),
        by_basis=_groups(db, "basis"),
        reasons=_counts(db, "reason", "refused = '' AND action = 'pass'"),
        refused=_counts(db, "refused", "refused <> ''"),
        unpriced=_counts(db, "unpriced", "unpriced <> ''"),
        savings=_singles(db, "saved_usd > 0", "saved_usd DESC"),
        losses=_singles(db, "saved_usd < 0", "saved_usd"),
        estimated=one[0],
        undated=one[1],
        recorded=one[2],
        recorded_nano=_nano(one[3]),
        recorded_as_was_nano=_nano(one[4]),
        bound_rows=one[5],
        bound_as_was_nano=_nano(one[6]),
        bound_nano=_nano(one[7]),
        first_day=one[8] or "",
        last_day=one[9] or "",
    )


def _groups(db: Any, by: str, order: str = "as_was DESC, n DESC, name") -> list[Group]:
    rows = db.execute(
        f"SELECT {by} AS name, count(*) AS n, count(*) FILTER ({_COMPARED}), sum(prompt_tokens), "  # noqa: S608 - constants
        f"sum(sent_tokens), coalesce(sum(as_was_usd) FILTER ({_COMPARED}), 0) AS as_was, "
        f"sum(policy_usd) FILTER ({_COMPARED}), sum(saved_usd) FILTER ({_COMPARED}) "
        f"FROM r GROUP BY ALL ORDER BY {order}"
    ).fetchall()
    if not rows and by == "'all'":
        return [Group("all", 0, 0, 0, 0, 0, 0, 0)]
    return [
        Group(
            str(name), n, compared, int(prompt or 0), int(sent or 0), _nano(was), _nano(policy),
            _nano(saved),
        )
        for name, n, compared, prompt, sent, was, policy, saved in rows
    ]  # fmt: skip


def _counts(db: Any, by: str, where: str) -> list[Count]:
    rows = db.execute(
        f"SELECT {by}, count(*) AS n, sum(as_was_usd) AS was, sum(prompt_tokens) FROM r "  # noqa: S608 - constants
        f"WHERE {where} GROUP BY ALL ORDER BY was DESC NULLS LAST, n DESC, 1"
    ).fetchall()
    return [
        Count(str(name), n, None if was is None else _nano(was), int(prompt or 0))
        for name, n, was, prompt in rows
    ]


def _singles(db: Any, where: str, order: str) -> list[Single]:
    rows = db.execute(
        "SELECT log || ':' || line, requested_model, action, model, prompt_tokens, as_was_usd, "  # noqa: S608 - constants
        f"policy_usd, reason FROM r WHERE {_COMPARED} AND {where} "
        f"ORDER BY {order}, log, line LIMIT {TOP}"
    ).fetchall()
    return [
        Single(place, model, action, served, prompt, _nano(was), _nano(policy), reason)
        for place, model, action, served, prompt, was, policy, reason in rows
    ]


def _one(db: Any, query: str) -> Any:
    return db.execute(query).fetchone()


def _nano(value: Decimal | None) -> int:
    return 0 if value is None else nano(value)

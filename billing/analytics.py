"""Reports over exports: one SQL text a question, the same for DuckDB here and ClickHouse there.

``{lines}`` stands for the plain rows that ``weir export --format parquet`` writes, in any
number of files, each range exported once. A request's own figures stand on its first row
alone, so every column is summed and nothing has to be told apart: that is what makes a
thousand million rows one pass. Money is DECIMAL(38, 12) throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from billing.money import nano

LABELS = {
    "team": "team", "project": "project", "key": "key", "user": "user", "session": "session",
    "task": "task", "upstream": "upstream", "requested_model": "requested_model",
    "model": "served_model", "tier": "tier", "action": "action", "arm": "arm", "state": "state",
    "usage_source": "usage_source", "component": "component",
}  # fmt: skip
DAY = "day"
_SUMS = """count(effective_tokens) AS requests,
       sum(CASE WHEN component = 'request' OR component LIKE 'gateway:%' THEN 0
           ELSE quantity END) AS units,
       coalesce(sum(effective_tokens), 0) AS effective,
       sum(amount_usd) AS cost,
       coalesce(sum(tokenmaxxed_usd), 0) AS tokenmaxxed"""
_BY = """SELECT {label} AS label,
       {sums}
FROM {lines}
WHERE {where}
GROUP BY 1
ORDER BY cost DESC, label
LIMIT {limit}"""
_DAY_SQL = "substring(posted_at, 1, 10)"
CORRECTED = "component LIKE 'correction:%'"


@dataclass(frozen=True, slots=True)
class Summed:
    """Sums over one group; ``quantity`` is of the provider's lines (tokens, calls).

    ``tokenmaxxed_nano`` sums the requests whose tokenmaxxed cost is known.
    """

    label: str
    requests: int
    quantity: int
    effective_tokens: int
    cost_nano: int
    tokenmaxxed_nano: int


class NoExport(Exception):
    """Files that are not there, or are no plain export; the message says which and what to do."""


def question(by: str, lines: str, *, corrections: bool = False, limit: int = 1_000_000) -> str:
    """The SQL of sums by a label or by UTC day, dearest first.

    Args:
        by: one of ``LABELS``, or "day".
        lines: where the rows are, as the engine names it (a table, ``read_parquet('...')``).
        corrections: what reconciliations booked, instead of what requests cost.

    Raises:
        ValueError: another ``by``.
    """
    if by != DAY and by not in LABELS:
        raise ValueError(f"unknown group {by!r}; known: {', '.join([*LABELS, DAY])}")
    label = _DAY_SQL if by == DAY else f"coalesce(\"{LABELS[by]}\", '')"
    where = CORRECTED if corrections else f"NOT ({CORRECTED})"
    return _BY.format(label=label, sums=_SUMS, lines=lines, where=where, limit=limit)


def asked(
    files: Sequence[str | Path], by: str, *, corrections: bool = False, limit: int = 1_000_000
) -> list[Summed]:
    """The sums by DuckDB over Parquet files or glob patterns, on this machine.

    Raises:
        ValueError: unknown ``by``.
        NoExport: nothing matches, or it is another kind of file.
    """
    import duckdb

    names = ", ".join("'" + str(name).replace("'", "''") + "'" for name in files)
    sql = question(by, f"read_parquet([{names}])", corrections=corrections, limit=limit)
    try:
        with duckdb.connect(":memory:") as db:
            found = db.execute(sql).fetchall()
    except duckdb.IOException as error:
        raise NoExport(f"{_first(error)}. Name files or patterns in quotes") from None
    except (duckdb.BinderException, duckdb.InvalidInputException) as error:
        said = "are no plain export: write them with `weir export --format parquet --out FILE`"
        raise NoExport(f"{', '.join(map(str, files))} {said} ({_first(error)})") from None
    return [summed(row) for row in found]


def summed(row: Sequence[object]) -> Summed:
    """A row of an answer, whatever engine gave it; money exactly in nano-dollars."""
    label, requests, quantity, effective, cost, tokenmaxxed = row
    return Summed(
        str(label),
        int(str(requests)),
        int(str(quantity)),
        int(str(effective)),
        nano(str(Decimal(str(cost)))),
        nano(str(Decimal(str(tokenmaxxed)))),
    )


def to_json(rows: Sequence[Summed]) -> list[Mapping[str, object]]:
    """Rows as JSON values, money as decimal text."""
    from billing.money import usd

    return [
        {
            "label": row.label,
            "requests": row.requests,
            "quantity": row.quantity,
            "effective_tokens": row.effective_tokens,
            "cost_usd": usd(row.cost_nano),
            "tokenmaxxed_usd": usd(row.tokenmaxxed_nano),
        }
        for row in rows
    ]


def _first(error: Exception) -> str:
    return str(error).splitlines()[0]

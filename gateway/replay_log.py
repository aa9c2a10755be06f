"""What a replay reads of a ledger: receipts in the order they came, and the spend before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson
import sqlalchemy as sa

from billing.counters import Spend, path_of
from billing.reader import RECEIPTS, epoch_ms, reading
from billing.receipt import Receipt, from_fields

_PERIOD = re.compile(r"^\s*(\d{1,4})\s*([hdw])\s*$")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_AT_ONCE = 1_000
_BUCKET_MS = 60_000


@dataclass(frozen=True, slots=True)
class Range:
    """Requests that came in ``[start_ms, end_ms)``, UTC epoch milliseconds."""

    start_ms: int
    end_ms: int


def parse_period(text: str, now: datetime) -> Range:
    """``30d``, ``12h``, ``4w`` or ``all``: the time up to ``now``.

    Raises:
        ValueError: none of these.
    """
    end = epoch_ms(now) + 1
    if text.strip().lower() == "all":
        return Range(0, end)
    found = _PERIOD.match(text.lower())
    if found is None:
        raise ValueError(f"{text!r} is no period; write for example 30d, 12h, 4w or all")
    return Range(epoch_ms(now - int(found[1]) * _UNITS[found[2]]), end)


def receipts(url: str, span: Range, limit: int | None = None) -> Iterator[Receipt]:
    """Receipts of a span, oldest first, read as they are asked for.

    Raises:
        LedgerUnavailable: the database cannot be read. ValueError: a URL of another kind.
    """
    posted = RECEIPTS.c.posted_ms
    query = (
        sa.select(RECEIPTS.c.body)
        .where(posted >= span.start_ms, posted < span.end_ms)
        .order_by(posted, RECEIPTS.c.request_id)
        .limit(limit)
        .execution_options(yield_per=_AT_ONCE)
    )
    with reading(url) as db:
        for found in db.execute(query):
            yield from_fields(orjson.loads(found.body))


def first_ms(url: str, span: Range) -> int | None:
    """When the oldest request of a span came; None where there is none."""
    posted = RECEIPTS.c.posted_ms
    query = sa.select(sa.func.min(posted)).where(posted >= span.start_ms, posted < span.end_ms)
    with reading(url) as db:
        found = db.execute(query).scalar()
    return None if found is None else int(found)


def count(url: str, span: Range) -> int:
    """How many receipts a span has."""
    posted = RECEIPTS.c.posted_ms
    query = sa.select(sa.func.count()).where(posted >= span.start_ms, posted < span.end_ms)
    with reading(url) as db:
        return int(db.execute(query).scalar() or 0)


def spends(url: str, span: Range) -> list[Spend]:
    """What was paid in a span, by account and minute."""
    minute = sa.type_coerce(RECEIPTS.c.posted_ms.op("/")(_BUCKET_MS), sa.BigInteger)
    who = (RECEIPTS.c.team, RECEIPTS.c.project, RECEIPTS.c.key, RECEIPTS.c.user)
    query = (
        sa.select(*who, sa.func.max(RECEIPTS.c.posted_ms), sa.func.sum(RECEIPTS.c.cost_nano))
        .where(RECEIPTS.c.posted_ms >= span.start_ms, RECEIPTS.c.posted_ms < span.end_ms)
        .group_by(*who, minute)
    )
    with reading(url) as db:
        return [
            Spend(path_of(team, project, key), user, int(at_ms), int(amount))
            for team, project, key, user, at_ms, amount in db.execute(query)
        ]

"""Which policy, prices and catalog were in force when, from the hashes on receipts.

No index knows them, so receipts are looked at here and there, and where two neighbours differ
the change is searched for between them. A version that lived between two looks may be missed:
``step`` says how many receipts lie between looks (1: every one was looked at).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from billing.reader import EPOCH, MS, RECEIPTS, reading

LOOKS = 400


@dataclass(frozen=True, slots=True)
class Version:
    """One stretch of receipts under the same hashes; ``receipts`` posted in it."""

    policy: str
    prices: str
    catalog: str
    since: datetime
    until: datetime
    receipts: int


@dataclass(frozen=True, slots=True)
class History:
    """Every stretch that was found, the newest first."""

    versions: tuple[Version, ...]
    step: int


@dataclass(frozen=True, slots=True)
class _Look:
    seq: int
    at_ms: int
    hashes: tuple[str, str, str]


def history(url: str, looks: int = LOOKS) -> History:
    """The versions that stand on the receipts of a ledger."""
    with reading(url) as db:
        first, last = db.execute(
            sa.select(sa.func.min(RECEIPTS.c.seq), sa.func.max(RECEIPTS.c.seq))
        ).one()
        if first is None:
            return History((), 1)
        step = max((last - first) // looks, 1)
        places = [*range(first, last, step), last]
        found = _changes([_look(db, seq) for seq in places], lambda seq: _look(db, seq))
        newest = _look(db, last)
    ends = [*found[1:], newest]
    made = [
        Version(*one.hashes, _at(one), _at(end), end.seq - one.seq + (end is newest))
        for one, end in zip(found, ends, strict=True)
    ]
    return History(tuple(reversed(made)), step)


def _changes(looks: list[_Look], look: Callable[[int], _Look]) -> list[_Look]:
    """The first receipt of each stretch."""
    found = looks[:1]
    for before, after in itertools.pairwise(looks):
        low, high = before, after
        while low.hashes != high.hashes and high.seq - low.seq > 1:
            middle = look((low.seq + high.seq) // 2)
            if middle.seq >= high.seq:
                break
            if middle.hashes == low.hashes:
                low = middle
            else:
                high = middle
        if low.hashes != high.hashes:
            found.append(high)
    return found


def _look(db: Connection, seq: int) -> _Look:
    """The receipt at a place in the order of posting, or the next one after it."""
    columns = RECEIPTS.c
    query = (
        sa.select(columns.seq, columns.posted_ms, columns.policy_hash, columns.prices_hash,
                  columns.catalog_hash)
        .where(columns.seq >= seq)
        .order_by(columns.seq)
        .limit(1)
    )  # fmt: skip
    row = db.execute(query).one()
    return _Look(int(row[0]), int(row[1]), (str(row[2]), str(row[3]), str(row[4])))


def _at(look: _Look) -> datetime:
    return EPOCH + look.at_ms * MS

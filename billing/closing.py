"""A month is closed: its figures are fixed, and nothing may be posted into it any more.

Months are calendar months in UTC, as providers bill them. Closing a month closes all before
it. What comes later (a request that settles late, a correction) is posted at the first open
instant with a note; the database itself refuses anything else. The row written here holds
the month's figures and a digest over every posting of it, chained to the closing before, so
that ``weir ledger verify`` can tell whether a closed month is still what it was.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from billing.appending import appending
from billing.errors import BillingError
from billing.finance_tables import CLOSINGS, CORRECTIONS
from billing.money import usd
from billing.reader import RECEIPTS, epoch_ms, reading

_START = hashlib.sha256(b"tokenweir closings").digest()
_AT_ONCE = 5000
_MONTH = re.compile(r"^(\d{4})-(0[1-9]|1[0-2])$")
_UNSETTLED = ("orphan", "provisional")


class CannotClose(BillingError):
    """A month that is no month, or is not over yet."""


@dataclass(frozen=True, slots=True)
class Closing:
    """A closed month. ``cost_nano`` is its receipts, ``corrected_nano`` its corrections.

    ``head_seq`` is the last receipt that was in the ledger when it was closed.
    """

    month: str
    from_ms: int
    until_ms: int
    closed_ms: int
    requests: int
    cost_nano: int
    corrected_nano: int
    head_seq: int
    digest: bytes

    @property
    def total_nano(self) -> int:
        """What the month cost, corrections included."""
        return self.cost_nano + self.corrected_nano


@dataclass(frozen=True, slots=True)
class Closed:
    """The answer to a closing: whether it was closed before, and what was still in doubt.

    ``unsettled`` counts receipts charged at their hold that no reconciliation set right.
    """

    closing: Closing
    already: bool
    unsettled: int


def month_of(text: str) -> tuple[datetime, datetime]:
    """``2026-10`` as its first instant and the next month's, UTC. Raises CannotClose."""
    found = _MONTH.match(text)
    if found is None:
        raise CannotClose(f"{text[:20]!r} is no month: write 2026-10")
    year, month = int(found[1]), int(found[2])
    if not 1970 <= year < 9999:
        raise CannotClose(f"{text!r} is beyond any ledger")
    start = datetime(year, month, 1, tzinfo=UTC)
    end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return start, end


def close(url: str, month: str, now: datetime) -> Closed:
    """The month and all before it are closed; closing it again changes nothing.

    Raises:
        CannotClose: it is no month, or not over at ``now``.
        LedgerUnavailable: the database cannot be written.
    """
    _, end = month_of(month)
    if now < end:
        raise CannotClose(f"{month} is not over before {end:%Y-%m-%d} UTC")
    with reading(url):
        pass  # what a dead process left behind is brought in first
    with appending(url) as db:
        last = _last(db)
        until = epoch_ms(end)
        if last is not None and until <= last.until_ms:
            done = _covering(db, until)
            return Closed(done, already=True, unsettled=_unsettled(db, done))
        made = _figures(db, month, last, (until, epoch_ms(now)))
        db.execute(CLOSINGS.insert().values(**{n: getattr(made, n) for n in Closing.__slots__}))
        return Closed(made, already=False, unsettled=_unsettled(db, made))


def closings(url: str) -> list[Closing]:
    """Every closed month, oldest first."""
    with reading(url) as db:
        return _all(db)


def closed_until(url: str) -> int:
    """The end of the last closed month, epoch milliseconds; 0 without one."""
    found = closings(url)
    return found[-1].until_ms if found else 0


def broken(db: Connection) -> Iterator[str]:
    """What is not as it was when its month was closed, in sentences."""
    before: Closing | None = None
    for row in _all(db):
        again = _figures(db, row.month, before, (row.until_ms, row.closed_ms))
        for name, word in (("requests", "requests"), ("cost_nano", "cost")):
            if getattr(again, name) != getattr(row, name):
                yield (
                    f"closed month {row.month}: its {word} is {_said(again, name)}, was "
                    f"{_said(row, name)} when it was closed"
                )
        if again.corrected_nano != row.corrected_nano:
            yield f"closed month {row.month}: its corrections are not what they were"
        if again.digest != row.digest:
            yield f"closed month {row.month}: its postings are not what they were"
        before = row


def _said(row: Closing, name: str) -> str:
    value: int = getattr(row, name)
    return usd(value) if name == "cost_nano" else f"{value:,}"


def _figures(
    db: Connection, month: str, before: Closing | None, until_and_now: tuple[int, int]
) -> Closing:
    """The figures and digest of everything posted since the closing before."""
    start, (until, now) = before.until_ms if before else 0, until_and_now
    digest = hashlib.sha256(before.digest if before else _START)
    requests = cost = corrected = 0
    posted = _between(RECEIPTS, start, until)
    query = sa.select(RECEIPTS.c.chain, RECEIPTS.c.cost_nano).where(*posted)
    for chain, amount in db.execute(query.order_by(RECEIPTS.c.seq)).yield_per(_AT_ONCE):
        digest.update(bytes(chain))
        requests, cost = requests + 1, cost + int(amount)
    names = ("seq", "posted_ms", "account", "day", "kind", "request_id", "team", "amount_nano")
    columns = [CORRECTIONS.c[name] for name in names]
    query = sa.select(*columns).where(*_between(CORRECTIONS, start, until))
    for row in db.execute(query.order_by(CORRECTIONS.c.seq)):
        digest.update(repr(tuple(row)).encode())
        corrected += int(row.amount_nano)
    return Closing(
        month=month,
        from_ms=start,
        until_ms=until,
        closed_ms=now,
        requests=requests,
        cost_nano=cost,
        corrected_nano=corrected,
        head_seq=int(db.execute(sa.select(sa.func.max(RECEIPTS.c.seq))).scalar() or 0),
        digest=digest.digest(),
    )


def _between(table: Any, start: int, until: int) -> tuple[Any, Any]:
    return table.c.posted_ms >= start, table.c.posted_ms < until


def _unsettled(db: Connection, closing: Closing) -> int:
    """Receipts of a month at their hold that no correction took back."""
    undone = sa.exists().where(
        CORRECTIONS.c.request_id == RECEIPTS.c.request_id, CORRECTIONS.c.kind == "reversal"
    )
    query = sa.select(sa.func.count()).where(
        *_between(RECEIPTS, closing.from_ms, closing.until_ms),
        RECEIPTS.c.state.in_(_UNSETTLED),
        ~undone,
    )
    return int(db.execute(query).scalar_one())


def _all(db: Connection) -> list[Closing]:
    columns = [CLOSINGS.c[name] for name in Closing.__slots__]
    rows = db.execute(sa.select(*columns).order_by(CLOSINGS.c.until_ms))
    return [_closing(row) for row in rows]


def _last(db: Connection) -> Closing | None:
    found = _all(db)
    return found[-1] if found else None


def _covering(db: Connection, until: int) -> Closing:
    """The closing that closed everything before an instant."""
    return next(row for row in _all(db) if until <= row.until_ms)


def _closing(row: Any) -> Closing:
    found: dict[str, Any] = dict(row._mapping)  # noqa: SLF001 - a public name of SQLAlchemy's
    return Closing(**{**found, "digest": bytes(found["digest"])})

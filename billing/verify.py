"""Whether the ledger contradicts itself anywhere, and the end of its hash chain."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from billing import booking, closing, rollup_check
from billing.chain import START, link
from billing.money import amount, usd
from billing.reader import ATTEMPTS, LINES, RECEIPTS, reading
from billing.receipt import GATEWAY

_SAME = ("request_id", "team", "key", "served_model", "state", "cost_nano", "baseline_nano")
_AT_ONCE = 1000
_DAY_MS = 86_400_000


def verify(url: str) -> list[str]:
    """What does not add up, in sentences; empty for a sound ledger.

    Each line is its quantity times its rate; each receipt's lines sum to its cost less the
    gateway's; no line or attempt is without a receipt; the hash chain is unbroken and its
    receipts are what columns and lines say; teams, models, keys and days each sum to the
    same total; corrections make reconciled days what the provider said; closed months are
    what they were when they were closed; roll-ups are what receipts say.
    """
    with reading(url) as db:
        problems = [*_bad_lines(db), *_bad_sums(db), *_strays(db), *_broken_chain(db)]
        problems += [*_unequal(db), *booking.broken(db), *closing.broken(db)]
        problems += rollup_check.broken(db)
    return problems


def head(url: str) -> tuple[int, str]:
    """How many receipts there are and the hash of the last one, hex: note it down."""
    with reading(url) as db:
        query = sa.select(RECEIPTS.c.seq, RECEIPTS.c.chain).order_by(RECEIPTS.c.seq.desc()).limit(1)
        found = db.execute(query).one_or_none()
    return (0, START.hex()) if found is None else (int(found.seq), bytes(found.chain).hex())


def _bad_lines(db: Connection) -> Iterator[str]:
    columns = (
        LINES.c.attempt,
        LINES.c.component,
        LINES.c.quantity,
        LINES.c.rate,
        LINES.c.amount_nano,
    )
    for line in db.execute(sa.select(*columns)):
        if amount(line.quantity, Decimal(line.rate)) != line.amount_nano:
            yield (
                f"line {line.component} of attempt {line.attempt}: {line.quantity} at {line.rate} "
                f"are not {usd(line.amount_nano)}"
            )


def _bad_sums(db: Connection) -> Iterator[str]:
    providers = sa.case((LINES.c.component.startswith(GATEWAY), 0), else_=LINES.c.amount_nano)
    sums = (
        sa.select(LINES.c.request_id, sa.func.sum(providers).label("paid"))
        .group_by(LINES.c.request_id)
        .subquery()
    )
    paid = sa.func.coalesce(sums.c.paid, 0)
    due = RECEIPTS.c.cost_nano - RECEIPTS.c.gateway_cost_nano
    query = (
        sa.select(RECEIPTS.c.request_id, paid.label("paid"), due.label("due"))
        .select_from(RECEIPTS.outerjoin(sums, sums.c.request_id == RECEIPTS.c.request_id))
        .where(paid != due)
    )
    for found in db.execute(query):
        yield (
            f"receipt {found.request_id}: lines sum to {usd(int(found.paid))}, its cost less the "
            f"gateway's is {usd(int(found.due))}"
        )


def _strays(db: Connection) -> Iterator[str]:
    for name, table in (("line", LINES), ("attempt", ATTEMPTS)):
        query = (
            sa.select(table.c.request_id)
            .select_from(table.outerjoin(RECEIPTS, RECEIPTS.c.request_id == table.c.request_id))
            .where(RECEIPTS.c.request_id.is_(None))
            .distinct()
        )
        for found in db.execute(query):
            yield f"a {name} names request {found.request_id}, which has no receipt"


def _unequal(db: Connection) -> Iterator[str]:
    """Levels whose costs do not sum to the whole."""
    cost = sa.func.coalesce(sa.func.sum(RECEIPTS.c.cost_nano), 0)
    whole = int(db.execute(sa.select(cost)).scalar_one())
    day = RECEIPTS.c.posted_ms.op("/")(sa.literal_column(str(_DAY_MS)))
    levels = {name: RECEIPTS.c[name] for name in ("team", "served_model", "key", "action")}
    for name, column in {**levels, "day": day}.items():
        rows = db.execute(sa.select(cost).group_by(column)).scalars()
        total = sum(int(row) for row in rows)
        if total != whole:
            yield f"costs by {name} sum to {usd(total)}, all to {usd(whole)}"


def _broken_chain(db: Connection) -> Iterator[str]:
    before, expected = START, 1
    columns = (
        RECEIPTS.c.seq,
        RECEIPTS.c.posted_ms,
        RECEIPTS.c.hold_nano,
        RECEIPTS.c.body,
        RECEIPTS.c.chain,
    )
    same = [RECEIPTS.c[name] for name in _SAME[1:]]
    query = sa.select(RECEIPTS.c.request_id, *columns, *same).order_by(RECEIPTS.c.seq)
    for row in db.execute(query).yield_per(_AT_ONCE):
        if row.seq != expected:
            yield f"the chain lacks {row.seq - expected} receipt(s) before {row.request_id}"
        if link(before, row.posted_ms, row.hold_nano, row.body) != row.chain:
            yield f"the chain breaks at receipt {row.request_id} (number {row.seq})"
        before, expected = row.chain, row.seq + 1
        body = orjson.loads(row.body)
        for name in _SAME:
            if body[name] != getattr(row, name):
                yield f"receipt {row.request_id}: its column {name} is not what it says itself"

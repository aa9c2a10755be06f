"""Read-only questions about single requests, and about budget windows as they stand.

The sums of many requests are in ``reports``; both read the same tables in the same way.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from billing.accounts import Accounts
from billing.budget import Span, WindowFigures
from billing.counters import Counters, Spend, share
from billing.reader import HOLDS, RECEIPTS, epoch_ms, reading
from billing.receipt import Receipt, from_fields
from billing.rolled import names, rolled_seq
from billing.rollup_shape import HOUR_MS, PEOPLE
from billing.rollup_tables import SLICES
from billing.schema import database_path, is_postgresql
from billing.scope import Scope, grouping
from billing.spend import Look, look_back, spends

_SOME = 20_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One request as a list shows it; fields are columns of ``ReceiptRow``."""

    request_id: str
    posted_ms: int
    team: str
    project: str | None
    key: str
    session: str | None
    task: str | None
    requested_model: str
    served_model: str
    tier: str
    action: str
    arm: str
    status: int
    state: str
    usage_source: str
    original_prompt_tokens: int
    sent_prompt_tokens: int
    completion_tokens: int
    effective_tokens: int
    cost_nano: int
    baseline_nano: int | None


def exists(url: str) -> bool:
    """Whether the ledger's database file is there. Raises ValueError for another kind of URL."""
    return is_postgresql(url) or database_path(url).is_file()


def identity(url: str) -> str:
    """What tells one database at an address from another that takes its place; "" on a server."""
    return "" if is_postgresql(url) else str(database_path(url).stat().st_ino)


def watermark(url: str) -> int:
    """A number that grows with every receipt posted; 0 for an empty ledger."""
    query: Any = sa.select(sa.func.max(RECEIPTS.c.seq))
    with reading(url) as db:
        return int(db.execute(query).scalar() or 0)


def labels(url: str, by: str) -> list[str]:
    """Every name that a group of ``reports.GROUPS`` has in the ledger, sorted.

    Raises:
        ValueError: another group.
    """
    column = str(grouping(by).name)
    with reading(url) as db:
        return sorted(names(db, column))


def listing(url: str, scope: Scope, text: str = "", limit: int = 1000) -> list[Entry]:
    """The newest requests in scope, newest first, one row each.

    Args:
        text: only requests whose id, session, task or key begins with it.
    """
    with reading(url) as db:
        where = [*scope.where(), *_when(db, scope)]
        if not text:
            found = _newest(db, where, limit)
        else:
            found = {
                one.request_id: one
                for begins in _begins(db, text)
                for one in _newest(db, [*where, begins], limit)
            }.values()
    return sorted(found, key=lambda one: (one.posted_ms, one.request_id), reverse=True)[:limit]


def _newest(db: Connection, where: Sequence[Any], limit: int) -> Collection[Entry]:
    query = (
        sa.select(*(RECEIPTS.c[name] for name in Entry.__slots__))
        .where(*where)
        .order_by(RECEIPTS.c.posted_ms.desc(), RECEIPTS.c.request_id.desc())
        .limit(limit)
    )
    return [Entry(*found) for found in db.execute(query)]


def _when(db: Connection, scope: Scope) -> list[Any]:
    """The hours that a session of the scope lies in, as a condition: no index knows its key."""
    session = dict(scope.labels()).get("session_key")
    done = rolled_seq(db)
    if not session or not done:
        return []
    hours = sa.select(sa.func.min(SLICES.c.bucket), sa.func.max(SLICES.c.bucket)).where(
        SLICES.c.cube == PEOPLE.number, SLICES.c.session == session
    )
    first, last = db.execute(hours).one()
    if first is None:
        return [RECEIPTS.c.seq > done]
    posted = RECEIPTS.c.posted_ms
    within = sa.and_(posted >= first * HOUR_MS, posted < (last + 1) * HOUR_MS)
    return [sa.or_(RECEIPTS.c.seq > done, within)]


def _begins(db: Connection, text: str) -> list[Any]:
    """What begins with a text, as conditions to be asked one by one.

    Ids are found in their indexes unless so many match that the newest are found sooner by
    looking at the newest; keys are few, and known by name.
    """
    columns = (RECEIPTS.c.request_id, RECEIPTS.c.session, RECEIPTS.c.task)
    ids = sa.or_(*(_from(db, column, text) for column in columns))
    some = sa.select(sa.literal(1)).select_from(RECEIPTS).where(ids).limit(_SOME).subquery()
    if int(db.execute(sa.select(sa.func.count()).select_from(some)).scalar() or 0) == _SOME:
        ids = sa.or_(*(column.startswith(text, autoescape=True) for column in columns))
    keys = sorted(name for name in names(db, "key") if name.startswith(text))
    return [ids, RECEIPTS.c.key.in_(keys)] if keys else [ids]


def _from(db: Connection, column: Any, text: str) -> Any:
    if db.dialect.name != "sqlite":
        return column.startswith(text, autoescape=True)
    # As a range, which an index knows (LIKE asks none here).
    return sa.and_(column.is_not(None), column >= text, column < text + chr(0x10FFFF))


def receipt(url: str, request_id: str) -> Receipt | None:
    """The receipt of one request, or None."""
    query = sa.select(RECEIPTS.c.body).where(RECEIPTS.c.request_id == request_id)
    with reading(url) as db:
        found = db.execute(query).scalar()
    return None if found is None else from_fields(orjson.loads(found))


def windows(url: str, accounts: Accounts, now: datetime) -> list[WindowFigures]:
    """Every budget window at an instant, as the gate would find it; the tightest first.

    Spend is summed from receipts, held from holds that are open, both at the resolution
    that the gate itself starts with.
    """
    counters = Counters(accounts)
    at = counters.now(epoch_ms(now))
    past, holds = _past(url, look_back(accounts, at))
    counters.load(past, at)
    found: dict[tuple[str, str | None], WindowFigures] = {}
    for hold in holds:
        for counter in counters.along(tuple(hold["path"]), hold["user"], at):
            if counter.budget.span is Span.ROLLING or counter.window.holds(hold["at"]):
                share(counter, hold["amount"])
    paths = {(key.path, None) for key in accounts.keys.values()}
    seen = {(spend.path, spend.user) for spend in past}
    for path, user in sorted(paths | seen, key=repr):
        for counter in counters.along(path, user, at):
            figures = counter.figures(at)
            if not (counter.budget.per_user and user is None):
                found[figures.budget, figures.user] = figures
    return sorted(found.values(), key=WindowFigures.tightness)


def _past(url: str, look: Look) -> tuple[list[Spend], list[dict[str, Any]]]:
    """Spend as ``look`` needs it, and the holds open now."""
    mark = "%s" if is_postgresql(url) else "?"
    with reading(url) as db:

        def ask(query: str, values: Sequence[str]) -> Sequence[Sequence[Any]]:
            return db.exec_driver_sql(query.replace("?", mark), tuple(values)).all()

        found = spends(ask, look)
        return found, [orjson.loads(one[0]) for one in db.execute(sa.select(HOLDS.c.body))]

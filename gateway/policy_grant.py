"""`weir policy grant`: who, how much, until when, checked against the policy and appended."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from billing.desk import Desk
from billing.grants import ALL, Grant, append_grant
from billing.money import nano, usd
from billing.reader import epoch_ms
from gateway.ids import new_id
from gateway.settings import Settings

LONGEST = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Wish:
    """A grant in the words of the command."""

    node: str
    amount: str
    until: str
    why: str
    budget: str = ALL
    by: str | None = None


def grant(settings: Settings, now: datetime, wish: Wish) -> str:
    """The grant is in the ledger; what was granted, as a sentence.

    Raises:
        ValueError: no such node or budget, an amount that is none, an end that is past or
            more than a year away. LedgerUnavailable: the database cannot take it.
    """
    nodes, node, budget = settings.accounts.nodes, wish.node, wish.budget
    if node not in nodes:
        raise ValueError(f"no node {node!r}; known: {', '.join(nodes)}")
    labels = [b.label for b in nodes[node].budgets if b.label != "request"]
    if not labels:
        raise ValueError(f"{node} has no budget of its own: grant where the limit is")
    if budget != ALL and budget not in labels:
        raise ValueError(f"{node} has no budget {budget!r}; it has: {', '.join(labels)}")
    try:
        amount_nano = nano(wish.amount.replace(",", ""))
    except ValueError:
        amount_nano = 0
    if amount_nano <= 0:
        raise ValueError(f"{wish.amount!r} is not an amount: write USD, such as 500")
    if not wish.why.strip():
        raise ValueError("say why: --why 'launch week'")
    end = _end(wish.until, nodes[node].zone)
    if not now < end <= now + LONGEST:
        raise ValueError(f"{wish.until!r} is not within the year to come: a grant has an end")
    made = Grant(
        id=new_id(epoch_ms(now)),
        node=node,
        budget=budget,
        amount_nano=amount_nano,
        from_ms=epoch_ms(now),
        until_ms=epoch_ms(end),
        granted_by=wish.by or getpass.getuser(),
        reason=wish.why.strip(),
    )
    desk = Desk(settings.database)
    try:
        append_grant(desk, made)
    finally:
        desk.close()
    which = f"{node}/{budget}" if budget != ALL else f"{node} ({', '.join(labels)})"
    return (
        f"Granted {usd(amount_nano)} USD to {which} until {end.isoformat(timespec='minutes')}, "
        f"grant {made.id}. Budgets above {node} hold as they are."
    )


def _end(text: str, zone: tzinfo) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date: write 2026-12-01 or 2026-12-01T18:00Z") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=zone)

"""Which receipts a question is about: a range of time, a team, further labels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from billing.reader import RECEIPTS, epoch_ms

GROUPS = {
    "action": "action",
    "team": "team",
    "project": "project",
    "key": "key",
    "user": "user",
    "requested_model": "requested_model",
    "model": "served_model",
    "tier": "tier",
    "upstream": "upstream",
    "arm": "arm",
    "state": "state",
    "usage_source": "usage_source",
    "session": "session_key",
    "task": "task",
}


@dataclass(frozen=True, slots=True)
class Scope:
    """Which receipts: posted in ``[start, end)``, of one team or of all.

    ``also``: further (one of ``GROUPS``, label) pairs that must all hold; "" is no name.
    """

    start: datetime | None = None
    end: datetime | None = None
    team: str | None = None
    also: tuple[tuple[str, str], ...] = ()

    def where(self) -> list[Any]:
        """The same as conditions on receipts."""
        wanted = []
        if self.start is not None:
            wanted.append(RECEIPTS.c.posted_ms >= epoch_ms(self.start))
        if self.end is not None:
            wanted.append(RECEIPTS.c.posted_ms < epoch_ms(self.end))
        return [*wanted, *self.named()]

    def named(self) -> list[Any]:
        """Its labels alone as conditions on receipts."""
        wanted = [] if self.team is None else [RECEIPTS.c.team == self.team]
        for by, label in self.also:
            column = grouping(by)
            wanted.append(column == label if label else sa.or_(column.is_(None), column == ""))
        return wanted

    def labels(self) -> list[tuple[str, str]]:
        """Its labels as (column of receipts, label) pairs; "" is no name."""
        team = [] if self.team is None else [("team", self.team)]
        return team + [(grouping(by).name, label) for by, label in self.also]


def grouping(by: str) -> Any:
    """The receipts' column of a group. Raises ValueError for a group that is none."""
    if by not in GROUPS:
        raise ValueError(f"cannot group by {by!r}: choose one of {', '.join(sorted(GROUPS))}")
    return RECEIPTS.c[GROUPS[by]]

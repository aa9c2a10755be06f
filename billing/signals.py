"""What clients and answers said of the answers before: re-asked, regenerated, escalated.

These words stand in the record of each decision, which no roll-up knows, so they are read from
the newest receipts in scope alone: how many these are is part of the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from billing.reader import RECEIPTS, reading
from billing.scope import Scope

READ = 5_000
WENT_ON, ASKED_AGAIN, REGENERATED, ESCALATED = "went_on", "asked_again", "regenerated", "escalated"
_JUDGED = (WENT_ON, ASKED_AGAIN, REGENERATED)


@dataclass(frozen=True, slots=True)
class Signals:
    """One arm: ``judged`` answers had a next turn that says something of them, ``again`` of
    those were asked anew (re-asked or regenerated); ``escalated`` of all ``requests``.
    """

    arm: str
    requests: int
    judged: int
    again: int
    escalated: int


def signals(url: str, scope: Scope, limit: int = READ) -> list[Signals]:
    """The newest receipts in scope by arm, sorted by arm."""
    query = (
        sa.select(RECEIPTS.c.arm, RECEIPTS.c.body)
        .where(*scope.where())
        .order_by(RECEIPTS.c.posted_ms.desc())
        .limit(limit)
    )
    found: dict[str, Counter[str]] = {}
    with reading(url) as db:
        for arm, body in db.execute(query):
            counts = found.setdefault(arm, Counter())
            counts["requests"] += 1
            counts.update(_said(orjson.loads(body)))
    return [_signals(arm, counts) for arm, counts in sorted(found.items())]


def _said(body: Mapping[str, Any]) -> set[str]:
    labels = (body.get("decision") or {}).get("labels") or ()
    said = {str(label[0]) for label in labels}
    if any(reason.get("code") == ESCALATED for reason in body.get("reasons") or ()):
        said.add(ESCALATED)
    return said


def _signals(arm: str, counts: Counter[str]) -> Signals:
    return Signals(
        arm=arm,
        requests=counts["requests"],
        judged=sum(counts[name] for name in _JUDGED),
        again=counts[ASKED_AGAIN] + counts[REGENERATED],
        escalated=counts[ESCALATED],
    )

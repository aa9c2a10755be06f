"""A ledger of made-up requests, and every answer that the reports give about it."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from billing import browse
from billing.outcome_rows import post
from billing.outcomes import Outcome
from billing.reader import reading
from billing.receipt import Line, Receipt, to_fields
from billing.reports import (
    GROUPS,
    Scope,
    daily,
    dearest,
    grouped,
    outcomes,
    overall,
    sessions,
    totals,
)
from billing.rolled import rolled_seq
from billing.savings_report import report, to_json
from billing.store import open_tables
from billing.store_rows import Group

START_MS = 1_793_491_200_000
"""2026-11-01T00:00:00Z."""
QUARTER_MS = 900_000
EDGES = (0, 1, QUARTER_MS - 1, 3_600_000, 86_400_000, 32 * 86_400_000, 19_800_000)
ZONES = ("Asia/Kathmandu", "America/St_Johns", "Europe/Berlin")


def receipt(dice: random.Random, number: int) -> tuple[Receipt, int]:
    """A request of the story, and when it was posted: often just beside a bucket's edge."""
    at_ms = START_MS + dice.choice(EDGES) + dice.randrange(3) * dice.choice(EDGES)
    at_ms += dice.choice((0, 0, dice.randrange(86_400_000)))
    cost = dice.choice((0, 1, 999, dice.randrange(10**9)))
    known = dice.random() < 0.8
    split = known and dice.random() < 0.8
    request_id = f"r{number:05d}"
    made = Receipt(
        request_id=request_id, at_ms=at_ms, team=dice.choice(("t", "u")),
        project=dice.choice((None, "p", "q")), key=dice.choice(("k", "l")),
        user=dice.choice((None, "ana", "bo")), session=dice.choice((None, "s1", "s2")),
        session_key=dice.choice((None, "s1", "s2", "s3", "s4")),
        task=dice.choice((None, None, "j1", "j2")), tags={}, requested_model="big",
        served_model=dice.choice(("big", "small")), tier=dice.choice(("large", "small")),
        upstream=dice.choice(("openai", "anthropic")), action=dice.choice(("pass", "route+trim")),
        arm=dice.choice(("routed", "routed", "holdout", "observe")), reasons=(), candidates=(),
        original_prompt_tokens=3 * cost, sent_prompt_tokens=cost, cached_tokens=dice.randrange(9),
        completion_tokens=dice.randrange(9), reasoning_tokens=0, effective_tokens=cost,
        billed_tokens=cost, cost_nano=cost + 7, gateway_cost_nano=7,
        baseline_nano=2 * cost + 5 if known else None, baseline_model="big", waste_nano=cost // 3,
        usage_source=dice.choice(("provider", "provider", "estimated")),
        lines=(Line(f"{request_id}-a", "input", cost, "0.001", cost, "sha256:b", "r"),),
        attempts=(), overhead_ms=1.0, status=200, policy_hash="", prices_hash="", catalog_hash="",
        state=dice.choice(("settled", "settled", "orphan", "provisional")),
    )  # fmt: skip
    if dice.random() < 0.6:
        made, at_ms = _steady(dice, made)
    if split:
        made = replace(made, saved_trim_nano=cost, saved_model_nano=5, saved_cache_nano=-9,
                       saved_retries_nano=2)  # fmt: skip
    return made, at_ms


def _steady(dice: random.Random, made: Receipt) -> tuple[Receipt, int]:
    """The same as part of a session that is one person's, for an hour, a day, weeks or months."""
    number = dice.randrange(12)
    own = random.Random(number)
    begin = START_MS + own.choice(EDGES) + own.randrange(40) * 86_400_000
    length = own.choice((1, 3_600_000, 7_200_000, 86_400_000, 40 * 86_400_000))
    made = replace(
        made, session=f"c{number}", session_key=f"c{number}", team=own.choice(("t", "u")),
        project=own.choice(("p", "q")), key=own.choice(("k", "l")), user=own.choice(("ana", "bo")),
        arm=own.choice(("routed", "routed", "holdout")), served_model=own.choice(("big", "small")),
        task=own.choice((None, "j1", f"j-{number}")),
    )  # fmt: skip
    if made.baseline_nano and own.random() < 0.1:
        made = replace(made, baseline_nano=made.baseline_nano + (1 << 45))
    return made, begin + dice.choice((0, length // 2, length))


def fill(url: str, seed: int, count: int, *, fresh: int) -> None:
    """Requests are posted and rolled up, but for the last ``fresh``; outcomes come between."""
    dice = random.Random(seed)
    tables = open_tables(url)
    try:
        left = count
        while left:
            some = min(dice.randrange(1, 20), left)
            group = Group()
            for number in range(count - left, count - left + some):
                made, posted_ms = receipt(dice, number)
                group.post(made, posted_ms, 2 * made.cost_nano, to_fields(made)[1])
            tables.write(group)
            left -= some
            if dice.random() < 0.5 and left > fresh:
                tables.roll_up(dice.randrange(1, 15))
            if dice.random() < 0.4:
                say(url, dice)
        tables.roll_up(max(count - fresh - already(url), 0))
        say(url, dice)
    finally:
        tables.close()


def say(url: str, dice: random.Random) -> None:
    """An outcome of some task or session is posted."""
    told = dice.choice(("accepted", "rejected"))
    number = dice.randrange(12)
    task = dice.choice(("j1", "j2", "s1", "s2", f"c{number}", f"j-{number}"))
    post(url, Outcome(dice.choice(("t", "u")), task, told, None, "k", START_MS))


def already(url: str) -> int:
    """How many receipts are rolled up."""
    with reading(url) as db:
        return rolled_seq(db)


def scopes(seed: int, count: int) -> Iterator[Scope]:
    """Ranges whose ends are in, at and beside buckets' edges, with labels or without."""
    dice = random.Random(seed)
    yield Scope()
    for _ in range(count):
        ends = sorted(
            START_MS + dice.choice(EDGES) + dice.choice((-1, 0, 1, QUARTER_MS)) for _ in range(2)
        )
        start, end = (datetime.fromtimestamp(ms / 1000, UTC) for ms in ends)
        also = [("model", "small"), ("user", ""), ("user", "ana"), ("session", "s1"),
                ("session", ""), ("task", "j1"), ("arm", "routed"), ("state", "settled"),
                ("project", ""), ("action", "pass")]  # fmt: skip
        yield Scope(
            dice.choice((None, start)),
            dice.choice((None, end)),
            dice.choice((None, None, "t")),
            tuple(dice.sample(also, dice.choice((0, 0, 1, 1, 2)))),
        )


def answers(url: str, scope: Scope) -> dict[str, Any]:
    """Everything that the reports say of a scope."""
    found: dict[str, Any] = {
        "totals": totals(url, scope.start, scope.end, scope.team),
        "overall": overall(url, scope),
        "outcomes": outcomes(url, scope),
        "savings": to_json(report(url, scope)),
    }
    for by in sorted(GROUPS):
        found[f"by {by}"] = grouped(url, by, scope)
        found[f"labels {by}"] = browse.labels(url, by)
        found[f"top {by}"] = dearest(url, by, scope, 2)
    for zone in ZONES:
        found[f"daily {zone}"] = daily(url, ZoneInfo(zone), scope)
    return found


def by_session(url: str, scope: Scope) -> dict[str, Any]:
    """What the reports that go by session or task say of a scope, sessions one by one."""
    held, routed = sessions(url, scope)
    found: dict[str, Any] = {
        "held": Counter(held),
        "routed": routed,
        "outcomes": outcomes(url, scope),
    }
    for by in ("session", "task"):
        found[f"by {by}"] = grouped(url, by, scope)
        found[f"top {by}"] = dearest(url, by, scope, 2)
    return found


def forget_rollups(path: str) -> None:
    """The reports of a SQLite ledger read receipts alone: what is rolled up is not known."""
    with sqlite3.connect(path) as db:
        db.execute("UPDATE facts SET value = '0' WHERE name = 'rolled'")
    db.close()

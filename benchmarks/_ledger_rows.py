"""A ledger of many requests, written straight into SQLite: for measuring what reads it.

The rows are what the gateway would have written: a sound hash chain, sessions of several
requests, a few popular teams, keys and models and a long tail of others, days busier than
nights. Bodies, lines and attempts are of ordinary size, or, as no report but that of the
newest requests reads them, left bare: a fifth of the disk.
"""

from __future__ import annotations

import random
import sqlite3
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from billing.chain import START, link
from billing.receipt import Attempt, Line, Receipt, to_fields
from billing.schema import upgrade
from billing.store_rows import ATTEMPT_COLUMNS, LINE_COLUMNS, RECEIPT_COLUMNS

DAY_MS = 86_400_000
BOOK = "sha256:" + "b" * 64
TEAMS, PROJECTS, KEYS, USERS = 20, 3, 200, 5_000
REQUESTED = (("gpt-6.1-sol", 60), ("claude-fable-5-2", 30), ("gemini-3.1-pro", 10))
SERVED = (
    ("gpt-6-luna", "openai", "small", 45),
    ("gpt-6.1-sol", "openai", "large", 25),
    ("claude-haiku-5-5", "anthropic", "small", 15),
    ("claude-fable-5-2", "anthropic", "large", 10),
    ("gemini-3.1-pro", "google", "large", 5),
)
ACTIONS = (
    ("pass", 30),
    ("route", 35),
    ("route+trim", 20),
    ("trim", 8),
    ("compress", 5),
    ("route+compress", 2),
)
_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Shape:
    """How many requests over how many days, ending at ``end_ms``; requests a session.

    ``full``: with reasons, candidates, lines and attempts.
    """

    rows: int
    days: int
    end_ms: int
    full: bool = False
    a_session: float = 10.0
    seed: int = 7


@dataclass(frozen=True, slots=True)
class _Session:
    """What all requests of one session share."""

    name: str
    key: int
    user: int
    arm: str
    task: str | None
    requested: str


def make_ledger(path: Path, shape: Shape) -> int:
    """A new database with that many receipts; how many sessions."""
    upgrade(path)
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000"):
        db.execute(f"PRAGMA {pragma}")
    later = _without_triggers(db)
    sessions, order, at = _timeline(shape)
    rows = _rows(sessions, order, at, full=shape.full)
    taken: list[tuple[Any, ...]] = []
    db.execute("BEGIN")
    for number, row in enumerate(rows, 1):
        taken.append(row)
        if len(taken) == _AT_ONCE or number == shape.rows:
            _insert(db, taken, full=shape.full)
            taken = []
    db.execute("COMMIT")
    _outcomes(db, sessions)
    for statement in later:
        db.execute(statement)
    db.execute("PRAGMA journal_mode = WAL")
    db.close()
    return len(sessions)


def _timeline(shape: Shape) -> tuple[list[_Session], np.ndarray, np.ndarray]:
    """Sessions, and for each request in the order of time whose it is and when."""
    dice, rng = random.Random(shape.seed), np.random.default_rng(shape.seed)
    lengths: list[int] = []
    left = shape.rows
    for length in rng.geometric(1 / shape.a_session, shape.rows):
        lengths.append(min(int(length), left))
        left -= lengths[-1]
        if not left:
            break
    count = len(lengths)
    day = rng.integers(0, shape.days, count)
    hour = np.clip(rng.normal(13, 4, count), 0, 23.99)  # busy around noon
    begin = shape.end_ms - shape.days * DAY_MS + day * DAY_MS + (hour * 3_600_000).astype(np.int64)
    whose = np.repeat(np.arange(count), lengths)
    pause = rng.exponential(60_000, shape.rows).astype(np.int64)
    passed = np.cumsum(pause)
    first = np.cumsum(lengths) - lengths
    at = begin[whose] + passed - passed[first][whose]
    at = np.minimum(at, shape.end_ms - 1)
    order = np.argsort(at, kind="stable")
    return [_session(number, dice) for number in range(count)], whose[order], at[order]


def _session(number: int, dice: random.Random) -> _Session:
    key = int(dice.paretovariate(0.9)) % KEYS
    share = USERS // KEYS
    user = key * share + dice.randrange(share)
    arm = "holdout" if dice.random() < 0.05 else "routed"
    task = f"task-{number:08d}" if dice.random() < 0.2 else None
    return _Session(f"s-{number:016x}", key, user, arm, task, _pick(REQUESTED, dice))


def _pick(choices: Any, dice: random.Random) -> Any:
    weights = list(accumulate(choice[-1] for choice in choices))
    found = choices[bisect(weights, dice.random() * weights[-1])]
    return found[0] if len(found) == 2 else found


def _rows(
    sessions: list[_Session], order: np.ndarray, at: np.ndarray, *, full: bool
) -> Iterator[tuple[Any, ...]]:
    """Receipt rows in the order of time, each with its lines and attempt behind it."""
    dice, end, book = random.Random(11), START, BOOK if full else ""
    bodies: dict[tuple[Any, ...], tuple[bytes, Receipt]] = {}
    for seq, (whose, at_ms) in enumerate(zip(order.tolist(), at.tolist(), strict=True), 1):
        session = sessions[whose]
        held = session.arm == "holdout"
        served = _pick(SERVED, dice)
        model, upstream, tier = (session.requested, "openai", "large") if held else served[:3]
        action = "pass" if held else _pick(ACTIONS, dice)
        source = "estimated" if dice.random() < 0.01 else "provider"
        known = dice.random() > 0.02
        who = (session.key, session.requested)
        kind = (*who, model, upstream, tier, action, session.arm, source, known)
        if kind not in bodies:
            bodies[kind] = _body(kind, full=full)
        template, base = bodies[kind]
        asked, out = 200 + int(dice.paretovariate(1.1) * 800) % 200_000, 20 + dice.randrange(1200)
        sent = asked if action in ("pass", "route") else asked // 3
        cost, whole = sent * 100 + out * 500, asked * 2_000 + out * 8_000
        request_id = f"01{seq:024d}"
        task = b'"%b"' % session.task.encode() if session.task else b"null"
        user = f"user-{session.user:05d}"
        values = {
            b"id": request_id.encode(), b"at": b"%d" % at_ms, b"user": user.encode(),
            b"s": session.name.encode(), b"task": task, b"asked": b"%d" % asked,
            b"sent": b"%d" % sent, b"out": b"%d" % out, b"all": b"%d" % (sent + out),
            b"cost": b"%d" % cost, b"in": b"%d" % (sent * 100), b"outcost": b"%d" % (out * 500),
            b"whole": b"%d" % whole if known else b"null", b"saved": b"%d" % (whole - cost),
        }  # fmt: skip
        body = template % values
        end = link(end, at_ms, 2 * cost, body)
        baseline = whole if known else None
        split = (whole - cost, 0, 0, 0) if known else (None,) * 4
        own = (
            request_id, at_ms, base.team, base.project, base.key, user, session.name,
            session.name, session.task, session.requested, model, tier, upstream, action,
            session.arm, 200, "settled", source, asked, sent, 0, 0, sent + out, sent + out, cost,
            0, baseline, session.requested, 0, 1.9, book, book, book, *split,
        )  # fmt: skip
        yield ((*own, sent, out, at_ms, 2 * cost, body, seq, end, ""), sent, out, model, upstream)


def _body(kind: tuple[Any, ...], *, full: bool) -> tuple[bytes, Receipt]:
    """A receipt's JSON with named gaps, and the receipt it was made from."""
    key, requested, model, upstream, tier, action, arm, source, known = kind
    team = key % TEAMS
    marks = {
        name: 9_000_000_000_001 + n
        for n, name in enumerate(
            ("at", "asked", "sent", "out", "all", "cost", "whole", "saved", "in", "outcost")
        )
    }
    base = Receipt(
        request_id="%id%", at_ms=marks["at"], team=f"team-{team:02d}",
        project=f"project-{key % PROJECTS}", key=f"key-{key:03d}", user="%user%", session="%s%",
        session_key="%s%", task="%task%", tags={"feature": "search"}, requested_model=requested,
        served_model=model, tier=tier, upstream=upstream, action=action, arm=arm,
        reasons=({"code": "small_is_enough", "p": 0.94, "floor": 0.9},) * 3,
        candidates=({"model": requested, "expected_usd": "0.1912", "rejected": "dearer"},) * 3,
        original_prompt_tokens=marks["asked"], sent_prompt_tokens=marks["sent"], cached_tokens=0,
        completion_tokens=marks["out"], reasoning_tokens=0, effective_tokens=marks["all"],
        billed_tokens=marks["all"], cost_nano=marks["cost"], gateway_cost_nano=0,
        baseline_nano=marks["whole"], baseline_model=requested, waste_nano=0, usage_source=source,
        lines=(
            Line("%id%-a", "input", marks["sent"], "0.1", marks["in"], BOOK, f"base:{model}"),
            Line("%id%-a", "output", marks["out"], "0.5", marks["outcost"], BOOK, f"base:{model}"),
        ),
        attempts=(Attempt("%id%-a", model, upstream, 200, "ok", 310.2, 1202.9),),
        overhead_ms=1.9, status=200, policy_hash=BOOK, prices_hash=BOOK, catalog_hash=BOOK,
        saved_trim_nano=marks["saved"] if known else None,
        saved_model_nano=0 if known else None, saved_cache_nano=0 if known else None,
        saved_retries_nano=0 if known else None,
    )  # fmt: skip
    if not full:
        base = replace(base, tags={}, reasons=(), candidates=(), lines=(), attempts=(),
                       policy_hash="", prices_hash="", catalog_hash="")  # fmt: skip
    text = to_fields(base)[1]
    for name in ("id", "user", "s"):
        text = text.replace(b"%%%b%%" % name.encode(), b"%%(%b)b" % name.encode())
    text = text.replace(b'"%task%"', b"%(task)b")
    for name, mark in marks.items():
        text = text.replace(b"%d" % mark, b"%%(%b)b" % name.encode())
    return text, base


def _insert(db: sqlite3.Connection, taken: list[tuple[Any, ...]], *, full: bool) -> None:
    receipts, lines, attempts = [], [], []
    for row, sent, out, model, upstream in taken:
        request_id, at_ms = row[0], row[1]
        attempt = f"{request_id}-a"
        rule = f"base:{model}"
        receipts.append(row)
        if not full:
            continue
        both = (("input", sent, "0.1", 100), ("output", out, "0.5", 500))
        for component, count, rate, each in both:
            line = (component, 0, at_ms, count, rate, count * each, BOOK, rule, None)
            lines.append((request_id, attempt, *line))
        called = (model, upstream, 200, "ok", 310.2, 1202.9, None, None)
        attempts.append((request_id, attempt, at_ms, *called))
    for table, columns, rows in (
        ("receipts", RECEIPT_COLUMNS, receipts),
        ("lines", LINE_COLUMNS, lines),
        ("attempts", ATTEMPT_COLUMNS, attempts),
    ):
        names = ", ".join(f'"{name}"' for name in columns)
        marks = ", ".join("?" * len(columns))
        db.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)  # noqa: S608 - constants


def _outcomes(db: sqlite3.Connection, sessions: list[_Session]) -> None:
    """Four of five tasks are closed, nine of ten of those accepted."""
    dice = random.Random(13)
    closed = [one for one in sessions if one.task and dice.random() < 0.8]
    db.execute("BEGIN")
    db.executemany(
        "INSERT INTO outcomes (at_ms, team, task, outcome, value, key) VALUES (?, ?, ?, ?, ?, ?)",
        (
            (0, f"team-{one.key % TEAMS:02d}", one.task,
             "accepted" if dice.random() < 0.9 else "rejected", None, f"key-{one.key:03d}")
            for one in closed
        ),
    )  # fmt: skip
    db.execute("COMMIT")


def _without_triggers(db: sqlite3.Connection) -> list[str]:
    """The triggers of receipts are gone for now; the statements that bring them back.

    Indexes stay: rows come in the order of time, and reading all rows again would take longer.
    """
    found = db.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'receipts'"
    ).fetchall()
    for name, _ in found:
        db.execute(f"DROP TRIGGER {name}")
    return [str(sql) for _, sql in found]

"""Reports: every sum over the same rows is the same sum."""

from __future__ import annotations

import random
import sqlite3
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from billing.closing import close
from billing.errors import LedgerMissing
from billing.money import usd
from billing.reports import (
    GROUPS,
    Scope,
    daily,
    grouped,
    latest,
    overall,
    receipts,
    sessions,
    totals,
    verify,
)
from billing.savings import Moments, Session
from billing.schema import database_path

DAY = 86_400_000
SUMMED = [
    "requests",
    "cost_nano",
    "waste_nano",
    "prompt_tokens",
    "effective_tokens",
    "baseline_nano",
    "compared_nano",
    "saved_nano",
    "infeasible",
    "estimated",
]


@pytest.fixture
def filled(money: Any, clock: Any, url: str, open_ledger: Any) -> str:
    """60 requests over three days, of two models and several actions; one hold open."""
    ledger = open_ledger(money.accounts())
    dice = random.Random(7)
    for number in range(60):
        clock.now += DAY // 20
        cost = dice.randrange(1, 5000)
        fields = {
            "at_ms": clock.now,
            "served_model": dice.choice(["gpt-6-luna", "gpt-6.1-sol"]),
            "action": dice.choice(["pass", "route", "route+trim"]),
            "user": dice.choice([None, "ana"]),
            "baseline_nano": dice.choice([None, 2 * cost, cost // 2]),
            "usage_source": dice.choice(["provider", "estimated"]),
        }
        hold = ledger.hold(money.request(f"r{number}", 6000, clock.now))
        ledger.settle(hold, money.receipt(f"r{number}", cost, **fields))
    ledger.hold(money.request("open", 77, clock.now))
    ledger.flush()
    return url


def test_totals(filled: str) -> None:
    """Settled requests, metered tokens and cost; open holds apart."""
    rows = receipts(filled, Scope(), 1000)
    found = totals(filled)
    assert found == {
        "requests": 60,
        "prompt_tokens": sum(row.lines[0].quantity for row in rows),
        "completion_tokens": 0,
        "cost": usd(sum(row.cost_nano for row in rows)),
        "provisional_requests": 0,
        "provisional_cost": "0",
        "corrections": 0,
        "corrected": "0",
        "open_holds": 1,
        "held": "0.000000077",
    }
    assert totals(filled, team="t")["cost"] == found["cost"]
    assert totals(filled, team="other")["requests"] == 0


@pytest.mark.parametrize("by", sorted(GROUPS))
def test_every_level_sums_to_the_same(filled: str, by: str) -> None:
    """Costs, tokens, savings and counts by any group add up to the whole, to the nano."""
    whole, rows = overall(filled, Scope()), grouped(filled, by, Scope())
    for name in SUMMED:
        assert sum(getattr(row, name) for row in rows) == getattr(whole, name), name
    assert [row.cost_nano for row in rows] == sorted((r.cost_nano for r in rows), reverse=True)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/New_York"])
def test_days_are_local_and_sum_up(filled: str, zone: str) -> None:
    """Each request stands in its own local day, whatever the offset."""
    days = daily(filled, ZoneInfo(zone), Scope())
    expected: dict[date, int] = {}
    for row in receipts(filled, Scope(), 1000):
        day = datetime.fromtimestamp(row.at_ms / 1000, ZoneInfo(zone)).date()
        expected[day] = expected.get(day, 0) + row.cost_nano
    assert {day: row.cost_nano for day, row in days} == expected
    assert [day for day, _ in days] == sorted(expected)


def test_ranges_are_half_open(filled: str, money: Any) -> None:
    """Adjacent ranges share no request and miss none."""
    begin = datetime.fromtimestamp(money.noon / 1000, UTC)
    cuts = [begin + timedelta(hours=hours) for hours in (0, 5, 24, 43, 200)]
    parts = [overall(filled, Scope(first, last)).requests for first, last in pairwise(cuts)]
    assert sum(parts) == 60
    exact = receipts(filled, Scope(), 1)[0]
    at = datetime.fromtimestamp(exact.at_ms / 1000, UTC)
    assert latest(filled) == at
    assert overall(filled, Scope(at)).requests == 1
    assert overall(filled, Scope(None, at)).requests == 59


def test_savings_count_only_what_is_known(filled: str) -> None:
    """Requests without a baseline are counted apart, not as saved."""
    whole = overall(filled, Scope())
    rows = receipts(filled, Scope(), 1000)
    known = [row for row in rows if row.baseline_nano is not None]
    assert whole.infeasible == 60 - len(known)
    assert whole.saved_nano == sum(row.saved_nano or 0 for row in known)
    assert whole.nano_per_effective_mtok == 1_000_000


def test_a_sound_ledger_verifies(filled: str) -> None:
    """Nothing to complain about."""
    assert verify(filled) == []


def test_a_forged_row_is_found(filled: str, tmp_path: Path) -> None:
    """A changed amount, a stray line and a missing one are each named."""
    forger = sqlite3.connect(tmp_path / "weir.db")
    for table in ("lines", "receipts"):
        for verb in ("update", "delete"):
            forger.execute(f"DROP TRIGGER {table}_no_{verb}")
    forger.execute("UPDATE lines SET amount_nano = amount_nano + 1 WHERE request_id = 'r1'")
    forger.execute("UPDATE lines SET request_id = 'ghost' WHERE request_id = 'r2'")
    forger.execute("DELETE FROM lines WHERE request_id = 'r3'")
    forger.commit()
    forger.close()
    problems = "\n".join(verify(filled))
    for part in ("attempt r1-a", "receipt r1:", "receipt r2:", "request ghost", "receipt r3:"):
        assert part in problems


def test_an_unknown_group_is_refused(url: str) -> None:
    """Grouping by anything else names what is possible."""
    with pytest.raises(ValueError, match="action"):
        grouped(url, "colour", Scope())


@pytest.mark.usefixtures("made")
def test_an_empty_ledger_is_all_zero(url: str) -> None:
    """Before the first request every total is zero and nothing fails."""
    assert totals(url)["cost"] == "0"
    assert grouped(url, "team", Scope()) == []
    assert daily(url, ZoneInfo("UTC"), Scope()) == []
    assert latest(url) is None
    assert overall(url, Scope()).nano_per_effective_mtok is None
    assert verify(url) == []


@pytest.mark.usefixtures("made")
def test_a_naive_instant_is_refused(url: str) -> None:
    """A range needs a time zone."""
    with pytest.raises(ValueError, match="time zone"):
        overall(url, Scope(datetime(2026, 11, 1)))  # noqa: DTZ001 - the point


def test_sessions_by_arm(money: Any, clock: Any, url: str, open_ledger: Any) -> None:
    """Held-out and routed sessions are summed apart; without a counterfactual none counts."""
    ledger = open_ledger(money.accounts())
    story = [
        ("holdout", "a", 10),
        ("holdout", "a", 5),
        ("holdout", "b", 7),
        ("routed", "c", 3),
        ("observe", "d", 9),
    ]
    for number, (arm, key, cost) in enumerate(story):
        hold = ledger.hold(money.request(f"r{number}", 100, clock.now))
        ledger.settle(hold, money.receipt(f"r{number}", cost, arm=arm, session_key=key))
    hold = ledger.hold(money.request("r9", 100, clock.now))
    ledger.settle(hold, money.receipt("r9", 1, session_key="c", baseline_nano=None))
    ledger.flush()
    held, routed = sessions(url, Scope())
    assert sorted(held, key=lambda s: s.paid_nano) == [Session(7, 21), Session(15, 45)]
    assert routed == Moments.of([Session(3, 9)])


def test_asking_makes_no_database(url: str) -> None:
    """Where there is none, a report names the file it looked for and the remedy; none is made."""
    path = database_path(url)
    for ask in (
        lambda: overall(url, Scope()),
        lambda: close(url, "2026-10", datetime(2026, 12, 1, tzinfo=UTC)),
    ):
        with pytest.raises(LedgerMissing, match="`database:`") as caught:
            ask()
        assert str(path) in str(caught.value)
        assert not path.exists()

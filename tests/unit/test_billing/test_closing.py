"""Closing: a closed month stays what it was, and what is late lands in the open one."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from billing.closing import CannotClose, close, closings, month_of
from billing.reports import Scope, overall
from billing.verify import verify

DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
DEC_MS = 1_796_083_200_000


@pytest.fixture
def filled(money: Any, clock: Any, url: str, open_ledger: Any) -> str:
    """Three requests in November."""
    ledger = open_ledger(money.accounts())
    for number in range(3):
        receipt = money.receipt(f"r{number}", 100 + number)
        ledger.settle(ledger.hold(money.request(receipt.request_id, 900, clock.now)), receipt)
    ledger.flush()
    return url


def test_a_month_is_closed_once(filled: str) -> None:
    """Its figures are fixed; closing it again gives the same and adds nothing."""
    first = close(filled, "2026-11", DECEMBER)
    assert not first.already
    assert (first.closing.requests, first.closing.cost_nano, first.unsettled) == (3, 303, 0)
    again = close(filled, "2026-11", datetime(2027, 3, 1, tzinfo=UTC))
    assert again.already
    assert again.closing == first.closing
    assert closings(filled) == [first.closing]
    assert verify(filled) == []


def test_closing_a_month_closes_all_before(filled: str) -> None:
    """November closed, October is closed with it; December has what came since."""
    november = close(filled, "2026-11", DECEMBER).closing
    assert close(filled, "2026-10", DECEMBER).closing == november
    december = close(filled, "2026-12", datetime(2027, 1, 1, tzinfo=UTC)).closing
    assert (december.from_ms, december.requests) == (november.until_ms, 0)
    assert [row.month for row in closings(filled)] == ["2026-11", "2026-12"]
    assert verify(filled) == []


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "november", "2026-11-01", "", "1969-12"])
def test_only_months_can_be_closed(url: str, month: str) -> None:
    """What is no month is refused, with an example of one."""
    with pytest.raises(CannotClose):
        close(url, month, DECEMBER)


def test_a_running_month_cannot_be_closed(url: str) -> None:
    """The month must be over, to the instant."""
    with pytest.raises(CannotClose, match="not over before 2026-12-01"):
        close(url, "2026-11", datetime(2026, 11, 30, 23, 59, 59, 999_999, tzinfo=UTC))
    assert month_of("2026-12") == (DECEMBER, datetime(2027, 1, 1, tzinfo=UTC))


@pytest.fixture
def late(money: Any, clock: Any, url: str, open_ledger: Any) -> tuple[str, Any]:
    """November closed while one of its requests is still open; then that settles."""
    ledger = open_ledger(money.accounts())
    early, slow = (ledger.hold(money.request(name, 900, clock.now)) for name in ("early", "slow"))
    ledger.settle(early, money.receipt("early", 100))
    ledger.flush()
    close(url, "2026-11", DECEMBER)
    ledger.settle(slow, money.receipt("slow", 200))
    ledger.flush()
    return url, ledger


def test_what_is_late_counts_in_the_open_month(late: tuple[str, Any]) -> None:
    """A request held in November and settled after its closing counts in December."""
    url, ledger = late
    assert overall(url, Scope(NOVEMBER, DECEMBER)).cost_nano == 100
    assert overall(url, Scope(DECEMBER)).cost_nano == 200
    ledger.close()
    assert verify(url) == []
    found = ledger_receipt(url, "slow")
    assert {"code": "late", "posted_ms": DEC_MS, "due_ms": found["at_ms"]} in found["reasons"]


def ledger_receipt(url: str, request_id: str) -> Any:
    """The stored body of a receipt."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    query = "SELECT body FROM receipts WHERE request_id = ?"
    row = connection.execute(query, (request_id,)).fetchone()
    connection.close()
    return orjson.loads(row[0])


def test_a_dead_processs_hold_of_a_closed_month_is_late(
    money: Any, clock: Any, url: str, open_ledger: Any
) -> None:
    """An orphan of November, found after its closing, is charged in December."""
    ledger = open_ledger(money.accounts())
    ledger.hold(money.request("dead", 900, clock.now))
    ledger.flush()
    close(url, "2026-11", DECEMBER)
    ledger.close()
    open_ledger(money.accounts()).close()
    assert overall(url, Scope(DECEMBER)).cost_nano == 900
    assert overall(url, Scope(NOVEMBER, DECEMBER)).cost_nano == 0
    assert verify(url) == []


def test_unsettled_receipts_are_said(money: Any, clock: Any, url: str, open_ledger: Any) -> None:
    """Closing says how many charges at the hold nobody has set right."""
    ledger = open_ledger(money.accounts())
    ledger.hold(money.request("dead", 900, clock.now))
    ledger.close()
    open_ledger(money.accounts()).close()
    assert close(url, "2026-11", DECEMBER).unsettled == 1


def test_the_database_refuses_a_closed_month(filled: str, tmp_path: Path) -> None:
    """Whoever writes past the ledger is stopped by the database itself."""
    close(filled, "2026-11", DECEMBER)
    connection = sqlite3.connect(tmp_path / "weir.db")
    columns = [row[1] for row in connection.execute("PRAGMA table_info(receipts)")]
    names = ", ".join(f'"{name}"' for name in columns)
    forged = ", ".join(
        {"seq": "99", "request_id": "'x'"}.get(name, f'"{name}"') for name in columns
    )
    sql = f"INSERT OR IGNORE INTO receipts ({names}) SELECT {forged} FROM receipts LIMIT 1"  # noqa: S608 - names of columns
    with pytest.raises(sqlite3.IntegrityError, match="month is closed"):
        connection.execute(sql)
    connection.close()


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM receipts WHERE seq = 3", "its requests is 2, was 3"),
        ("UPDATE receipts SET posted_ms = posted_ms - 1 WHERE seq = 2", "chain breaks"),
        ("UPDATE closings SET cost_nano = 302", "its cost is 0.000000303, was 0.000000302"),
        ("UPDATE closings SET corrected_nano = 1", "corrections are not what they were"),
        ("UPDATE closings SET digest = x'00'", "postings are not what they were"),
    ],
)
def test_a_closed_month_that_changed_shows(
    filled: str, tmp_path: Path, sql: str, words: str
) -> None:
    """verify names a closed month that is not what it was when it was closed."""
    close(filled, "2026-11", DECEMBER)
    connection = sqlite3.connect(tmp_path / "weir.db")
    for table in ("receipts", "closings"):
        connection.execute(f"DROP TRIGGER {table}_no_update")
        connection.execute(f"DROP TRIGGER {table}_no_delete")
    connection.execute(sql)
    connection.commit()
    connection.close()
    assert any(words in problem for problem in verify(filled))

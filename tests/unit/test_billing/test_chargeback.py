"""Chargeback: months by cost centre, with what reconciliations booked."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from billing.booking import Question, book
from billing.chargeback import UNALLOCATED, charged, closing_of, months, reconciliations
from billing.closing import CannotClose, close
from billing.provider_exports import read_export

DAY = date(2026, 11, 22)
NOW = datetime(2026, 12, 3, tzinfo=UTC)
CENT = 10**7


@pytest.fixture
def filled(money: Any, clock: Any, url: str, open_ledger: Any) -> str:
    """Two sure requests of 30 and 5 cents, and one of 40 whose process died."""
    ledger = open_ledger(money.accounts())
    for name, cost in (("r0", 30 * CENT), ("r1", 5 * CENT)):
        receipt = money.receipt(name, cost)
        ledger.settle(ledger.hold(money.request(name, 10**9, clock.now)), receipt)
    ledger.hold(money.request("dead", 40 * CENT, clock.now))
    ledger.close()
    open_ledger(money.accounts()).close()
    return url


def booked_to(url: str, cents: int) -> None:
    """The day is booked to what the provider says."""
    export = read_export(f"day,cost_usd\n{DAY},{cents / 100}\n".encode())
    book(url, Question(export, ("openai",), 0, NOW))


@pytest.mark.parametrize("by", ["team", "project", "key"])
@pytest.mark.parametrize("cents", [75, 60, 35, 20, 90])
def test_a_month_adds_up_to_the_providers_word(filled: str, by: str, cents: int) -> None:
    """Whatever was booked, the cost centres together owe what the provider bills."""
    booked_to(filled, cents)
    rows = charged(filled, "2026-11", by)
    assert sum(row.total_nano for row in rows) == cents * CENT
    assert sum(row.cost_nano for row in rows) == 75 * CENT
    assert sum(row.requests for row in rows) == 3


def test_what_nobody_made_stands_apart(filled: str) -> None:
    """A bill above everything in doubt is charged to nobody, and shown last."""
    booked_to(filled, 90)
    *_, last = charged(filled, "2026-11")
    assert (last.name, last.requests, last.total_nano) == (UNALLOCATED, 0, 15 * CENT)


def test_months_run_from_the_first_receipt_to_the_last(
    money: Any, clock: Any, url: str, open_ledger: Any
) -> None:
    """Months without any receipt in between are there, too; an empty ledger has none."""
    ledger = open_ledger(money.accounts())
    assert months(url) == []
    for name, day in (("a", datetime(2026, 11, 30, 23, 59, tzinfo=UTC)),
                      ("b", datetime(2027, 2, 1, tzinfo=UTC))):  # fmt: skip
        clock.now = int(day.timestamp() * 1000)
        receipt = money.receipt(name, CENT, at_ms=clock.now)
        ledger.settle(ledger.hold(money.request(name, CENT, clock.now)), receipt)
    ledger.close()
    assert months(url) == ["2027-02", "2027-01", "2026-12", "2026-11"]
    assert [row.total_nano for row in charged(url, "2026-11")] == [CENT]
    assert charged(url, "2026-12") == []


def test_a_closed_month_says_what_froze_it(filled: str) -> None:
    """A month is closed with its own closing or with a later one; before, it is open."""
    assert closing_of(filled, "2026-11") is None
    close(filled, "2026-11", NOW)
    closing = closing_of(filled, "2026-11")
    assert closing is not None
    assert closing.total_nano == 75 * CENT
    assert closing_of(filled, "2026-10") == closing
    assert closing_of(filled, "2026-12") is None


def test_what_was_reconciled_is_listed_with_its_reasons(filled: str) -> None:
    """Each booking names both sides, what was booked, and why, the newest first."""
    booked_to(filled, 35)
    booked_to(filled, 36)
    newest, oldest = reconciliations(filled)
    assert (oldest.ours_nano, oldest.theirs_nano, oldest.booked_nano) == (
        75 * CENT, 35 * CENT, -40 * CENT,
    )  # fmt: skip
    assert any("process" in reason or "hold" in reason for reason in oldest.reasons)
    assert newest.booked_nano == CENT
    assert reconciliations(filled, limit=1) == [newest]


def test_a_wrong_question_is_refused(filled: str) -> None:
    """A group that corrections do not know, or a month that is none, is an error."""
    with pytest.raises(ValueError, match="choose team, project or key"):
        charged(filled, "2026-11", "model")
    with pytest.raises(CannotClose, match="is no month"):
        charged(filled, "november")

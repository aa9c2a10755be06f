"""Booking: after it the ledger is what the provider says, and it says so only once."""

from __future__ import annotations

import csv
import io
import sqlite3
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from billing.booking import Question, book, booked, reconcile, reconciled, to_json
from billing.closing import close
from billing.exports import write_csv
from billing.money import nano
from billing.provider_exports import read_export
from billing.receipt import Line, held_line
from billing.reports import Scope, overall, totals
from billing.verify import verify

NOW = datetime(2026, 12, 3, tzinfo=UTC)
DAY = date(2026, 11, 22)
CENT = 10**7


@pytest.fixture
def filled(money: Any, clock: Any, url: str, open_ledger: Any) -> str:
    """Two sure requests, one estimated, one without a price, one of a process that died."""
    ledger = open_ledger(money.accounts())
    guess = money.receipt("guess", 10 * CENT, usage_source="estimated")
    line = held_line("free-a", 20 * CENT, "", "no price")
    unpriced = money.receipt("free", 20 * CENT, lines=(line,), baseline_nano=None)
    for receipt in (money.receipt("r0", 30 * CENT), money.receipt("r1", 5 * CENT), guess, unpriced):
        ledger.settle(ledger.hold(money.request(receipt.request_id, 10**9, clock.now)), receipt)
    ledger.hold(money.request("dead", 40 * CENT, clock.now))
    ledger.close()
    open_ledger(money.accounts()).close()
    return url


def ask(text: str, tolerance: int = 0, account: str = "openai") -> Question:
    return Question(read_export(text.encode()), (account,), tolerance, NOW)


def costs(cents: int, day: date = DAY) -> str:
    return f"day,cost_usd\n{day},{cents / 100}\n"


def exported(url: str, *, focus: bool = False) -> list[dict[str, str]]:
    out = io.StringIO()
    write_csv(url, Scope(), out, focus=focus)
    return list(csv.DictReader(io.StringIO(out.getvalue())))


def test_a_delta_names_its_requests(filled: str) -> None:
    """What was charged without a count is listed by kind, with what it may account for."""
    (found,) = reconcile(filled, ask(costs(80)))
    assert found.ours.cost_nano == 105 * CENT
    kinds = {reason.code: (reason.count, reason.amount_nano) for reason in found.reasons}
    assert kinds == {
        "orphan": (1, 40 * CENT), "unpriced": (1, 20 * CENT), "estimated": (1, 10 * CENT),
    }  # fmt: skip
    said = to_json(found)
    assert (said["delta_usd"], said["agrees"], said["requests"]) == ("-0.25", False, 5)
    assert booked(filled, Scope()) == []


def test_booked_the_day_is_the_providers(filled: str) -> None:
    """Reversals name their requests, the sum is theirs, teams keep their part."""
    (before,) = book(filled, ask(costs(80)))
    assert before.delta_nano == -25 * CENT
    rows = booked(filled, Scope())
    assert sum(row.amount_nano for row in rows) == -25 * CENT
    assert {row.request_id for row in rows} == {"dead", "free"}
    assert {row.team for row in rows} == {"t"}
    (after,) = reconcile(filled, ask(costs(80)))
    assert (after.agrees, after.delta_nano) == (True, 0)
    assert list(reconciled(filled)) == [("openai", DAY)]
    assert verify(filled) == []


def test_booking_twice_books_once(filled: str) -> None:
    """The same export again adds no row, neither a correction nor a reconciliation."""
    book(filled, ask(costs(80)))
    rows = booked(filled, Scope())
    book(filled, ask(costs(80)))
    assert booked(filled, Scope()) == rows
    assert verify(filled) == []


def test_a_later_word_of_the_provider_is_booked_on_top(filled: str) -> None:
    """A restated invoice corrects what was booked before; nothing is rewritten."""
    book(filled, ask(costs(80)))
    first = booked(filled, Scope())
    book(filled, ask(costs(81)))
    rows = booked(filled, Scope())
    assert rows[: len(first)] == first
    assert sum(row.amount_nano for row in rows) == -24 * CENT
    added = [(row.request_id, row.amount_nano) for row in rows[len(first) :]]
    assert added == [("guess", -10 * CENT), ("guess", 11 * CENT)]
    assert verify(filled) == []


def test_what_is_booked_is_in_totals_and_exports(filled: str) -> None:
    """Totals show corrections apart; the rows of an export sum to what the provider bills."""
    book(filled, ask(costs(80)))
    found = totals(filled)
    assert (found["corrected"], found["corrections"]) == ("-0.25", 4)
    assert totals(filled, team="t")["corrected"] == "-0.25"
    assert totals(filled, team="other")["corrected"] == "0"
    rows = exported(filled)
    assert sum(nano(row["amount_usd"]) for row in rows) == 80 * CENT
    assert {row["state"] for row in rows} == {"reconciled"}
    focus = exported(filled, focus=True)
    assert sum(nano(row["BilledCost"]) for row in focus) == 80 * CENT
    classes = [row["ChargeClass"] for row in focus]
    assert (classes.count("Correction"), classes.count("")) == (4, 5)
    assert overall(filled, Scope()).cost_nano == 105 * CENT


def test_what_nobody_made_is_unallocated(filled: str) -> None:
    """An account's day without any request of ours is booked to nobody, visibly."""
    book(filled, ask(costs(300, date(2026, 11, 20))))
    (row,) = booked(filled, Scope())
    assert (row.team, row.reason, row.day, row.amount_nano) == (
        None, "missing_ours", "2026-11-20", 300 * CENT,
    )  # fmt: skip
    assert totals(filled, team="t")["corrections"] == 0


def test_agreement_is_recorded_too(filled: str) -> None:
    """A day that agrees is reconciled without a correction."""
    book(filled, ask(costs(105)))
    assert booked(filled, Scope()) == []
    assert list(reconciled(filled)) == [("openai", DAY)]


def test_another_account_is_another_day(filled: str) -> None:
    """An export is held against its own account's requests only."""
    (found,) = reconcile(filled, ask(costs(10), account="backup"))
    assert (found.ours.requests, [reason.code for reason in found.reasons]) == (0, ["missing_ours"])


def test_into_a_closed_month_nothing_is_booked(filled: str) -> None:
    """A correction of a closed month counts in the open one, with a note."""
    close(filled, "2026-11", NOW)
    book(filled, ask(costs(80)))
    rows = booked(filled, Scope())
    assert {row.note for row in rows} == {"late: 2026-11 is closed"}
    december = Scope(start=datetime(2026, 12, 1, tzinfo=UTC))
    assert booked(filled, december) == rows
    assert verify(filled) == []


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        (
            "UPDATE corrections SET amount_nano = amount_nano - 1 WHERE seq = 1",
            "corrections sum to",
        ),
        ("DELETE FROM corrections WHERE seq = 2", "corrections sum to"),
        ("DELETE FROM reconciliations", "belongs to no reconciliation"),
        ("UPDATE reconciliations SET theirs_nano = 1", "its corrections sum to"),
    ],
)
def test_a_forged_correction_shows(filled: str, tmp_path: Path, sql: str, words: str) -> None:
    """verify names a reconciliation that was touched behind the ledger's back."""
    book(filled, ask(costs(80)))
    connection = sqlite3.connect(tmp_path / "weir.db")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(sql)
    for table in ("corrections", "reconciliations"):
        connection.execute(f"DROP TRIGGER {table}_no_update")
        connection.execute(f"DROP TRIGGER {table}_no_delete")
    connection.execute(sql)
    connection.commit()
    connection.close()
    assert any(words in problem for problem in verify(filled))


def test_gateway_calls_are_not_the_providers(money: Any, url: str, open_ledger: Any) -> None:
    """What the gateway's own calls cost is no part of what the account is compared with."""
    ledger = open_ledger(money.accounts())
    lines = (
        Line("a", "input", 700, "0.001", 700, "b", "r"),
        Line("g", "gateway:input", 40, "0.001", 40, "b", "r"),
    )
    own = money.receipt("r", 740, gateway_cost_nano=40, lines=lines)
    ledger.settle(ledger.hold(money.request("r", 10**6)), own)
    ledger.flush()
    (found,) = reconcile(url, ask("day,cost_usd\n2026-11-22,0.0000007\n"))
    assert found.delta_nano == 0

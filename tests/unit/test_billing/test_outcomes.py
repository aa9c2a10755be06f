"""Outcomes: what a client may say of a task, and what is kept of it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from billing.outcome_rows import history, newest, post
from billing.outcomes import Outcome, OutcomeInvalid, outcome_of


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], ""),
        ({}, "task"),
        ({"task": "", "outcome": "accepted"}, "task"),
        ({"task": "x" * 257, "outcome": "accepted"}, "task"),
        ({"task": "a\x00b", "outcome": "accepted"}, "task"),
        ({"task": "\ud800", "outcome": "accepted"}, "task"),
        ({"task": 7, "outcome": "accepted"}, "task"),
        ({"task": "t", "outcome": "fine"}, "outcome"),
        ({"task": "t"}, "outcome"),
        ({"task": "t", "outcome": ["accepted"]}, "outcome"),
        ({"task": "t", "outcome": "accepted", "value": "much"}, "value"),
        ({"task": "t", "outcome": "accepted", "value": True}, "value"),
        ({"task": "t", "outcome": "accepted", "value": "NaN"}, "value"),
        ({"task": "t", "outcome": "accepted", "value": "1e400"}, "value"),
        ({"task": "t", "outcome": "accepted", "team": "other"}, "team"),
    ],
)
def test_what_says_nothing_is_refused(body: object, field: str) -> None:
    """A body that is not {task, outcome, value?} is refused, naming its field."""
    with pytest.raises(OutcomeInvalid) as caught:
        outcome_of(body, "t", "k", 1)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("value", "text"), [(3, "3"), ("0.10", "0.10"), (1.5, "1.5"), (None, None)]
)
def test_a_value_is_kept_as_written(value: object, text: str | None) -> None:
    """A value is decimal text, no digit lost, and none is fine."""
    body = {"task": "t", "outcome": "rejected", "value": value}
    assert outcome_of(body, "t", "k", 1) == Outcome("t", "t", "rejected", text, "k", 1)


@pytest.mark.usefixtures("made")
def test_the_last_outcome_holds(url: str) -> None:
    """Every outcome is kept; the last of a task holds, and teams do not see one another."""
    said = [
        Outcome("a", "one", "accepted", "5", "k", 1),
        Outcome("a", "two", "accepted", None, "k", 2),
        Outcome("b", "one", "accepted", None, "k", 3),
        Outcome("a", "one", "rejected", None, "k", 4),
    ]
    for outcome in said:
        post(url, outcome)
    assert history(url, "a", "one") == [said[3], said[0]]
    assert newest(url, "a") == [said[3], said[1]]
    assert newest(url, "a", limit=1) == [said[3]]
    assert (history(url, "b", "two"), history(url, "c", "one")) == ([], [])


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    "sql", ["UPDATE outcomes SET outcome = 'accepted'", "DELETE FROM outcomes"]
)
def test_an_outcome_cannot_be_changed(url: str, tmp_path: Path, sql: str) -> None:
    """The database itself refuses to rewrite an outcome."""
    post(url, Outcome("a", "one", "rejected", None, "k", 1))
    connection = sqlite3.connect(tmp_path / "weir.db")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(sql)
    connection.close()


def test_outcomes_are_posted_beside_a_running_ledger(
    url: str, money: Any, open_ledger: Any
) -> None:
    """A ledger that is open and writing neither blocks an outcome nor is blocked by it."""
    ledger = open_ledger(money.accounts())
    for number in range(20):
        hold = ledger.hold(money.request(f"r{number}", 900))
        ledger.settle(hold, money.receipt(f"r{number}", 100))
        post(url, Outcome("t", f"task {number}", "accepted", None, "k", number))
    ledger.flush()
    assert len(newest(url, "t")) == 20
    assert len(ledger.receipts("t")) == 20

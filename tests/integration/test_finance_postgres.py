"""Finance on PostgreSQL: outcomes, savings, reconciliation and closing as on SQLite."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime

import psycopg
import pytest
from engines import postgresql
from sharing import receipt

from billing.booking import Question, book, booked, reconcile
from billing.closing import close
from billing.exports import write_csv
from billing.money import nano
from billing.outcome_rows import history, post
from billing.outcomes import Outcome
from billing.postgres import PostgresStore
from billing.provider_exports import read_export
from billing.receipt import Receipt, to_fields
from billing.reports import Scope, outcomes, overall, totals
from billing.savings_report import report
from billing.store_rows import Group
from billing.verify import verify

OCT_21 = 1_792_584_000_000
NOW = datetime(2026, 11, 5, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def fresh(postgres_server: str) -> Iterator[str]:
    """An empty database."""
    with postgresql(postgres_server) as url:
        yield url


def write(url: str, *receipts: Receipt) -> None:
    """The receipts are posted as of October 21st."""
    store = PostgresStore(url)
    group = Group()
    for one in receipts:
        group.post(one, OCT_21, 0, to_fields(one)[1])
    store.write(group)
    store.close()


def made(name: str, cost: int, **fields: object) -> Receipt:
    plain = {
        "task": name,
        "session_key": name,
        "baseline_nano": 3 * cost,
        "saved_trim_nano": 2 * cost,
        "saved_model_nano": 0,
        "saved_cache_nano": 0,
        "saved_retries_nano": 0,
    }
    return replace(receipt(name, cost, OCT_21), **{**plain, **fields})


def test_finance_asks_the_same_questions(fresh: str) -> None:
    """A month is reported, reconciled and closed; what is late lands in the next."""
    write(fresh, made("r0", 300), made("r1", 100, usage_source="estimated"))
    for said in ("rejected", "accepted"):
        post(fresh, Outcome("t", "r0", said, "1.50", "k", OCT_21))
    assert [one.outcome for one in history(fresh, "t", "r0")] == ["accepted", "rejected"]
    assert [(row.arm, row.accepted, row.cost_nano) for row in outcomes(fresh, Scope())] == [
        ("routed", 1, 300)
    ]
    found = report(fresh, Scope())
    assert (found.savings.saved_nano, found.causes.split.trim_nano) == (800, 800)

    export = read_export(b"day,account,cost_usd\n2026-10-21,u,0.000000350\n")
    question = Question(export, ("u",), 0, NOW)
    (delta,) = reconcile(fresh, question)
    assert (delta.day, delta.delta_nano) == (date(2026, 10, 21), -50)
    for _ in range(2):
        book(fresh, question)
    assert [row.amount_nano for row in booked(fresh, Scope())] == [-100, 50]
    assert totals(fresh)["corrected"] == "-0.00000005"

    closing = close(fresh, "2026-10", NOW).closing
    assert (closing.requests, closing.cost_nano, closing.corrected_nano) == (2, 400, -50)
    assert close(fresh, "2026-10", NOW).already
    write(fresh, made("late", 70))
    assert overall(fresh, Scope(end=NOVEMBER)).cost_nano == 400
    assert overall(fresh, Scope(start=NOVEMBER)).cost_nano == 70
    out = io.StringIO()
    write_csv(fresh, Scope(end=NOVEMBER), out)
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert sum(nano(row["amount_usd"]) for row in rows) == closing.total_nano == 350
    assert verify(fresh) == []


def test_the_database_keeps_finance_as_it_was(fresh: str) -> None:
    """PostgreSQL itself refuses to change what was said, or to post into a closed month."""
    write(fresh, made("r0", 300))
    post(fresh, Outcome("t", "r0", "accepted", None, "k", OCT_21))
    close(fresh, "2026-10", NOW)
    with psycopg.connect(fresh, autocommit=True) as connection:
        for change in (b"DELETE FROM outcomes", b"UPDATE closings SET cost_nano = 0"):
            with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
                connection.execute(change)
        statement = (
            "INSERT INTO corrections (reconciliation, posted_ms, at_ms, account, day, kind, "
            "amount_nano, reason) VALUES (1, 5, 5, 'u', '2026-10-21', 'correction', 1, 'x')"
        )
        with pytest.raises(psycopg.errors.RaiseException, match="month is closed"):
            connection.execute(statement.encode())

"""The ledger on PostgreSQL: the same tables, one chain for all writers, takeover of the dead."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest
import sqlalchemy as sa
from engines import postgresql
from sharing import PATH, accounts, now_ms, receipt, request
from sqlmodel import SQLModel

from billing import finance_tables, tables
from billing.browse import listing, watermark, windows
from billing.errors import LedgerUnavailable
from billing.journal import Position
from billing.postgres import PostgresStore
from billing.receipt import to_fields
from billing.reports import GROUPS, Scope, daily, grouped, head, overall, totals, verify
from billing.schema import REVISION, engine_url, upgrade_postgresql
from billing.shared_ledger import SharedLedger, open_shares
from billing.shared_sql import PostgresSession, SqlShares
from billing.store_rows import Group, OpenHold

pytestmark = pytest.mark.slow

USD = 1_000_000_000
QUARTER_HOUR_MS = 900_000


@pytest.fixture
def fresh(postgres_server: str) -> Iterator[str]:
    """An empty database."""
    with postgresql(postgres_server) as url:
        yield url


def test_the_schema_is_the_models(fresh: str) -> None:
    """Every column of every model exists with its nullability, key and indexes, as on SQLite."""
    assert finance_tables is not tables
    upgrade_postgresql(fresh)
    upgrade_postgresql(fresh)
    engine = sa.create_engine(engine_url(fresh))
    found = sa.inspect(engine)
    for table in SQLModel.metadata.sorted_tables:
        keys = set(found.get_pk_constraint(table.name)["constrained_columns"])
        columns = {
            c["name"]: (c["nullable"], c["name"] in keys) for c in found.get_columns(table.name)
        }
        assert columns == {c.name: (c.nullable, c.primary_key) for c in table.columns}, table.name
        made = {index["name"] for index in found.get_indexes(table.name)}
        assert made == {index.name for index in table.indexes}, table.name
    engine.dispose()


def test_rows_cannot_be_changed(fresh: str) -> None:
    """The database itself refuses to update or delete what was posted."""
    store = PostgresStore(fresh)
    store.write(group_of("r1"))
    store.close()
    with psycopg.connect(fresh, autocommit=True) as connection:
        for table in ("receipts", "lines", "attempts"):
            for verb, rest in (("DELETE FROM", ""), ("UPDATE", "SET posted_ms = 1")):
                statement = f"{verb} {table} {rest}"
                with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
                    connection.execute(statement.encode())


def group_of(*names: str) -> Group:
    """Postings of these requests."""
    group = Group(position=Position(1, len(names)))
    for name in names:
        made = receipt(name, 100, now_ms())
        group.post(made, made.at_ms, 500, to_fields(made)[1])
    return group


def test_a_group_twice_is_a_group_once(fresh: str) -> None:
    """Posting again, also under another writer's name, adds no row and breaks no chain."""
    one, two = PostgresStore(fresh, writer="w-1"), PostgresStore(fresh, writer="w-2")
    group = group_of("r1", "r2")
    group.hold(OpenHold("h1", 1, 2, "t", b"x"))
    one.write(group)
    one.write(group)
    two.write(group_of("r2", "r3"))
    assert one.position() == Position(1, 2)
    assert [held.request_id for held in one.holds()] == ["h1"]
    assert two.holds() == []
    one.forget()
    assert one.position() == Position(0, 0)
    one.close()
    two.close()
    assert totals(fresh)["requests"] == 3
    assert head(fresh)[0] == 3
    assert verify(fresh) == []


def test_writers_at_once_make_one_chain(fresh: str) -> None:
    """Four writers posting at the same time leave one unbroken chain and every row."""
    stores = [PostgresStore(fresh, writer=f"w-{n}") for n in range(4)]

    def work(number: int) -> None:
        for turn in range(10):
            names = [f"{number}-{turn}-{n}" for n in range(20)]
            stores[number].write(group_of(*names))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.close()
    assert head(fresh)[0] == 800
    assert verify(fresh) == []


def test_text_that_postgresql_cannot_hold_is_still_billed(fresh: str, tmp_path: Path) -> None:
    """A NUL or half a surrogate pair from a client never stops a settlement."""
    ledger = SharedLedger(fresh, accounts("9 per user per day"), now_ms, folder=tmp_path).open()
    asked = request("r1", 20, now_ms())
    odd = replace(asked, user="a\0b\ud800")
    hold = ledger.hold(odd)
    made = receipt("r1", 5, now_ms())
    fields = {name: getattr(made, name) for name in made.__slots__}
    ledger.settle(hold, type(made)(**{**fields, "user": "a\0b\ud800", "task": "\0"}))
    ledger.flush()
    found = ledger.receipt("r1")
    assert found is not None
    assert found.cost_nano == 5
    ledger.close()


def test_reports_are_the_same_questions(fresh: str, tmp_path: Path) -> None:
    """Totals, groups, days, windows and lists of a ledger on PostgreSQL add up."""
    tree = accounts("9 per day", "9 per rolling 2h")
    ledger = SharedLedger(fresh, tree, now_ms, folder=tmp_path).open()
    for number in range(30):
        name = f"r{number}"
        hold = ledger.hold(request(name, 1000, now_ms()))
        ledger.settle(hold, receipt(name, 10 + number, now_ms()))
    ledger.flush()
    cost = sum(10 + number for number in range(30))
    for by in GROUPS:
        assert sum(row.cost_nano for row in grouped(fresh, by, Scope())) == cost, by
    assert overall(fresh, Scope(team="t")).requests == 30
    assert sum(row.cost_nano for _, row in daily(fresh, ZoneInfo("Asia/Kolkata"), Scope())) == cost
    assert len(listing(fresh, Scope(), "r2")) == 11
    assert watermark(fresh) == 30
    now = datetime.now(UTC)  # noqa: TID251 - the window shown is the one of this moment
    assert {w.budget: w.spent_nano for w in windows(fresh, tree, now)} == {
        "t/day": cost,
        "t/rolling-2h": cost,
    }
    ledger.close()


def test_a_machine_that_is_gone_is_taken_over(fresh: str, tmp_path: Path) -> None:
    """Fifteen minutes after its last sign another machine charges its holds; back, it adds
    only what was not posted."""
    shift = [0]

    def later() -> int:
        return now_ms() + shift[0]

    tree = accounts("10 per month")
    lost = SharedLedger(fresh, tree, now_ms, folder=tmp_path / "lost").open()
    lost.settle(lost.hold(request("done", USD, now_ms())), receipt("done", USD // 2, now_ms()))
    late = lost.hold(request("open", USD, now_ms()))
    lost.flush()
    time.sleep(0.5)  # it has said what it spent
    lost._stop.set()
    lost._ticker.join()
    other = SharedLedger(fresh, tree, later, folder=tmp_path / "other").open()
    assert other.receipt("open") is None
    other._bury_dead()
    (before,) = other.budgets(PATH, None)
    assert (before.spent_nano, before.held_nano) == (USD // 2, USD)
    shift[0] = QUARTER_HOUR_MS + 60_000
    other._bury_dead()
    (after,) = other.budgets(PATH, None)
    assert (after.spent_nano, after.held_nano) == (USD // 2 + USD, 0)
    lost.settle(late, receipt("open", 7, now_ms()))  # it lives after all: its bill came twice
    lost.close()
    found = other.receipt("open")
    assert found is not None
    assert (found.state, found.cost_nano) == ("orphan", USD)
    assert totals(fresh)["requests"] == 1
    other.close()
    assert verify(fresh) == []


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """A ledger that cannot be reached is said to be so, without its password."""
    url = "postgresql://weir:secret@127.0.0.1:1/weir"
    with pytest.raises(LedgerUnavailable) as caught:
        SharedLedger(url, accounts(), now_ms, folder=tmp_path).open()
    assert "secret" not in str(caught.value)
    assert "weir:***@127.0.0.1:1" in str(caught.value)


def test_a_newer_schema_is_refused(fresh: str, tmp_path: Path) -> None:
    """A database of a later version is left alone."""
    upgrade_postgresql(fresh)
    with psycopg.connect(fresh, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerUnavailable, match=f"newer than this version's {REVISION}"):
        SharedLedger(fresh, accounts(), now_ms, folder=tmp_path).open()


def test_a_machine_that_is_gone_in_the_middle_of_a_claim_keeps_nobody_waiting(
    fresh: str, tmp_path: Path
) -> None:
    """A transaction that nobody ends is undone after five seconds, and its locks are free."""
    sessions = []
    for _ in range(2):
        shares = open_shares(fresh, tmp_path / "weir", None)
        assert isinstance(shares, SqlShares)
        assert isinstance(shares._session, PostgresSession)
        sessions.append(shares._session)
    gone, other = sessions
    inside = threading.Event()

    def freeze() -> None:
        first = not inside.is_set()
        inside.set()
        time.sleep(9 if first else 0)

    def claim() -> None:
        with contextlib.suppress(LedgerUnavailable):
            gone.locked(["x"], lambda run: freeze())

    thread = threading.Thread(target=claim)
    thread.start()
    assert inside.wait(10)
    began = time.monotonic()
    while True:
        try:
            other.locked(["x"], lambda run: run("SELECT 1"))
            break
        except LedgerUnavailable:  # each try waits for the lock for a while
            assert time.monotonic() < began + 8, "the lock of a machine that is gone is still held"
    thread.join()
    gone.close()
    other.close()

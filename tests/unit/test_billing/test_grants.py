"""Grants: appended, time-boxed, on one node; limits are never edited."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from billing.desk import Desk
from billing.errors import BudgetExhausted, LedgerUnavailable
from billing.grants import Grant, append_grant, approved, granted, grants_until
from billing.ledger import Ledger

NOON = 1_795_348_800_000
HOUR = 3_600_000


def grant(node: str = "t", budget: str = "*", amount: int = 500, name: str = "g") -> Grant:
    return Grant(name, node, budget, amount, NOON, NOON + HOUR, "ana", "launch")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(f"sqlite:///{tmp_path}/weir.db")


def test_a_grant_is_read_back_until_it_ends(desk: Desk) -> None:
    """Before its end it is listed, at its end it is gone."""
    append_grant(desk, grant())
    assert grants_until(desk, NOON) == (grant(),)
    assert grants_until(desk, NOON + HOUR - 1) == (grant(),)
    assert grants_until(desk, NOON + HOUR) == ()
    desk.close()


def test_a_grant_cannot_be_changed_or_taken_back(desk: Desk) -> None:
    """The database itself refuses: the record of who allowed what stays."""
    append_grant(desk, grant())
    for statement in ("UPDATE grants SET amount_nano = 1", "DELETE FROM grants"):
        with pytest.raises(LedgerUnavailable, match="append-only"):
            desk.change(statement)
    with pytest.raises(LedgerUnavailable):
        append_grant(desk, grant())
    desk.close()


def test_limits_are_higher_while_it_runs(money) -> None:  # type: ignore[no-untyped-def]  # conftest's
    """All budgets of the node, or the one named; other nodes and the request ceiling stay."""
    accounts = money.budgeted("1 per day", "5 per month", "2 per request")
    raised = granted(accounts, [grant(), grant(amount=7, name="h")])
    assert [b.limit_nano - o.limit_nano for b, o in _pairs(raised, accounts)] == [507, 507, 0]
    one = granted(accounts, [grant(budget="month")])
    assert [b.limit_nano - o.limit_nano for b, o in _pairs(one, accounts)] == [0, 500, 0]
    assert granted(accounts, []) is accounts
    assert granted(accounts, [grant(node="nobody")]).nodes == accounts.nodes
    assert raised.config is accounts.config


def _pairs(raised, accounts):  # type: ignore[no-untyped-def]  # two trees
    return zip(raised.nodes["t"].budgets, accounts.nodes["t"].budgets, strict=True)


def test_an_approval_is_for_every_key_below_its_node() -> None:
    """A grant for a team covers its keys, one for a sibling does not."""
    path = ("organisation", "t", "t/p", "t/p/k")
    assert approved([grant()], path)
    assert not approved([grant(node="t/q")], path)
    assert not approved([], path)


def test_the_ledger_takes_more_with_a_grant_and_no_more_without(money, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]  # conftest's
    """What did not fit fits while it runs; afterwards nothing new does, and spend is as it was."""
    accounts = money.budgeted("0.000001 per day")
    with_clock = Ledger(f"sqlite:///{tmp_path}/weir.db", accounts, lambda: NOON).open()
    try:
        with_clock.hold(money.request("a", 1000))
        with pytest.raises(BudgetExhausted):
            with_clock.hold(money.request("b", 400))
        with_clock.use(granted(accounts, [grant()]))
        with_clock.hold(money.request("b", 400))
        with pytest.raises(BudgetExhausted, match=r"0\.0000015 USD"):
            with_clock.hold(money.request("c", 101))
        with_clock.use(accounts)
        with pytest.raises(BudgetExhausted):
            with_clock.hold(money.request("c", 1))
        assert with_clock.open_holds() == (2, 1400)
    finally:
        with_clock.close()


def test_a_database_that_is_none_is_said(tmp_path: Path) -> None:
    """A broken file is LedgerUnavailable, not a traceback of the driver."""
    (tmp_path / "weir.db").write_bytes(b"no database, but long enough to be one" * 100)
    with pytest.raises((LedgerUnavailable, sqlite3.DatabaseError)):
        grants_until(Desk(f"sqlite:///{tmp_path}/weir.db"), NOON)


def test_a_grant_runs_up_to_its_end() -> None:
    """From its first instant to the one before its last."""
    one = grant()
    instants = (one.from_ms - 1, one.from_ms, one.until_ms - 1, one.until_ms)
    assert [one.runs(at) for at in instants] == [False, True, True, False]

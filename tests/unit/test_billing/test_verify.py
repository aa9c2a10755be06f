"""verify: a ledger that was touched says where."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from billing.chain import START, link
from billing.verify import head, verify

Forge = Callable[[str], None]


@pytest.fixture
def filled(money: Any, url: str, open_ledger: Any) -> str:
    """Five receipts, written out in two sittings."""
    for first in (0, 3):
        ledger = open_ledger(money.accounts())
        for number in range(first, min(first + 3, 5)):
            hold = ledger.hold(money.request(f"r{number}", 900))
            ledger.settle(hold, money.receipt(f"r{number}", 100 + number))
        ledger.close()
    return url


@pytest.fixture
def forge(tmp_path: Path, filled: str) -> Forge:
    """Runs a statement behind the ledger's back, triggers taken away."""
    assert filled

    def run(sql: str) -> None:
        connection = sqlite3.connect(tmp_path / "weir.db")
        for table in ("lines", "receipts", "attempts"):
            for verb in ("update", "delete"):
                connection.execute(f"DROP TRIGGER IF EXISTS {table}_no_{verb}")
        connection.execute(sql)
        connection.commit()
        connection.close()

    return run


def test_the_head_names_all_before_it(filled: str, money: Any, open_ledger: Any) -> None:
    """The chain goes on over restarts; each posting gives another end."""
    count, digest = head(filled)
    assert (count, len(digest)) == (5, 64)
    assert verify(filled) == []
    ledger = open_ledger(money.accounts())
    ledger.settle(ledger.hold(money.request("r9", 900)), money.receipt("r9"))
    ledger.flush()
    assert head(filled)[0] == 6
    assert head(filled)[1] != digest
    assert verify(filled) == []


@pytest.mark.usefixtures("made")
def test_an_empty_ledger_has_a_head(url: str) -> None:
    """Before the first posting the end of the chain is its start."""
    assert head(url) == (0, START.hex())


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("UPDATE lines SET amount_nano = 101 WHERE request_id = 'r0'", "are not 0.000000101"),
        ("UPDATE receipts SET cost_nano = 99 WHERE request_id = 'r1'", "its column cost_nano"),
        ("UPDATE receipts SET team = 'x' WHERE request_id = 'r1'", "its column team"),
        ("UPDATE receipts SET hold_nano = 1 WHERE request_id = 'r2'", "breaks at receipt r2"),
        (
            "UPDATE receipts SET body = CAST(body || ' ' AS BLOB) WHERE request_id = 'r2'",
            "breaks at receipt r2",
        ),
        ("DELETE FROM receipts WHERE request_id = 'r3'", "lacks 1 receipt(s) before r4"),
        ("DELETE FROM lines WHERE request_id = 'r3'", "receipt r3: lines sum to 0"),
        ("UPDATE lines SET request_id = 'ghost' WHERE request_id = 'r3'", "request ghost"),
        ("UPDATE attempts SET request_id = 'ghost' WHERE request_id = 'r3'", "request ghost"),
    ],
)
def test_whatever_is_forged_is_told(filled: str, forge: Forge, sql: str, told: str) -> None:
    """A changed amount, owner, hold or body, a row taken out or moved: each is named."""
    forge(sql)
    assert told in "\n".join(verify(filled))


def test_a_link_is_of_all_that_it_covers() -> None:
    """Another predecessor, instant, hold or body is another hash."""
    links = [
        link(START, 1, 23, b"x"),
        link(b"\0" * 32, 1, 23, b"x"),
        link(START, 12, 3, b"x"),
        link(START, 1, 2, b"3:x"),
        link(START, 1, 23, b"y"),
    ]
    assert len(set(links)) == 5

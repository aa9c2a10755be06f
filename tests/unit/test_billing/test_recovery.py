"""A killed process: what was acknowledged is there, what was not is not, nothing is double."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.errors import LedgerUnavailable
from billing.journal import Damage, Journal, Position, Record, frame, journal_path, read
from billing.ledger import Hold
from billing.receipt import to_fields
from billing.recovery import hold_body, recover, release_body, settle_body
from billing.reports import totals, verify
from billing.store import Store

HERE = Path(__file__).parent


def write_story(database: Path, money: Any, story: list[str]) -> list[int]:
    """A journal of requests, each held and then settled, released or left; sizes after each."""
    journal, sizes = Journal(database, 1), []
    for number, fate in enumerate(story):
        name = f"r{number}"
        journal.append(hold_body(money.request(name, 100), 100, money.noon))
        if fate == "settle":
            fields = to_fields(money.receipt(name, 7))[1]
            journal.append(settle_body(fields, money.noon, 100))
        elif fate == "release":
            journal.append(release_body(name, "refused"))
        sizes.append(journal.size)
    journal.close()
    return sizes


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(["settle", "release", "leave"]), max_size=8), st.data())
def test_a_torn_journal_gives_its_whole_records(
    money: Any, tmp_path_factory: pytest.TempPathFactory, story: list[str], data: st.DataObject
) -> None:
    """Cut at any byte, the journal yields every whole record once; open holds are charged."""
    folder = tmp_path_factory.mktemp("torn")
    database = folder / "weir.db"
    write_story(database, money, story)
    path = journal_path(database, 1)
    cut = data.draw(st.integers(0, path.stat().st_size))
    os.truncate(path, cut)
    records = [item.body for item in read(database, Position(0, 0)) if isinstance(item, Record)]
    settled = sum(record["k"] == "settle" for record in records)
    ended = sum(record["k"] != "hold" for record in records)
    held = sum(record["k"] == "hold" for record in records)
    store = Store(database)
    recover(database, store)
    store.close()
    found = totals(f"sqlite:///{database}")
    assert (found["requests"], found["provisional_requests"]) == (settled, held - ended)
    assert found["open_holds"] == 0
    assert verify(f"sqlite:///{database}") == []


def test_a_replay_is_the_same_twice(money: Any, tmp_path: Path) -> None:
    """A crash in the middle of a recovery doubles nothing: the same journal again adds nothing."""
    database = tmp_path / "weir.db"
    write_story(database, money, ["settle", "leave", "release", "settle"])
    saved = journal_path(database, 1).read_bytes()
    for _ in range(3):
        store = Store(database)
        recover(database, store)
        store.close()
        journal_path(database, 1).write_bytes(saved)
    found = totals(f"sqlite:///{database}")
    assert (found["requests"], found["provisional_requests"]) == (2, 1)


def test_damage_in_the_middle_is_kept_and_told(
    money: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A flipped bit costs one record, which is reported; the file is kept for a look."""
    database = tmp_path / "weir.db"
    sizes = write_story(database, money, ["settle", "settle", "settle"])
    path = journal_path(database, 1)
    raw = bytearray(path.read_bytes())
    raw[sizes[0] + 30] ^= 1
    path.write_bytes(raw)
    assert sum(isinstance(item, Damage) for item in read(database, Position(0, 0))) == 1
    store = Store(database)
    recover(database, store)
    store.close()
    assert "damaged at byte" in caplog.text
    assert [p.name for p in tmp_path.glob("*.damaged")] == ["weir.db.journal.1.damaged"]
    assert totals(f"sqlite:///{database}")["requests"] == 3


def test_a_record_of_a_newer_version_is_not_guessed(money: Any, tmp_path: Path) -> None:
    """An unknown kind of record stops the recovery instead of being dropped."""
    database = tmp_path / "weir.db"
    path = journal_path(database, 1)
    path.write_bytes(frame(b'{"k":"refund"}'))
    store = Store(database)
    with pytest.raises(LedgerUnavailable, match="newer version"):
        recover(database, store)
    store.close()
    assert path.exists()


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import importlib.util
spec = importlib.util.spec_from_file_location("factories", sys.argv[2] + "/conftest.py")
factories = importlib.util.module_from_spec(spec)
sys.modules["factories"] = factories
spec.loader.exec_module(factories)
from billing.ledger import Ledger
money, clock = factories.Money(), factories.Clock()
ledger = Ledger(sys.argv[1], money.budgeted("1000 per day"), clock, rotate_bytes=60_000).open()
out = sys.stdout
number = 0
while True:
    name = f"{sys.argv[3]}-{number}"
    hold = ledger.hold(money.request(name, 1000))
    out.write(f"h {name}\\n"); out.flush()
    if number % 7 != 3:
        ledger.settle(hold, money.receipt(name, 10 + number % 5))
        out.write(f"s {name}\\n"); out.flush()
    number += 1
"""


def run_and_kill(url: str, run: int, seconds: float) -> tuple[set[str], set[str]]:
    """A child that holds and settles until it is killed; what it had acknowledged by then."""
    arguments = [sys.executable, "-c", CHILD, url, str(HERE), f"run{run}"]
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=HERE.parents[2])
    assert child.stdout is not None
    lines = [child.stdout.readline()]
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    lines += child.stdout.read().splitlines()
    child.wait()
    child.stdout.close()
    whole = [line.split() for line in lines if len(line.split()) == 2]
    return {name for kind, name in whole if kind == "h"}, {n for k, n in whole if k == "s"}


def check_kills(url: str, open_ledger: Any, money: Any, kills: int) -> None:
    held: set[str] = set()
    settled: set[str] = set()
    for run in range(kills):
        more_held, more_settled = run_and_kill(url, run, 0.05 + 0.03 * run)
        held |= more_held
        settled |= more_settled
    ledger = open_ledger(money.budgeted("1000 per day"))
    found = {r.request_id: r for r in ledger.receipts("t", limit=1_000_000)}
    lost = [name for name in settled if found[name].state != "settled"]
    assert lost == []
    assert held <= found.keys()
    unacknowledged = found.keys() - held
    assert len(unacknowledged) <= kills
    (window,) = ledger.budgets(money.path, None)
    assert window.spent_nano == sum(receipt.cost_nano for receipt in found.values())
    assert window.held_nano == 0
    ledger.close()
    assert verify(url) == []


def test_kill_9_loses_and_doubles_nothing(url: str, open_ledger: Any, money: Any) -> None:
    """After kill -9 every acknowledged hold has its row, every settlement its receipt, once."""
    check_kills(url, open_ledger, money, kills=1)


@pytest.mark.slow
def test_kill_9_ten_times(url: str, open_ledger: Any, money: Any) -> None:
    """The same holds over ten kills at other instants, on one database."""
    check_kills(url, open_ledger, money, kills=10)


def test_reports_catch_up_with_a_dead_process(url: str, money: Any) -> None:
    """Totals after a kill -9 count what was in the journal, without a server being started."""
    held, settled = run_and_kill(url, 0, 0.1)
    found = totals(url)
    assert int(found["requests"]) >= len(settled)
    assert int(found["requests"]) + int(found["provisional_requests"]) >= len(held)


def test_an_unknown_hold_is_a_plain_no(money: Any, open_ledger: Any) -> None:
    """Releasing what was never held changes nothing."""
    ledger = open_ledger(money.accounts())
    assert ledger.release(Hold("nothing", 5, money.noon), "why") is False

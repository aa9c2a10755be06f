"""The ledger: nothing over a limit, nothing twice, nothing lost."""

from __future__ import annotations

import random
import resource
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from billing.errors import BudgetExhausted, LedgerUnavailable, ReceiptInvalid
from billing.ledger import Hold, Ledger
from billing.reports import totals, verify

USD = 1_000_000_000


def figures(ledger: Ledger, money: Any, user: str | None = None) -> dict[str, tuple[int, int]]:
    return {f.budget: (f.spent_nano, f.held_nano) for f in ledger.budgets(money.path, user)}


def test_hold_and_settle(money: Any, open_ledger: Any) -> None:
    """A hold reserves; its settlement frees it and adds what was really spent."""
    ledger = open_ledger(money.budgeted("10 per day"))
    hold = ledger.hold(money.request("r1", 4 * USD))
    assert figures(ledger, money) == {"t/day": (0, 4 * USD)}
    assert ledger.open_holds() == (1, 4 * USD)
    assert ledger.settle(hold, money.receipt("r1", 1500)) is True
    assert figures(ledger, money) == {"t/day": (1500, 0)}
    assert ledger.open_holds() == (0, 0)


def test_settling_twice_posts_once(money: Any, open_ledger: Any) -> None:
    """A second settlement, release or late copy of the same request changes nothing."""
    ledger = open_ledger(money.budgeted("10 per day"))
    hold = ledger.hold(money.request("r1", 5000))
    receipt = money.receipt("r1", 1500)
    assert ledger.settle(hold, receipt) is True
    assert ledger.settle(hold, receipt) is False
    ledger.flush()
    assert ledger.settle(hold, receipt) is False
    assert ledger.release(hold, "late") is False
    assert figures(ledger, money) == {"t/day": (1500, 0)}
    assert len(ledger.receipts("t")) == 1


def test_release_frees_everything(money: Any, open_ledger: Any) -> None:
    """A request that was not made leaves no spend and no hold."""
    ledger = open_ledger(money.budgeted("10 per day", "20 per month"))
    hold = ledger.hold(money.request("r1", 5000))
    assert ledger.release(hold, "refused") is True
    assert figures(ledger, money) == {"t/day": (0, 0), "t/month": (0, 0)}
    assert ledger.receipts("t") == []


def test_a_bill_that_comes_after_the_release_counts(money: Any, open_ledger: Any) -> None:
    """What a provider billed is posted even where its hold is gone."""
    ledger = open_ledger(money.budgeted("10 per day"))
    hold = ledger.hold(money.request("r1", 5000))
    ledger.release(hold, "timed out")
    assert ledger.settle(hold, money.receipt("r1", 700)) is True
    assert figures(ledger, money) == {"t/day": (700, 0)}


def test_the_tightest_window_is_named(money: Any, open_ledger: Any) -> None:
    """A hold that does not fit names the window with the least left, and changes nothing."""
    accounts = money.budgeted("10 per day", "6 per month", timezone="Europe/Berlin")
    ledger = open_ledger(accounts)
    ledger.settle(ledger.hold(money.request("r1", 5 * USD)), money.receipt("r1", 5 * USD))
    with pytest.raises(BudgetExhausted) as caught:
        ledger.hold(money.request("r2", 6 * USD))
    found = caught.value.figures
    assert (found.budget, found.spent_nano, found.limit_nano) == ("t/month", 5 * USD, 6 * USD)
    assert found.resets_at == "2026-12-01T00:00+01:00"
    assert "t/month" in str(caught.value)
    assert ledger.open_holds() == (0, 0)
    tightest = ledger.tightest(money.path, None)
    assert tightest is not None
    assert tightest.header() == "t/month 83.3% of 6.00 USD; resets 2026-12-01T00:00+01:00"
    assert tightest.state == "near"


def test_every_ancestor_counts(money: Any, open_ledger: Any) -> None:
    """Organisation, team, project and key all hold the same request; the tightest wins."""
    project = {"budget": "3 per day", "keys": ["k"]}
    accounts = money.accounts(
        budget="9 per day",
        teams={"t": {"budget": "8 per day", "projects": {"p": project}}},
        keys={"k": {"hash": "sha256:" + "a" * 64, "budget": "2 per day"}},
    )
    ledger = open_ledger(accounts)
    ledger.hold(money.request("r1", 2 * USD))
    held = {name: held for name, (_, held) in figures(ledger, money).items()}
    assert held == dict.fromkeys(["organisation/day", "t/day", "t/p/day", "t/p/k/day"], 2 * USD)
    with pytest.raises(BudgetExhausted, match="t/p/k/day"):
        ledger.hold(money.request("r2", 1))


def test_users_have_windows_of_their_own(money: Any, open_ledger: Any) -> None:
    """One user at the limit does not stop another."""
    ledger = open_ledger(money.budgeted("1 per user per day"))
    ledger.hold(money.request("r1", USD, user="ana"))
    with pytest.raises(BudgetExhausted, match="t/user/day"):
        ledger.hold(money.request("r2", 1, user="ana"))
    ledger.hold(money.request("r3", USD, user="ben"))
    assert figures(ledger, money, "cem") == {"t/user/day": (0, 0)}


@pytest.mark.parametrize("said", [{"budget": "2 per request"}, {"limits": {"max_request": 2.0}}])
def test_one_request_has_a_ceiling(money: Any, open_ledger: Any, said: dict[str, Any]) -> None:
    """A request above the ceiling is refused however much budget is left."""
    ledger = open_ledger(money.accounts(**said))
    hold = ledger.hold(money.request("r1", 2 * USD))
    with pytest.raises(BudgetExhausted, match="organisation/"):
        ledger.hold(money.request("r2", 2 * USD + 1))
    with pytest.raises(BudgetExhausted, match="organisation/"):
        ledger.extend(hold, 1)


def test_extending_a_hold(money: Any, open_ledger: Any) -> None:
    """A further attempt holds more; where that does not fit, the hold stays as it was."""
    ledger = open_ledger(money.budgeted("10 per day"))
    hold = ledger.hold(money.request("r1", 4 * USD))
    ledger.extend(hold, 5 * USD)
    assert figures(ledger, money) == {"t/day": (0, 9 * USD)}
    with pytest.raises(BudgetExhausted):
        ledger.extend(hold, 2 * USD)
    assert figures(ledger, money) == {"t/day": (0, 9 * USD)}
    ledger.settle(hold, money.receipt("r1", 10))
    assert figures(ledger, money) == {"t/day": (10, 0)}
    with pytest.raises(ValueError, match="no open hold"):
        ledger.extend(hold, 1)


def test_wrong_holds_are_refused(money: Any, open_ledger: Any) -> None:
    """A second hold of one request, a negative amount, another's receipt: ValueError."""
    ledger = open_ledger(money.accounts())
    hold = ledger.hold(money.request("r1", 5))
    for wrong in (money.request("r1", 5), money.request("r2", -1)):
        with pytest.raises(ValueError, match=r"already|negative"):
            ledger.hold(wrong)
    with pytest.raises(ValueError, match="negative"):
        ledger.extend(hold, -1)
    with pytest.raises(ValueError, match="differ"):
        ledger.settle(hold, money.receipt("r2"))


def test_a_receipt_that_does_not_add_up_is_not_posted(money: Any, open_ledger: Any) -> None:
    """The hold stays, so that nothing is free by mistake."""
    ledger = open_ledger(money.budgeted("10 per day"))
    hold = ledger.hold(money.request("r1", 5000))
    with pytest.raises(ReceiptInvalid, match="lines sum to 10 nano"):
        ledger.settle(hold, money.receipt("r1", 10, cost_nano=11))
    assert figures(ledger, money) == {"t/day": (0, 5000)}


def test_windows_roll_over(money: Any, clock: Any, open_ledger: Any) -> None:
    """At local midnight the day begins empty; a hold from before counts where it was made."""
    ledger = open_ledger(money.budgeted("10 per day", "50 per month", timezone="Asia/Kolkata"))
    hold = ledger.hold(money.request("r1", 9 * USD))
    clock.now += 8 * 3_600_000
    assert figures(ledger, money) == {"t/day": (0, 0), "t/month": (0, 9 * USD)}
    ledger.settle(hold, money.receipt("r1", 8 * USD))
    assert figures(ledger, money) == {"t/day": (0, 0), "t/month": (8 * USD, 0)}


def test_a_clock_that_steps_back_opens_no_closed_window(
    money: Any, clock: Any, open_ledger: Any
) -> None:
    """Spend before and after a backward step counts in the later window, once."""
    ledger = open_ledger(money.budgeted("10 per day"))
    clock.now += 86_400_000
    late = clock.now
    ledger.settle(ledger.hold(money.request("r1", USD, late)), money.receipt("r1", USD))
    clock.now -= 86_400_000
    hold = ledger.hold(money.request("r2", USD, clock.now))
    assert hold.at_ms == late
    assert figures(ledger, money) == {"t/day": (USD, USD)}


def test_a_rolling_window_forgets_as_it_goes(money: Any, clock: Any, open_ledger: Any) -> None:
    """Spend leaves a rolling window its length later, not at midnight."""
    ledger = open_ledger(money.budgeted("10 per rolling 5h"))
    ledger.settle(ledger.hold(money.request("r1", USD)), money.receipt("r1", USD))
    clock.now += 5 * 3_600_000 - 60_000
    assert figures(ledger, money) == {"t/rolling-5h": (USD, 0)}
    clock.now += 120_000
    assert figures(ledger, money) == {"t/rolling-5h": (0, 0)}


def test_counters_are_derived_from_rows(money: Any, clock: Any, open_ledger: Any) -> None:
    """After a restart every window says what it said before, rolling ones and users', too."""
    accounts = money.budgeted("90 per day", "90 per rolling 2h", "90 per user per month")
    ledger = open_ledger(accounts)
    for number in range(20):
        user = f"u{number % 3}"
        hold = ledger.hold(money.request(f"r{number}", 50, clock.now, user))
        ledger.settle(hold, money.receipt(f"r{number}", 7 + number, user=user))
        clock.now += 11 * 60_000
    before = [figures(ledger, money, f"u{n}") for n in range(3)]
    ledger.close()
    again = open_ledger(accounts)
    assert [figures(again, money, f"u{n}") for n in range(3)] == before


def test_new_accounts_change_limits_not_the_past(money: Any, open_ledger: Any) -> None:
    """After a reload spend and holds stand as before under the new limits."""
    ledger = open_ledger(money.budgeted("10 per day"))
    ledger.settle(ledger.hold(money.request("r1", USD)), money.receipt("r1", USD))
    hold = ledger.hold(money.request("r2", 2 * USD))
    ledger.use(money.budgeted("4 per day", "9 per month"))
    assert figures(ledger, money) == {"t/day": (USD, 2 * USD), "t/month": (USD, 2 * USD)}
    with pytest.raises(BudgetExhausted, match="t/day"):
        ledger.hold(money.request("r3", 2 * USD))
    ledger.settle(hold, money.receipt("r2", 5))
    assert figures(ledger, money) == {"t/day": (USD + 5, 0), "t/month": (USD + 5, 0)}


def test_receipts_are_seen_at_once(money: Any, open_ledger: Any) -> None:
    """A receipt can be read as soon as it is settled, by its own team, as it was given."""
    ledger = open_ledger(money.accounts())
    receipt = money.receipt("r1", 12)
    ledger.settle(ledger.hold(money.request("r1", 20)), receipt)
    assert ledger.receipt("r1", "t") == receipt
    ledger.flush()
    assert ledger.receipt("r1", "t") == receipt
    assert ledger.receipt("r1", "other") is None
    assert ledger.receipt("r2", "t") is None


def test_receipts_are_listed_newest_first(money: Any, open_ledger: Any) -> None:
    """By team, session and task, with a limit, stored or not."""
    ledger = open_ledger(money.accounts())
    for number in range(6):
        session, task = f"s{number % 2}", f"task{number % 3}"
        fields = {"at_ms": money.noon + number, "session": session, "task": task}
        hold = ledger.hold(money.request(f"r{number}", 20, money.noon + number))
        ledger.settle(hold, money.receipt(f"r{number}", 2, **fields))
        if number == 3:
            ledger.flush()
    ids = [found.request_id for found in ledger.receipts("t", limit=4)]
    assert ids == ["r5", "r4", "r3", "r2"]
    assert [f.request_id for f in ledger.receipts("t", session="s1")] == ["r5", "r3", "r1"]
    assert [f.request_id for f in ledger.receipts("t", task="task0")] == ["r3", "r0"]
    assert ledger.receipts("other") == []


def test_text_that_no_database_holds_is_still_billed(money: Any, open_ledger: Any) -> None:
    """Half a surrogate pair or a huge number from a client never stops a settlement."""
    ledger = open_ledger(money.budgeted("10 per day"))
    hold = ledger.hold(money.request("r1", 20, user="a\ud800"))
    odd = money.receipt("r1", 5, tags={"x": "\udfff"}, reasons=({"n": 10**30},), user="a\ud800")
    assert ledger.settle(hold, odd) is True
    ledger.flush()
    found = ledger.receipt("r1")
    assert found is not None
    assert found.cost_nano == 5
    assert found.reasons == ({"n": str(10**30)},)


def test_forgotten_holds_are_swept_in_full(money: Any, clock: Any, open_ledger: Any) -> None:
    """A hold long past its deadline is charged as provisional, never given back on a guess."""
    ledger = open_ledger(money.budgeted("10 per day"))
    old = ledger.hold(money.request("r1", 700))
    clock.now += 60_000
    ledger.hold(money.request("r2", 30, clock.now))
    assert ledger.sweep(30_000) == 1
    assert figures(ledger, money) == {"t/day": (700, 30)}
    found = ledger.receipt("r1")
    assert found is not None
    assert (found.state, found.cost_nano, found.usage_source) == ("provisional", 700, "estimated")
    assert ledger.settle(old, money.receipt("r1", 10)) is False


def test_holds_of_a_dead_process_are_charged(money: Any, open_ledger: Any) -> None:
    """What was open when the process ended is an orphan at its hold, extensions included."""
    accounts = money.budgeted("10 per day")
    ledger = open_ledger(accounts)
    hold = ledger.hold(money.request("r1", 700))
    ledger.extend(hold, 55)
    ledger.close()
    again = open_ledger(accounts)
    found = again.receipt("r1", "t")
    assert found is not None
    assert (found.state, found.cost_nano, found.key, found.project) == ("orphan", 755, "k", "p")
    assert figures(again, money) == {"t/day": (755, 0)}


def test_an_orphan_says_whose_it_was(money: Any, open_ledger: Any) -> None:
    """Session, task, arm and what was asked for survive the process, and so does where it went."""
    accounts = money.budgeted("10 per day")
    ledger = open_ledger(accounts)
    wanted = replace(
        money.request("r1", 700),
        session="s1",
        session_key="k:s1",
        task="t1",
        arm="holdout",
        requested_model="gpt-6.1-sol",
        tags={"env": "prod"},
    )
    hold = ledger.hold(wanted)
    ledger.extend(hold, 0, ("gemini-4-argon", "google"))
    ledger.close()
    found = open_ledger(accounts).receipt("r1")
    assert (found.session, found.session_key, found.task) == ("s1", "k:s1", "t1")
    assert (found.arm, found.requested_model, found.tags) == (
        "holdout",
        "gpt-6.1-sol",
        {"env": "prod"},
    )
    assert (found.served_model, found.upstream) == ("gemini-4-argon", "google")
    assert found.cost_nano == 700


def test_one_process_a_ledger(money: Any, clock: Any, url: str, open_ledger: Any) -> None:
    """A second writer is refused while the first lives; a closed ledger takes nothing."""
    ledger = open_ledger(money.accounts())
    with pytest.raises(LedgerUnavailable, match="another process"):
        Ledger(url, money.accounts(), clock, lock_wait_s=0).open()
    hold = ledger.hold(money.request("r1", 5))
    ledger.close()
    with pytest.raises(LedgerUnavailable, match="not open"):
        ledger.settle(hold, money.receipt("r1", 5))
    with pytest.raises(LedgerUnavailable, match="not open"):
        ledger.hold(money.request("r2", 5))


def test_rows_cannot_be_changed(money: Any, open_ledger: Any, tmp_path: Path) -> None:
    """The database itself refuses to update or delete what was posted."""
    ledger = open_ledger(money.accounts())
    ledger.settle(ledger.hold(money.request("r1", 5)), money.receipt("r1", 5))
    ledger.flush()
    with sqlite3.connect(tmp_path / "weir.db") as connection:
        for table in ("receipts", "lines", "attempts"):
            for verb, rest in (("DELETE FROM", ""), ("UPDATE", "SET request_id = 'x'")):
                statement = f"{verb} {table} {rest}"
                with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                    connection.execute(statement)
    connection.close()


def test_the_journal_is_rotated(money: Any, open_ledger: Any, tmp_path: Path) -> None:
    """Old journal files go once the tables have them; nothing is lost on the way."""
    ledger = open_ledger(money.budgeted("10 per day"), rotate_bytes=20_000)
    for number in range(100):
        hold = ledger.hold(money.request(f"r{number}", 10))
        ledger.settle(hold, money.receipt(f"r{number}", 3))
    ledger.flush()
    ledger.close()
    assert list(tmp_path.glob("*.journal.*")) == []
    again = open_ledger(money.budgeted("10 per day"))
    assert figures(again, money) == {"t/day": (300, 0)}
    assert len(again.receipts("t", limit=1000)) == 100


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow inside the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_stops_new_holds_and_forgets_no_settlement(
    money: Any, open_ledger: Any, url: str
) -> None:
    """A hold is refused; what was sent already is settled, and written when there is room."""
    ledger = open_ledger(money.budgeted("10 per day"))
    hold, other = ledger.hold(money.request("r1", 500)), ledger.hold(money.request("r2", 70))
    ledger.flush()
    with full_disk():
        with pytest.raises(LedgerUnavailable, match="cannot write the journal"):
            ledger.hold(money.request("r3", 5))
        assert ledger.settle(hold, money.receipt("r1", 5)) is True
        assert ledger.settle(hold, money.receipt("r1", 5)) is False
        assert ledger.release(other, "not sent") is True
        assert figures(ledger, money) == {"t/day": (5, 0)}
        found = ledger.receipt("r1")
        assert found is not None
        assert found.cost_nano == 5
        assert "cannot write the journal" in (ledger.trouble() or "")
        with pytest.raises(LedgerUnavailable):
            ledger.flush(0.1)
    ledger.flush()
    assert ledger.trouble() is None
    assert figures(ledger, money) == {"t/day": (5, 0)}
    ledger.close()
    assert (totals(url)["requests"], totals(url)["open_holds"]) == (1, 0)
    assert verify(url) == []


def test_a_process_that_dies_on_a_full_disk_leaves_its_hold(
    money: Any, open_ledger: Any, url: str
) -> None:
    """What found no room before the end is charged at its hold: dear, never free, never twice."""
    ledger = open_ledger(money.budgeted("10 per day"))
    hold = ledger.hold(money.request("r1", 500))
    ledger.flush()
    with full_disk():
        ledger.settle(hold, money.receipt("r1", 5))
        ledger.close()
    again = open_ledger(money.budgeted("10 per day"))
    found = again.receipt("r1")
    assert (found.state, found.cost_nano) == ("orphan", 500)
    assert figures(again, money) == {"t/day": (500, 0)}


def test_a_locked_database_delays_and_loses_nothing(
    money: Any, open_ledger: Any, tmp_path: Path
) -> None:
    """While another program locks the tables, holds go on; afterwards every row is there."""
    ledger = open_ledger(money.budgeted("10 per day"))
    blocker = sqlite3.connect(tmp_path / "weir.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    for number in range(50):
        hold = ledger.hold(money.request(f"r{number}", 10))
        ledger.settle(hold, money.receipt(f"r{number}", 3))
    assert len(ledger.receipts("t", limit=1000)) == 50
    blocker.execute("COMMIT")
    blocker.close()
    ledger.flush()
    assert figures(ledger, money) == {"t/day": (150, 0)}
    assert len(ledger.receipts("t", limit=1000)) == 50


THREADS, EACH = 64, 12


def test_no_instant_exceeds_a_limit(money: Any, open_ledger: Any) -> None:
    """64 threads on one budget: spent + held <= limit at every look, and all of it adds up."""
    limit = 40 * 1000
    ledger = open_ledger(money.budgeted(f"{limit / USD:.9f} per day", "1 per user per day"))
    looks: list[int] = []
    spent: list[int] = []
    start = threading.Barrier(THREADS + 1)
    done = threading.Event()

    def watch() -> None:
        start.wait()
        while not done.is_set():
            window = next(f for f in ledger.budgets(money.path, None) if f.user is None)
            looks.append(window.spent_nano + window.held_nano)

    def work(number: int) -> None:
        dice = random.Random(number)
        start.wait()
        for turn in range(EACH):
            request_id = f"r{number}-{turn}"
            try:
                hold = ledger.hold(money.request(request_id, 1000, user=f"u{number}"))
            except BudgetExhausted:
                continue
            if dice.random() < 0.3:
                ledger.release(hold, "cancelled")
                continue
            cost = dice.randrange(0, 200)
            ledger.settle(hold, money.receipt(request_id, cost))
            spent.append(cost)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
    watcher = threading.Thread(target=watch)
    for thread in [*threads, watcher]:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    watcher.join()
    assert max(looks) <= limit
    assert ledger.open_holds() == (0, 0)
    assert figures(ledger, money)["t/day"] == (sum(spent), 0)
    ledger.flush()
    assert sum(found.cost_nano for found in ledger.receipts("t", limit=10_000)) == sum(spent)


def test_a_hold_is_a_plain_value(money: Any, open_ledger: Any) -> None:
    """What a hold returns names the request, the amount and the instant of its windows."""
    ledger = open_ledger(money.accounts())
    assert ledger.hold(money.request("r1", 5)) == Hold("r1", 5, money.noon)

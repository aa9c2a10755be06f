"""Several processes, one budget, on real engines: nothing over, nothing lost, nothing double."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import redis
from engines import postgresql, valkey, valkey_server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sharing import PATH, accounts, now_ms, receipt, request

from billing.errors import BudgetExhausted, LedgerUnavailable, Throttled
from billing.ledger import Hold
from billing.reports import totals, verify
from billing.shared import Ask, Base, Slot, cut
from billing.shared_ledger import SharedLedger
from billing.shared_redis import RedisShares
from billing.shared_sql import SqliteSession

USD = 1_000_000_000
SCRIPT = Path(__file__).parents[1] / "sharing.py"


@dataclass
class Place:
    """Where a test's ledger and budgets are."""

    url: str
    state: str | None
    folder: Path
    opened: list[SharedLedger] = field(default_factory=list)
    spenders: list[Spender] = field(default_factory=list)

    def ledger(self, *budgets: str, **sections: object) -> SharedLedger:
        """A ledger of this process."""
        tree = accounts(*budgets, **sections)
        made = SharedLedger(self.url, tree, now_ms, state=self.state, folder=self.folder).open()
        self.opened.append(made)
        return made


SLOW = pytest.mark.slow
ENGINES = ["sqlite", pytest.param("postgresql", marks=SLOW), pytest.param("valkey", marks=SLOW)]


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A fresh ledger whose budgets are shared through each kind of store."""
    with contextlib.ExitStack() as stack:
        url, state = f"sqlite:///{tmp_path}/weir.db", None
        if request.param == "postgresql":
            server = request.getfixturevalue("postgres_server")
            url = stack.enter_context(postgresql(server))
        elif request.param == "valkey":
            state = stack.enter_context(valkey())
        made = Place(url, state, tmp_path / "journal")
        yield made
        for spender in made.spenders:
            spender.kill()
        for ledger in made.opened:
            ledger.close()


class Spender:
    """A process of ``sharing.py``; its events are read as they come."""

    def __init__(self, place: Place, number: int, amount: int, *budgets: str) -> None:
        said = {
            "url": place.url,
            "state": place.state,
            "folder": str(place.folder),
            "budgets": budgets,
            "name": f"p{number}",
            "seed": number,
            "amount": amount,
        }
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), json.dumps(said)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        place.spenders.append(self)
        self.events: list[tuple[str, str, int, int]] = []
        self.ready, self.done = threading.Event(), threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            words = line.split()
            if len(words) != 4 or not line.endswith("\n"):
                continue
            kind, name, amount, at = words
            if kind in {"ready", "done"}:
                (self.ready if kind == "ready" else self.done).set()
            else:
                self.events.append((kind, name, int(amount), int(at)))
        self.ready.set()
        self.done.set()

    def say(self, word: str) -> None:
        """A line on its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Wait until it has ended by itself."""
        code = self.process.wait(30)
        self._reader.join(10)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        return code

    def kill(self) -> None:
        """SIGKILL."""
        if self.process.returncode is None:
            self.process.kill()
            self.end()


def started(place: Place, count: int, amount: int, *budgets: str) -> list[Spender]:
    """Processes that have begun to spend at the same moment."""
    spenders = [Spender(place, number, amount, *budgets) for number in range(count)]
    for spender in spenders:
        assert spender.ready.wait(120)
        assert spender.process.poll() is None
    for spender in spenders:
        spender.say("go")
    return spenders


def peak(spenders: list[Spender]) -> int:
    """The most that was certainly spent and held at one instant, nano-USD."""
    changes = []
    for spender in spenders:
        held: dict[str, int] = {}
        for kind, name, amount, at in spender.events:
            if kind == "held":
                held[name] = amount
                changes.append((at, amount))
            elif kind in {"settling", "releasing"}:
                changes.append((at, -held.pop(name)))
            else:
                changes.append((at, amount))
    total = most = 0
    for _, change in sorted(changes):
        total += change
        most = max(most, total)
    return most


def settled(spenders: list[Spender]) -> dict[str, int]:
    """What was acknowledged as settled, by request."""
    return {n: a for s in spenders for kind, n, a, _ in s.events if kind == "settled"}


def patiently(ledger: SharedLedger, name: str, amount: int) -> None:
    """Hold as the gateway does: what is being gathered is waited for."""
    deadline = time.monotonic() + 10
    while True:
        try:
            ledger.hold(request(name, amount, now_ms()))
        except Throttled:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def test_four_processes_never_overspend_and_use_the_budget_up(place: Place) -> None:
    """Holds, settlements, releases and forgotten holds of 4 processes stay within the limit."""
    spenders = started(place, 4, USD // 20, "6 per day", "7 per rolling 2h")
    for spender in spenders:
        assert spender.done.wait(60)
        spender.say("close")
    assert [spender.end() for spender in spenders] == [0, 0, 0, 0]
    assert peak(spenders) <= 6 * USD
    ledger = place.ledger("6 per day", "7 per rolling 2h")
    figures = {f.budget: f for f in ledger.budgets(PATH, None)}
    found = {r.request_id: r for r in ledger.receipts("t", limit=100_000)}
    spent = sum(r.cost_nano for r in found.values())
    assert settled(spenders).items() <= {n: r.cost_nano for n, r in found.items()}.items()
    assert figures["t/day"].spent_nano == figures["t/rolling-2h"].spent_nano == spent
    assert figures["t/day"].held_nano == 0
    assert 6 * USD - USD // 20 < spent <= 6 * USD
    ledger.close()
    assert verify(place.url) == []


def test_a_killed_process_loses_and_doubles_nothing(place: Place) -> None:
    """After kill -9 of one of 4 the others post what it held and settled, once."""
    spenders = started(place, 4, USD // 50, "1000 per day")
    time.sleep(1.0)
    spenders[0].kill()
    time.sleep(0.5)
    survivor = place.ledger("1000 per day")
    names = {name for _, name, _, _ in spenders[0].events}
    deadline = time.monotonic() + 120  # a busy machine is slow to replay, never loses
    for name in settled(spenders[:1]):
        while survivor.receipt(name) is None:
            assert time.monotonic() < deadline, f"{name} was settled and is not there"
    for spender in spenders[1:]:
        spender.kill()
    survivor.close()
    last = place.ledger("1000 per day")
    found = {r.request_id: r for r in last.receipts("t", limit=1_000_000)}
    held = {name for s in spenders for kind, name, _, _ in s.events if kind == "held"}
    released = {name for s in spenders for kind, name, _, _ in s.events if kind == "releasing"}
    assert {n: found[n].cost_nano for n in settled(spenders)} == settled(spenders)
    assert names
    assert held - released <= found.keys()
    (window,) = last.budgets(PATH, None)
    assert window.spent_nano == sum(r.cost_nano for r in found.values())
    assert window.held_nano == 0
    last.close()
    assert verify(place.url) == []
    counted = totals(place.url)
    assert int(counted["requests"]) + int(counted["provisional_requests"]) == len(found)
    assert counted["open_holds"] == 0


def test_held_returns_to_zero(place: Place) -> None:
    """After cancels and exceptions no process keeps any part of a budget."""
    one, two = place.ledger("10 per day"), place.ledger("10 per day")
    holds = [one.hold(request(f"a{n}", USD // 10, now_ms())) for n in range(20)]
    for hold in holds:
        one.release(hold, "cancelled")
    with pytest.raises(BudgetExhausted):
        two.hold(request("much", 11 * USD, now_ms()))
    patiently(two, "all", 10 * USD)  # an idle slice is given back: the other can have all
    assert [(f.spent_nano, f.held_nano) for f in one.budgets(PATH, None)] == [(0, 10 * USD)]
    two.release(Hold("all", 10 * USD, now_ms()), "cancelled")
    time.sleep(1.5)
    assert [(f.spent_nano, f.held_nano) for f in one.budgets(PATH, None)] == [(0, 0)]


def test_what_a_vanished_process_left_is_charged_once(place: Place) -> None:
    """A hold in the tables whose process no store and no folder knows is swept, by one of all."""
    gone = place.ledger("10 per day")
    gone.hold(replace(request("left", USD, now_ms()), arm="holdout", session_key="k:s"))
    gone.flush()
    vanish(gone)
    ledgers = [place.ledger("10 per day") for _ in range(3)]
    assert [one.receipt("left") for one in ledgers[:1]] == [None]
    assert sum(one.sweep(3_600_000) for one in ledgers) == 0
    time.sleep(0.01)
    assert sum(one.sweep(1) for one in ledgers) == 1
    assert sum(one.sweep(1) for one in ledgers) == 0
    found = ledgers[0].receipt("left")
    assert found is not None
    assert (found.state, found.cost_nano) == ("orphan", USD)
    assert (found.arm, found.session_key) == ("holdout", "k:s")
    assert {f.held_nano for f in ledgers[1].budgets(PATH, None)} == {0}
    for ledger in ledgers:
        ledger.close()
    sums = totals(place.url)
    assert (sums["provisional_requests"], sums["open_holds"]) == (1, 0)
    assert verify(place.url) == []


def vanish(ledger: SharedLedger) -> None:
    """The process is gone with its disk, and the shared store has forgotten it."""
    ledger._stop.set()
    ledger._ticker.join()
    assert ledger._shares is not None
    ledger._shares.fold(ledger.member, [])
    ledger._writer.close()  # type: ignore[union-attr]
    for path in ledger._seat.base.parent.glob(f"*{ledger.member}*"):
        path.unlink()
    ledger._seat.leave(buried=True)
    ledger._store.close()  # type: ignore[union-attr]
    ledger._shares.close()
    ledger._shares = ledger._store = ledger._writer = None


def test_a_receipt_of_a_sibling_is_found_at_once(place: Place) -> None:
    """Whoever asks right after an answer gets the receipt, whichever process settled it."""
    one, two = place.ledger(), place.ledger()
    for number in range(20):
        name = f"r{number}"
        one.settle(one.hold(request(name, 5, now_ms())), receipt(name, 3, now_ms()))
        found = two.receipt(name, "t")
        assert found is not None
        assert found.cost_nano == 3
    assert two.receipt("r1", "other") is None


def test_a_thousand_at_once_in_one_process(place: Place) -> None:
    """1,000 threads that hold at one moment in one of two processes: exactly the limit is
    granted, and spent and held together never pass it at any look.
    """
    one, _ = place.ledger("5 per day"), place.ledger("5 per day")
    granted: list[int] = []
    looks: list[int] = []
    start, done = threading.Barrier(1_001), threading.Event()

    def work(number: int) -> None:
        start.wait()
        with contextlib.suppress(BudgetExhausted):
            patiently(one, f"r{number}", USD // 100)
            granted.append(number)
            if number % 2:
                one.settle(
                    Hold(f"r{number}", USD // 100, now_ms()),
                    receipt(f"r{number}", USD // 100, now_ms()),
                )

    def watch() -> None:
        while not done.is_set():
            (window,) = one.budgets(PATH, None)
            looks.append(window.spent_nano + window.held_nano)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1_000)]
    watcher = threading.Thread(target=watch)
    for thread in [watcher, *threads]:
        thread.start()
    start.wait(60)
    for thread in threads:
        thread.join()
    done.set()
    watcher.join()
    assert len(granted) == 500
    assert max(looks) <= 5 * USD
    (window,) = one.budgets(PATH, None)
    half = sum(n % 2 for n in granted) * (USD // 100)
    assert (window.spent_nano, window.held_nano) == (half, 5 * USD - half)


def test_new_limits_hold_for_all(place: Place) -> None:
    """After a reload in each process past spend and open holds count in a new budget, once."""
    one, two = place.ledger("10 per day"), place.ledger("10 per day")
    for name, ledger in (("a", one), ("b", two)):
        ledger.settle(ledger.hold(request(name, USD, now_ms())), receipt(name, USD, now_ms()))
        ledger.hold(request(f"{name}-open", USD, now_ms()))
    one.use(accounts("10 per day", "6 per month"))
    two.use(accounts("10 per day", "6 per month"))
    assert {f.budget: (f.spent_nano, f.held_nano) for f in one.budgets(PATH, None)} == {
        "t/day": (2 * USD, 2 * USD),
        "t/month": (2 * USD, 2 * USD),
    }
    with pytest.raises(BudgetExhausted, match="t/month"):
        patiently(two, "c", 2 * USD + 1)


def test_one_conversation_with_the_store_at_a_time(tmp_path: Path) -> None:
    """A process that reads and then claims is not overtaken in between."""
    one, two = SqliteSession(tmp_path / "b"), SqliteSession(tmp_path / "b")
    inside, order = threading.Event(), list[str]()

    def slow(run: object) -> None:
        inside.set()
        time.sleep(0.3)
        order.append("one")

    thread = threading.Thread(target=one.locked, args=(["x"], slow))
    thread.start()
    assert inside.wait(10)
    two.locked(["x"], lambda run: order.append("two"))
    thread.join()
    assert order == ["one", "two"]
    one.close()
    two.close()


def test_a_burst_elsewhere_burns_here(place: Place) -> None:
    """A burn rung sees what all processes spend, also in one that has spent nothing itself,
    and in one that is started in the middle of it."""
    said = {"ladders": {"l": {"burn 2x in 1h": "approve"}}, "at": "l"}
    one, two = place.ledger("24 per day", **said), place.ledger("24 per day", **said)
    assert not two.brake(PATH, None, now_ms()).approve
    one.settle(one.hold(request("burst", 3 * USD, now_ms())), receipt("burst", 3 * USD, now_ms()))
    deadline = time.monotonic() + 10
    while not two.brake(PATH, None, now_ms()).approve:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    one.flush()
    three = place.ledger("24 per day", **said)
    three.hold(request("own", 1, now_ms()))
    assert three.brake(PATH, None, now_ms()).approve


def test_one_alone_and_several_do_not_mix(place: Place) -> None:
    """A sharing process refuses nobody who shares; what it left is there for the next."""
    one = place.ledger("10 per day")
    one.hold(request("left", USD, now_ms()))
    one.close()
    two = place.ledger("10 per day")
    found = two.receipt("left")
    assert found is not None
    assert (found.state, found.cost_nano) == ("orphan", USD)
    with pytest.raises(LedgerUnavailable, match="not open"):
        one.hold(request("late", 1, now_ms()))


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[tuple[Place, str]]:
    """A ledger whose budgets are on a server of its own, and that server's address."""
    with valkey_server() as url:
        made = Place(f"sqlite:///{tmp_path}/weir.db", url, tmp_path)
        yield made, url
        for ledger in made.opened:
            ledger.close()


@SLOW
def test_a_server_that_forgot_everything_is_told_again(forgetful: tuple[Place, str]) -> None:
    """Emptied in between, the store has every process's spend and holds again; none is free."""
    place, url = forgetful
    gone = place.ledger("10 per day")
    gone.settle(gone.hold(request("old", USD, now_ms())), receipt("old", USD, now_ms()))
    gone.close()
    one, two = place.ledger("10 per day"), place.ledger("10 per day")
    one.hold(request("a", 3 * USD, now_ms()))
    two.settle(two.hold(request("b", USD, now_ms())), receipt("b", USD, now_ms()))
    with redis.Redis.from_url(url) as client:
        client.flushall()
    deadline = time.monotonic() + 20
    while True:
        try:
            patiently(two, "c", 5 * USD)
            break
        except LedgerUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    with pytest.raises(BudgetExhausted):
        patiently(one, "d", 1)
    assert [(f.spent_nano, f.held_nano) for f in one.budgets(PATH, None)] == [(2 * USD, 8 * USD)]


@SLOW
@pytest.mark.parametrize("policy", ["closed", "open 5m"])
def test_a_store_that_is_gone(tmp_path: Path, policy: str) -> None:
    """Closed refuses what was not claimed; open goes on under the last figures, and says so
    to the store when it is back."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(valkey_server())
        place = Place(f"sqlite:///{tmp_path}/weir.db", url, tmp_path)
        ledger = place.ledger("10 per day", on_store_failure=policy)
        ledger.hold(request("a", USD, now_ms()))
        with redis.Redis.from_url(url) as client:
            client.execute_command("CLIENT", "PAUSE", "3500", "ALL")
        if policy == "closed":
            with pytest.raises(LedgerUnavailable, match="cannot be reached"):
                ledger.hold(request("b", 8 * USD, now_ms()))
        else:
            ledger.hold(request("b", 8 * USD, now_ms()))
            with pytest.raises(BudgetExhausted):
                ledger.hold(request("c", 2 * USD, now_ms()))
        time.sleep(4.0)
        held = 9 * USD if policy != "closed" else USD
        assert [f.held_nano for f in ledger.budgets(PATH, None)] == [held]
        other = place.ledger("10 per day")
        with pytest.raises(BudgetExhausted):
            patiently(other, "d", 10 * USD - held + 1)
        other.close()
        ledger.close()


amounts = st.integers(0, 10**17)


@SLOW
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(limit=amounts, base=amounts, theirs=amounts, need=amounts)
def test_the_script_cuts_as_the_rule_says(
    script: RedisShares, limit: int, base: int, theirs: int, need: int
) -> None:
    """Also beyond 2^53: never over the limit, refused just where the rule refuses, and the
    slice is the rule's to within its rounding."""
    slot = Slot("t/day", 5, 5)
    for member in ("one", "two"):
        script.fold(member, ())
        script.join(member, "ledger", 1)
    assert script.derive("ledger", ["t/day"], [Base("t/day", 5, base)], frozenset({"one", "two"}))
    script._client.delete("{weir}:wanted:t/day:5")
    script.report("two", [Ask(slot, limit, theirs, theirs, 0)], 1)
    answer = script.claim("one", [Ask(slot, limit, need, 0, need)], 1)
    (others,) = answer.others
    assert (others.claimed_nano, others.spent_nano) == (base + theirs, base + theirs)
    expected = cut(Ask(slot, limit, need, 0, need), others, 2)
    if expected is None:
        assert answer.claims is None
    else:
        assert answer.claims is not None
        assert need <= answer.claims[0] <= limit - base - theirs
        assert abs(answer.claims[0] - expected) <= 100


@pytest.fixture(scope="module")
def script() -> Iterator[RedisShares]:
    """Claims on a server."""
    with valkey() as url:
        shares = RedisShares(url)
        yield shares
        shares.close()

"""Ladders: thresholds reached in a window become what new requests must put up with."""

from __future__ import annotations

from typing import Any

import pytest

from billing.budget import Window, WindowFigures
from billing.errors import BudgetExhausted
from billing.ladder import Brake, Reading, brake, parse_ladder, reached

HOUR = 3_600_000
DAY = 24 * HOUR
STEADY = {
    "80%": ["notify", {"route": "cheaper"}],
    "95%": [{"route": "small"}, {"compress": "hard"}, {"max_output": 2000}],
    "100%": "reject",
    "pace 130%": "notify",
    "burn 8x in 1h": ["notify", {"throttle": "50%"}],
}


def reading(spent: int, held: int = 0, at: int = DAY // 2, recent: int = 0) -> Reading:
    figures = WindowFigures("t", "t/day", Window(0, DAY), spent, held, 1000, "tomorrow")
    return Reading(figures, at, {HOUR: recent})


@pytest.mark.parametrize(
    ("spent", "held", "expected"),
    [
        (499, 0, Brake()),
        (400, 400, Brake(route="cheaper", notify=("t/day 80%",))),
        (
            650,
            300,
            Brake(route="small", compress="hard", max_output=2000, notify=("t/day 80%",)),
        ),
    ],
)
def test_rungs_add_up(spent: int, held: int, expected: Brake) -> None:
    """Holds count; a higher rung hardens what a lower one asked."""
    ladder = parse_ladder("steady", STEADY)
    found = brake(ladder, [reading(spent, held, at=DAY)])
    assert found == expected


def test_the_last_rung_rejects() -> None:
    """At the limit the ladder rejects, as budget or, for old clients, as rate."""
    assert brake(parse_ladder("l", STEADY), [reading(1000)]).reject == "budget"
    rungs = {"100%": {"reject": 429}}
    assert brake(parse_ladder("l", rungs), [reading(1000)]).reject == "rate"


def test_pace_forecasts_the_window() -> None:
    """Half the day gone and 65% spent ends at 130%; in the first twentieth nothing is forecast."""
    ladder = parse_ladder("l", {"pace 130%": "notify"})
    assert brake(ladder, [reading(649)]) == Brake()
    assert brake(ladder, [reading(650)]).notify == ("t/day pace 130%",)
    assert brake(ladder, [reading(900, at=HOUR)]) == Brake()


def test_burn_looks_at_the_last_hour() -> None:
    """Eight times an even hour's spend in one hour throttles."""
    ladder = parse_ladder("l", {"burn 8x in 1h": {"throttle": "50%"}})
    assert brake(ladder, [reading(400, recent=333)]) == Brake()
    assert brake(ladder, [reading(400, recent=334)]) == Brake(throttle_percent=50)


def test_the_hardest_of_all_windows_wins() -> None:
    """Every ancestor's window is read."""
    ladder = parse_ladder("l", STEADY)
    found = brake(ladder, [reading(10), reading(960, at=DAY), reading(810, at=DAY)])
    assert (found.route, found.compress) == ("small", "hard")


def test_a_forbidden_action_is_skipped() -> None:
    """A node that forbids downgrading and compressing keeps the rest of the brake."""
    hard = Brake(route="small", compress="hard", max_output=5, reject="budget")
    assert hard.without(frozenset({"downgrade"})).route is None
    kept = hard.without(frozenset({"downgrade", "trim"}))
    assert kept == Brake(max_output=5, reject="budget")
    assert hard.without(frozenset()) == hard


@pytest.mark.parametrize(
    ("rungs", "message"),
    [
        ({"80": "notify"}, "threshold"),
        ({"pace": "notify"}, "threshold"),
        ({"burn 8 in 1h": "notify"}, "threshold"),
        ({"80%": "stop"}, "no action"),
        ({"80%": {"route": "tiny"}}, "no action"),
        ({"80%": {"compress": "very"}}, "no action"),
        ({"80%": {"max_output": 0}}, "no action"),
        ({"80%": {"throttle": "150%"}}, "no action"),
        ({"80%": {"reject": 500}}, "no action"),
        ({"80%": {"route": "small", "compress": "hard"}}, "no action"),
    ],
)
def test_what_is_no_rung_is_refused(rungs: dict[str, object], message: str) -> None:
    """An unknown threshold or action names what may be written."""
    with pytest.raises(ValueError, match=message):
        parse_ladder("l", rungs)


def test_the_nearest_ladder_brakes_a_key(money: Any, clock: Any, open_ledger: Any) -> None:
    """The ledger reads its own windows; what the key forbids is not asked of it."""
    ladders = {"steady": STEADY, "gentle": {"90%": {"compress": "soft"}}}
    team = {"budget": "1 per day", "at": "steady", "keys": ["k"]}
    ledger = open_ledger(money.accounts(ladders=ladders, at="gentle", teams={"t": team}))
    path = ("organisation", "t", "t/k")
    assert ledger.brake(path, None, clock.now) == Brake()
    from dataclasses import replace

    ledger.hold(replace(money.request("r1", 960_000_000), path=path))
    found = ledger.brake(path, None, clock.now)
    assert (found.route, found.compress, found.max_output) == ("small", "hard", 2000)
    team = {**team, "forbid": ["downgrade"]}
    ledger.use(money.accounts(ladders=ladders, teams={"t": team}))
    found = ledger.brake(path, None, clock.now)
    assert (found.route, found.compress, found.max_output) == (None, "hard", 2000)
    with pytest.raises(BudgetExhausted):
        ledger.hold(replace(money.request("r2", 960_000_000), path=path))


def test_a_burst_burns(money: Any, clock: Any, open_ledger: Any) -> None:
    """A third of a day's budget in one hour throttles, and no longer an hour later."""
    ladders = {"l": {"burn 8x in 1h": {"throttle": "25%"}}}
    accounts = money.accounts(ladders=ladders, at="l", budget="1 per day", timezone="Asia/Tokyo")
    ledger = open_ledger(accounts)
    ledger.settle(ledger.hold(money.request("r1", 400_000_000)), money.receipt("r1", 400_000_000))
    assert ledger.brake(money.path, None, clock.now).throttle_percent == 25
    ledger.close()
    again = open_ledger(accounts)
    assert again.brake(money.path, None, clock.now).throttle_percent == 25
    clock.now += HOUR + 60_000
    assert again.brake(money.path, None, clock.now).throttle_percent == 100


def test_a_burn_holds_at_its_rate() -> None:
    """Twice an even spend is `burn 2x`; a nano less is not."""
    rung = parse_ladder("l", {"burn 2x in 1h": "approve"}).rungs[0]
    day = WindowFigures("t", "t/day", Window(0, 24 * 3_600_000), 0, 0, 24 * 10**9, "")
    for recent, held in ((2 * 10**9, True), (2 * 10**9 - 1, False)):
        reading = Reading(day, 12 * 3_600_000, {3_600_000: recent})
        assert reached(rung.threshold, reading) is held

"""The sweep of holds that no request has any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sharing import PATH, accounts, now_ms, request

from billing.errors import LedgerUnavailable
from billing.ledger import Ledger
from gateway.settings import Settings, parse
from gateway.sweeper import expiry_ms, sweep_for_ever
from gateway.upstream.failover import MAX_ATTEMPTS

CONFIG = """
upstreams:
  a: { kind: openai, base_url: "http://127.0.0.1:9/v1", timeouts: { total: 100 } }
  b: { kind: openai, base_url: "http://127.0.0.1:9/v1", timeouts: { total: 20 } }
models: { m: { upstream: a, price: { input: 1, output: 1 } } }
teams: { t: { keys: [k] } }
keys: { k: "sha256:%s" }
""" % ("a" * 64)


def settings(extra: str = "") -> Settings:
    """A configuration with two upstreams."""
    return parse(CONFIG + extra, "weir.yaml", {})


async def until(holds: Callable[[], bool]) -> None:
    """A condition comes true within ten seconds."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.02)


def test_a_hold_outlives_every_request_it_may_belong_to() -> None:
    """By default twice the time of all attempts at the slowest upstream; else as configured."""
    assert expiry_ms(settings()) == 2 * MAX_ATTEMPTS * 100 * 1000
    assert expiry_ms(settings("server: { hold_expiry_seconds: 7 }")) == 7000


async def test_old_holds_are_charged_at_the_start_and_young_ones_later(tmp_path: Path) -> None:
    """What is expired at the start is charged at once, what expires meanwhile within a period."""
    clock = [now_ms()]
    url = f"sqlite:///{tmp_path}/weir.db"
    ledger = Ledger(url, accounts("10 per day"), lambda: clock[0]).open()
    found = settings("server: { hold_expiry_seconds: 60, sweep_seconds: 0.1 }")
    try:
        ledger.hold(request("old", 700, clock[0]))
        clock[0] += 61_000
        ledger.hold(request("young", 50, clock[0]))
        task = asyncio.create_task(sweep_for_ever(ledger, found))
        await until(lambda: ledger.open_holds() == (1, 50))
        clock[0] += 61_000
        await until(lambda: ledger.open_holds() == (0, 0))
        task.cancel()
        states = {r.request_id: (r.state, r.cost_nano) for r in ledger.receipts("t")}
        assert states == {"old": ("provisional", 700), "young": ("provisional", 50)}
        (window,) = ledger.budgets(PATH, None)
        assert (window.spent_nano, window.held_nano) == (750, 0)
    finally:
        ledger.close()


async def test_a_ledger_that_is_away_is_swept_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A sweep that fails is said and tried again; the task lives on."""

    class Away(Ledger):
        tries = 0

        def sweep(self, older_than_ms: int) -> int:
            self.tries += 1
            if self.tries == 1:
                raise LedgerUnavailable("the database is away")
            return 0

    ledger = Away(f"sqlite:///{tmp_path}/weir.db", accounts("10 per day"), now_ms)
    task = asyncio.create_task(sweep_for_ever(ledger, settings("server: { sweep_seconds: 0.05 }")))
    await until(lambda: ledger.tries > 1)
    task.cancel()
    assert "swept later" in caplog.text

"""kill -9 of a loaded server, again and again: what was billed is there, once.

The provider writes down what it bills; every client request has a name that stands in the
prompt and, as its task, on the receipt. After each kill the server starts again on what the
last one left. The seed of a run is printed; ``WEIR_CRASH_SEED`` repeats it.
``WEIR_CRASH_KILLS=20`` kills every engine that often, also those the suite keeps short.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from billed_load import Server, kill, load, posted, unbilled
from billing_provider import BillingProvider
from engines import postgresql
from processes import Key, Running

from billing.reports import totals, verify

ENGINES = [
    pytest.param("sqlite", 1, 20, id="sqlite"),
    pytest.param("sqlite", 2, 8, id="sqlite-2-workers"),
    pytest.param("postgresql", 1, 8, id="postgresql"),
]


async def killed_under_load(
    server: Server, running: Running, chance: random.Random, run: int
) -> None:
    """The server is killed in the middle of its clients' requests."""
    clients = asyncio.create_task(load(server, chance, run, 5))
    await asyncio.sleep(0.15 + chance.random() * 0.7)
    kill(running)
    await clients


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, int, int]]:
    """A fresh ledger's URL, the number of workers, and how often they are killed."""
    engine, workers, kills = request.param
    kills = int(os.environ.get("WEIR_CRASH_KILLS") or kills)
    if engine == "sqlite":
        yield f"sqlite:///{tmp_path}/weir.db", workers, kills
        return
    with postgresql(request.getfixturevalue("postgres_server")) as url:
        yield url, workers, kills


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "database",
    [pytest.param(each.values, id=each.id) for each in ENGINES],
    indirect=True,
)
def test_kill_9_under_load_loses_and_doubles_nothing(
    database: tuple[str, int, int], tmp_path: Path
) -> None:
    """Every call that was billed has its line or its hold, once; held is 0; the chain is whole."""
    url, workers, kills = database
    seed = int(os.environ.get("WEIR_CRASH_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"WEIR_CRASH_SEED={seed}")
    chance = random.Random(seed)
    server = Server(tmp_path, url, Key.new(), workers)
    with BillingProvider(tmp_path / "billed.jsonl", seed) as provider:
        server.configure(provider.port)
        running = server.start()
        for run in range(kills):
            asyncio.run(killed_under_load(server, running, chance, run))
            running = server.start()
            assert set(server.held()) == {0.0}
        asyncio.run(load(server, chance, kills, 0.5))
        assert running.stop() == 0
        deadline = time.monotonic() + 10
        while not provider.idle:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        bills = provider.bills()
    receipts = posted(url)
    states = Counter(receipt.state for receipt in receipts)
    fresh, *again = server.starts_s
    print(
        f"{kills} kills: {len(bills)} bills, {dict(states)}, start {fresh:.2f} s, again "
        f"{statistics.median(again):.2f} s at the median, {max(again):.2f} s at most"
    )
    assert len(bills) > 5 * kills
    assert states["orphan"] > kills
    assert unbilled(bills, receipts) == []
    assert len({receipt.task for receipt in receipts}) == len(receipts)
    for orphan in (receipt for receipt in receipts if receipt.state == "orphan"):
        assert orphan.session == f"s-{orphan.task}"
        assert orphan.session_key
    assert totals(url)["open_holds"] == 0
    assert verify(url) == []
    # 2 s on a machine that has time for it; a busy one is slower at a first start, too.
    assert statistics.median(again) <= max(2.0, 1.5 * fresh)

"""Who holds for a batch: one process at a time, and nobody once it is on the ledger."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from processes import free_port

from billing.batches import Ceiling, StoredBatch, digest
from billing.ledger import Hold, HoldRequest, Ledger
from billing.recovery import orphan
from gateway.batch_rows import RowEnd
from gateway.batches import FORGOTTEN_MS, Batches
from gateway.settings import parse
from gateway.snapshot import build_snapshot
from gateway.workers_ledger import ledger_for

HASH = "sha256:" + "a" * 64
HELD = 5_000_000


class Site:
    """A process's ledger and batches on a shared file, with a clock that can stand still."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        base = f"http://127.0.0.1:{port or free_port()}/v1"
        text = f"""
database: sqlite:///{folder}/weir.db
upstreams: {{ p: {{ kind: openai, base_url: "{base}", api_key: k }} }}
models: {{ m: {{ upstream: p, price: {{ input: 1, output: 2 }} }} }}
teams: {{ t: {{ keys: [k], budget: 1 per month }} }}
keys: {{ k: "{HASH}" }}
"""
        settings = parse(text, "weir.yaml", {})
        snapshot = build_snapshot(settings)
        self.ahead_ms = 0
        self.ledger: Ledger = ledger_for(settings, self.now, several=True)
        self.ledger.open()
        self.batches = Batches(settings.database, self.ledger, lambda: snapshot, self.now)
        (self.key,) = settings.accounts.keys.values()

    def now(self) -> int:
        """UTC epoch milliseconds."""
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def started(self) -> StoredBatch:
        """A batch of two rows that this process started and holds for."""
        wanted = HoldRequest("r1", self.key.path, None, HELD, self.now(), "m", "p")
        self.ledger.hold(wanted)
        batch = StoredBatch(
            upstream="p",
            id="batch_1",
            team="t",
            wire="chat",
            at_ms=self.now(),
            hold=replace(wanted, kept=True),
            costs={digest(name): Ceiling("m", HELD // 2) for name in ("one", "two")},
            shown=b"{}",
            keeper=self.batches.keeper,
        )
        self.batches.begin(batch)
        return batch

    def held(self) -> int:
        """What stands held for the key in all processes, nano-USD."""
        return self.ledger.budgets(self.key.path, None)[0].held_nano


@pytest.fixture
async def sites(tmp_path: Path) -> AsyncIterator[tuple[Site, Site]]:
    """Two processes' worth of it."""
    found = Site(tmp_path), Site(tmp_path)
    yield found
    for site in found:
        await site.batches.close()
        site.ledger.close()


async def test_a_hold_is_let_go_by_whom_it_was_taken_from(sites: tuple[Site, Site]) -> None:
    """A process that was slow for longer than its lease holds no longer than the other needs."""
    slow, other = sites
    slow.started()
    assert slow.held() == HELD
    other.ahead_ms = 3_600_000  # an hour in which the first said nothing
    await other.batches.tick()
    other.ahead_ms = 0
    for _ in range(3):
        await slow.batches.tick()
    deadline = time.monotonic() + 20
    while slow.held() != HELD:  # once, by the one that keeps it
        assert time.monotonic() < deadline, slow.held()
        await asyncio.sleep(0.05)
    assert other.batches.store.kept_by(other.batches.keeper)
    assert not slow.batches.store.kept_by(slow.batches.keeper)


async def test_a_batch_whose_hold_was_charged_is_not_billed_beside(
    sites: tuple[Site, Site],
) -> None:
    """With the hold's own receipt in the ledger its rows post nothing."""
    site, _ = sites
    batch = site.started()
    hold = batch.hold
    site.ledger.settle(Hold("r1", HELD, hold.at_ms), orphan(hold, HELD, hold.at_ms, "provisional"))
    usage = {"prompt_tokens": 5, "completion_tokens": 1}
    site.batches._post(batch, [RowEnd(name, 200, usage) for name in ("one", "two")], 2)
    receipts = site.ledger.receipts("t", limit=10)
    assert [found.request_id for found in receipts] == ["r1"]
    assert receipts[0].cost_nano == HELD


@pytest.fixture
def refusing() -> Iterator[int]:
    """The port of a provider that refuses the gateway's credential."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


async def test_a_batch_that_its_provider_never_tells_of_is_charged_in_the_end(
    refusing: int, tmp_path: Path
) -> None:
    """A credential that is refused for good leaves no hold open for ever."""
    site = Site(tmp_path, refusing)
    site.started()
    await site.batches.tick()
    assert site.held() == HELD
    site.ahead_ms = FORGOTTEN_MS + 60_000
    await site.batches.tick()
    await site.batches.tick()
    (receipt,) = site.ledger.receipts("t", limit=10)
    assert (receipt.request_id, receipt.cost_nano) == ("r1", HELD)
    assert site.held() == 0
    await site.batches.close()
    site.ledger.close()

"""Three gateways on three machines, one budget: a cable is pulled, another machine is killed.

Each gateway is in a network namespace with a disk of its own; PostgreSQL, Valkey and a
provider that writes down its bills are reached over the bridge between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from billed_load import Server, ask, kill, posted, unbilled
from billing_provider import BillingProvider
from engines import own_postgresql, postgresql, valkey_server
from machines import Hall, Machine, hall, why_not
from processes import Key, Running

from billing.reports import totals, verify

LIMIT_NANO = 20_000_000
CLIENTS = 6
REASON = why_not(os.geteuid())


@dataclass
class Site:
    """A machine, the gateway on it, and whether clients still ask it."""

    machine: Machine
    server: Server
    running: Running
    statuses: Counter[bytes] = field(default_factory=Counter)


@dataclass
class Cluster:
    """Three sites and what they share."""

    sites: list[Site]
    provider: BillingProvider
    database: str
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def clients(self, site: Site, seed: int) -> None:
        """Clients of one gateway that ask until they are told to stop, streams and plain."""
        chance = random.Random(seed)

        async def client(number: int) -> None:
            count = 0
            while not self.stop.is_set():
                tag, count = f"m{seed}-{number}-{count}", count + 1
                body: dict[str, object] = {
                    "model": chance.choice(["main", "backed"]),
                    "max_tokens": 20,
                    "stream": chance.random() < 0.5,
                    "messages": [{"role": "user", "content": f"{tag} says something"}],
                }
                status = b"none"
                with contextlib.suppress(TimeoutError, OSError):
                    async with asyncio.timeout(0.05 if chance.random() < 0.05 else 8):
                        status = (await ask(site.server, body, tag))[9:12] or b"cut"
                site.statuses[status] += 1
                if status != b"200":
                    await asyncio.sleep(0.05)

        await asyncio.gather(*(client(number) for number in range(CLIENTS)))


@pytest.fixture(params=["valkey", "postgresql"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """Three gateways whose budgets are shared through each kind of store, one ledger."""
    with contextlib.ExitStack() as stack:
        found: Hall = stack.enter_context(hall(3))
        host = found.address
        url = stack.enter_context(postgresql(stack.enter_context(own_postgresql(host))))
        more = ""
        if request.param == "valkey":
            more = f"shared_state: {stack.enter_context(valkey_server(host))}"
        provider = stack.enter_context(BillingProvider(tmp_path / "billed.jsonl", 11, host))
        key, sites = Key.new(), list[Site]()
        for machine in found.machines:
            folder = tmp_path / machine.name
            folder.mkdir()
            server = Server(folder, url, key, 1, 8080, host=machine.address, inside=machine.inside)
            budget = f"{LIMIT_NANO / 1e9} per month"
            server.configure(provider.port, host, budget, more)
            sites.append(Site(machine, server, server.start()))
            stack.callback(lambda site=sites[-1]: _end(site))
        yield Cluster(sites, provider, url)


def _end(site: Site) -> None:
    if site.running.process.poll() is None:
        kill(site.running)


async def through_the_storm(cluster: Cluster) -> None:
    """Load on all three; one loses its cable, one its life; both come back."""
    first, cut, dead = cluster.sites
    loads = [
        asyncio.create_task(cluster.clients(site, seed)) for seed, site in enumerate(cluster.sites)
    ]
    await asyncio.sleep(2)
    cut.machine.pull()
    await asyncio.sleep(0.5)
    kill(dead.running)
    served = first.statuses[b"200"]
    await asyncio.sleep(5)
    assert first.statuses[b"200"] > served, "the one that is well stopped serving"
    cut.machine.plug()
    dead.running = await asyncio.to_thread(dead.server.start)
    await asyncio.sleep(6)
    cluster.stop.set()
    await asyncio.gather(*loads)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(REASON is not None, reason=str(REASON))
def test_a_partition_and_a_kill_overspend_lose_and_double_nothing(cluster: Cluster) -> None:
    """One machine cut off and one killed in the middle of load: nothing over the budget, and
    once both are back every bill of the provider is in the ledger, once, at its price."""
    asyncio.run(through_the_storm(cluster))
    for site in cluster.sites:
        assert site.running.stop() == 0
    deadline = time.monotonic() + 20
    while not cluster.provider.idle:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    bills, receipts = cluster.provider.bills(), posted(cluster.database)
    billed = sum(bill.nano for bill in bills)
    charged = sum(receipt.cost_nano for receipt in receipts)
    states = Counter(receipt.state for receipt in receipts)
    said = [dict(site.statuses) for site in cluster.sites]
    print(
        f"{len(bills)} bills, {billed} billed, {charged} charged of {LIMIT_NANO}, {states}, {said}"
    )
    assert all(site.statuses[b"200"] > 5 for site in cluster.sites), said
    assert billed <= charged <= LIMIT_NANO
    assert unbilled(bills, receipts) == []
    assert len({receipt.task for receipt in receipts}) == len(receipts)
    # Where every answer arrived the sums are equal; the rest is charged what it may have cost.
    exact = [r for r in receipts if {a.state for a in r.attempts} <= {"settled", "void"}]
    tags = {receipt.task for receipt in exact if receipt.state == "settled"}
    theirs = [bill.nano for bill in bills if bill.tag in tags]
    assert len(theirs) > len(bills) / 2
    assert sum(r.cost_nano for r in exact if r.task in tags) == sum(theirs)
    assert states["orphan"] > 0, "the killed one had nothing open"
    assert totals(cluster.database)["open_holds"] == 0
    assert verify(cluster.database) == []


def test_why_it_is_left_out_is_said() -> None:
    """Without the rights for namespaces the reason names them."""
    reason = why_not(uid=1000)
    assert reason is not None
    assert "root" in reason

"""Going back to a copy that was taken under load: it adds up, and what follows is counted."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from billed_load import Server, kill, load, posted, unbilled
from billing_provider import BillingProvider
from processes import Key

from billing.reports import totals, verify


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_copy_taken_under_load_is_a_ledger_to_go_on_with(tmp_path: Path) -> None:
    """`weir ledger backup` while requests are served; on the copy nothing is lost by a kill."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    chance = random.Random(7)
    with BillingProvider(tmp_path / "first.jsonl", 7) as provider:
        server = Server(old, f"sqlite:///{old}/weir.db", Key.new(), 1)
        server.configure(provider.port)
        running = server.start()
        asyncio.run(loaded_and_copied(server, chance, new))
        assert running.stop() == 0
    assert verify(f"sqlite:///{new}/weir.db") == []
    before = totals(f"sqlite:///{new}/weir.db")["requests"]
    assert 0 < before < totals(f"sqlite:///{old}/weir.db")["requests"]

    shutil.copy(old / "weir.yaml", new / "weir.yaml")
    with BillingProvider(tmp_path / "second.jsonl", 8) as provider:
        server = Server(new, f"sqlite:///{new}/weir.db", server.key, 1)
        server.configure(provider.port)
        running = server.start()
        asyncio.run(load(server, chance, 1, 1.0))
        kill(running)
        running = server.start()
        assert running.stop() == 0
        bills = provider.bills()
    receipts = posted(f"sqlite:///{new}/weir.db")
    assert len(bills) > 10
    assert unbilled(bills, receipts) == []
    assert len({receipt.request_id for receipt in receipts}) == len(receipts)
    assert verify(f"sqlite:///{new}/weir.db") == []


async def loaded_and_copied(server: Server, chance: random.Random, into: Path) -> None:
    """Clients ask all the while that the command runs."""
    command = [
        sys.executable, "-m", "gateway", "ledger", "backup", str(into),
        "--config", str(server.folder / "weir.yaml"),
    ]  # fmt: skip
    await load(server, chance, 0, 1.0)
    copying = asyncio.create_task(
        asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    )
    runs = 0
    while not copying.done():
        runs += 1
        await load(server, chance, runs, 1.0)
    done = copying.result()
    assert done.returncode == 0, done.stderr
    await load(server, chance, runs + 1, 1.0)

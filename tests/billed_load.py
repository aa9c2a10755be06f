"""A gateway under load in front of a provider that writes down its bills, and the comparison.

Every client request has a name that stands in the prompt and, as its task, on the receipt.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import sqlalchemy as sa
from billing_provider import Bill
from processes import Key, Running, free_port, http, start

from billing.reader import RECEIPTS, reading
from billing.receipt import Receipt, from_fields

CLIENTS = 24


@dataclass
class Server:
    """A gateway that is killed and started again on the same ledger."""

    folder: Path
    url: str
    key: Key
    workers: int
    port: int = field(default_factory=free_port)
    starts_s: list[float] = field(default_factory=list)
    host: str = "127.0.0.1"
    inside: tuple[str, ...] = ()  # what stands before the command: `ip netns exec NAME`

    def configure(
        self,
        provider: int,
        host: str = "127.0.0.1",
        budgets: str = "1000 per month, 1000 per day",
        more: str = "",
    ) -> None:
        """One provider, three models, budgets that are never used up unless others are given."""
        price = "context_window: 100000, price: { input: %d, output: %d }"
        (self.folder / "weir.yaml").write_text(
            f"""
database: {self.url}
journal: journal
upstreams:
  p: {{ kind: openai, base_url: "http://{host}:{provider}/v1", api_key: k,
        timeouts: {{ connect: 2, first_byte: 5, idle: 5, total: 20 }} }}
models:
  main: {{ upstream: p, {price % (1, 2)} }}
  spare: {{ upstream: p, {price % (3, 4)} }}
  backed: {{ upstream: p, {price % (1, 2)}, fallbacks: [spare] }}
routing: {{ mode: observe, baseline: main }}
teams: {{ t: {{ keys: [k], budget: [{budgets}] }} }}
keys: {{ k: {self.key.hash} }}
{more}
"""
        )

    def start(self) -> Running:
        """It serves; how long that took is noted."""
        command = [
            *self.inside, sys.executable, "-m", "gateway", "serve",
            "--config", str(self.folder / "weir.yaml"),
            "--host", self.host, "--port", str(self.port), "--workers", str(self.workers),
        ]  # fmt: skip
        began = time.monotonic()
        base = f"http://{self.host}:{self.port}"
        running = start(command, base, "/readyz", self.folder / "weir.log")
        self.starts_s.append(time.monotonic() - began)
        return running

    def client(self) -> httpx.Client:
        """A client with the key."""
        return http(f"http://{self.host}:{self.port}", authorization=f"Bearer {self.key.secret}")

    def held(self) -> list[float]:
        """What is held now in each budget, USD."""
        with self.client() as client:
            return [float(row["held_usd"]) for row in client.get("/weir/budgets").json()["data"]]


def family(pid: int) -> list[int]:
    """A process and its children."""
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def kill(running: Running) -> None:
    """The server is gone, all of it, at once."""
    for pid in family(running.process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    running.process.wait(10)


async def ask(server: Server, body: dict[str, object], tag: str) -> bytes:
    """One request on a connection of its own, read to its end."""
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            b"authorization: Bearer %b\r\nx-weir-task: %b\r\nx-weir-session: s-%b\r\n"
            b"content-length: %d\r\n\r\n%b"
            % (server.key.secret.encode(), tag.encode(), tag.encode(), len(data), data)
        )
        return await reader.read(-1)
    finally:
        writer.transport.abort()


async def load(
    server: Server, chance: random.Random, run: int, seconds: float, most: int = 1_000_000
) -> None:
    """Clients that ask without pause, streams and plain, some leaving, ``most`` requests each."""

    async def client(number: int) -> None:
        for count in range(most):
            tag = f"r{run}-{number}-{count}"
            body: dict[str, object] = {
                "model": chance.choice(["main", "backed", "backed"]),
                "max_tokens": 20,
                "stream": chance.random() < 0.5,
                "messages": [{"role": "user", "content": f"{tag} says something"}],
            }
            patience = 0.03 if chance.random() < 0.1 else 10
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await ask(server, body, tag)

    tasks = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
    await asyncio.wait(tasks, timeout=seconds)  # a server that is gone ends them
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    unexpected = [
        one for one in ended if one and not isinstance(one, OSError | asyncio.CancelledError)
    ]
    assert unexpected == []


def posted(url: str) -> list[Receipt]:
    """Every receipt of the ledger."""
    with reading(url) as db:
        rows = db.execute(sa.select(RECEIPTS.c.body)).all()
    return [from_fields(json.loads(row[0])) for row in rows]


def own_nano(receipt: Receipt, attempt: str) -> int:
    """What one attempt is charged."""
    return sum(line.amount_nano for line in receipt.lines if line.attempt == attempt)


def unbilled(bills: list[Bill], receipts: list[Receipt]) -> list[str]:
    """The provider's bills that the ledger lacks, doubles, or charges otherwise."""
    by_tag = {receipt.task: receipt for receipt in receipts}
    wrong, used = [], set[str]()
    for bill in bills:
        receipt = by_tag.get(bill.tag)
        if receipt is None:
            wrong.append(f"{bill} is lost")
            continue
        if receipt.state in {"orphan", "provisional"}:
            continue  # all of a request's bills together, below
        own = [one for one in receipt.attempts if one.model == bill.model]
        fitting = [one for one in own if one.state != "void"]
        if len(fitting) != 1 or fitting[0].id in used:
            wrong.append(f"{bill} has {len(fitting)} charged attempts of {len(own)}")
            continue
        (attempt,) = fitting
        used.add(attempt.id)
        charged = own_nano(receipt, attempt.id)
        if attempt.state == "settled" and charged != bill.nano:
            wrong.append(f"{bill} is charged {charged}")
        if attempt.state == "provisional" and charged < bill.nano:
            wrong.append(f"{bill} is charged only {charged}")
    for tag, total in _sums(bills).items():
        found = by_tag.get(tag)
        if found and found.state in {"orphan", "provisional"} and found.cost_nano < total:
            wrong.append(f"{tag} was billed {total} and is held for {found.cost_nano}")
    return wrong


def _sums(bills: list[Bill]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for bill in bills:
        sums[bill.tag] += bill.nano
    return dict(sums)

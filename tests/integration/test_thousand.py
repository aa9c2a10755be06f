"""A thousand requests at once in one process, over real sockets, on one small budget."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import FaultServer, completion, plain
from processes import Key, gateway, http

COUNT = 1_000
COST = Decimal("0.000021")
LIMIT = Decimal("0.02")
CONFIG = """
database: sqlite:///{folder}/weir.db
upstreams: {{ p: {{ kind: openai, base_url: "{url}/v1", api_key: k, provider: p }} }}
models: {{ slow: {{ upstream: p, context_window: 100000, price: {{ input: 1, output: 2 }} }} }}
routing: {{ mode: observe, baseline: slow }}
budget: 1000 per month
teams:
  t:
    budget: [0.02 per day, 1000 per month]
    projects: {{ p: {{ keys: [k], budget: 1 per day }} }}
keys: {{ k: {key} }}
"""


async def slow(
    writer: asyncio.StreamWriter, reader: asyncio.StreamReader, body: Mapping[str, Any]
) -> None:
    """An answer that takes long enough for all requests to be in flight together."""
    await asyncio.sleep(0.5)
    await plain(200, completion())(writer, reader, body)


@dataclass
class Watch:
    """The budgets as they were seen while the requests ran."""

    client: httpx.Client
    over: list[str] = field(default_factory=list)
    most_held: Decimal = Decimal(0)
    looks: int = 0

    def look(self) -> list[dict[str, Any]]:
        """Every budget now; what is over its limit is noted."""
        rows: list[dict[str, Any]] = self.client.get("/weir/budgets").json()["data"]
        for row in rows:
            spent, held, limit = (Decimal(row[f"{n}_usd"]) for n in ("spent", "held", "limit"))
            if spent + held > limit:
                self.over.append(f"{row['budget']}: {spent} + {held} > {limit}")
            self.most_held = max(self.most_held, held)
        self.looks += 1
        return rows

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.to_thread(self.look)


async def burst(port: int, key: Key, go: asyncio.Event) -> list[int]:
    """The statuses of all requests, sent at one moment on connections of their own."""

    async def one(number: int) -> int:
        body = {
            "model": "slow",
            "max_tokens": 50,
            "messages": [{"role": "user", "content": f"Say {number}."}],
        }
        data = json.dumps(body).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await go.wait()
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
            % (key.secret.encode(), len(data), data)
        )
        answer = await reader.read(-1)
        writer.close()
        return int(answer.split(b" ", 2)[1])

    tasks = [asyncio.create_task(one(number)) for number in range(COUNT)]
    await asyncio.sleep(0.5)
    go.set()
    return list(await asyncio.gather(*tasks))


@pytest.mark.slow
async def test_a_thousand_at_once_stay_under_the_limit(tmp_path: Path) -> None:
    """Spent and held together never pass the limit; afterwards held is 0 and spent is exact."""
    key = Key.new()
    with FaultServer({"slow": slow}) as provider:
        text = CONFIG.format(folder=tmp_path, url=provider.url, key=key.hash)
        with gateway(tmp_path, text) as running:
            port = int(running.url.rsplit(":", 1)[1])
            with http(running.url, authorization=f"Bearer {key.secret}") as client:
                watch = Watch(client)
                watching = asyncio.create_task(watch.run())
                statuses = Counter(await burst(port, key, asyncio.Event()))
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
                await asyncio.sleep(0.2)
                rows = watch.look()
    assert watch.over == []
    assert watch.looks > 5
    assert watch.most_held > LIMIT / 2  # the limit was met, not avoided
    assert set(statuses) == {200, 402}
    assert statuses.total() == COUNT
    assert provider.calls["slow"] == statuses[200] > 100
    assert {Decimal(row["held_usd"]) for row in rows} == {0}
    assert {Decimal(row["spent_usd"]) for row in rows} == {COST * statuses[200]}

"""How many streams one process holds, what each takes, and what others notice.

Usage: python -m benchmarks.held [--streams 1000] [--seconds 20]

One real gateway, a provider that says a word a second on each stream. Printed: resident memory
a stream, the event loop's lag while all are open (from the gateway's own /metrics, a bucket's
upper edge), small requests' times before and meanwhile, and whether every stream came whole
and stands in the ledger.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._process import Server, free_port, server
from benchmarks.lag import lag_of
from gateway.auth import hash_of, new_secret

CONFIG = """
version: 1
database: sqlite:///{folder}/weir.db
upstreams: {{ mock: {{ kind: openai, base_url: "http://127.0.0.1:{mock}/v1", api_key: sk-mock }} }}
models:
  gpt-4.1-mini: {{ upstream: mock, tier: small, price: {{ input: 0.4, output: 1.6 }} }}
  gpt-4.1: {{ upstream: mock, tier: mid, price: {{ input: 2, output: 8 }} }}
routing: {{ mode: route, baseline: gpt-4.1 }}
teams: {{ bench: {{ keys: [main], budget: 1000000 per month }} }}
keys: {{ main: "{key}" }}
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """Where to ask, and as whom."""

    port: int
    secret: str

    def request(self, number: int, *, stream: bool) -> bytes:
        """One request of its own text."""
        said = [{"role": "user", "content": f"What stands in note {number} of the gauge?"}]
        body = json.dumps(
            {"model": "gpt-4.1", "messages": said, "max_tokens": 64, "stream": stream}
        ).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/"
            f"json\r\nauthorization: Bearer {self.secret}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


async def streamed(asked: Asked, number: int, opened: asyncio.Semaphore) -> bool:
    """One stream read to its end; whether it is whole. ``opened`` hears of its first byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", asked.port)
    try:
        writer.write(asked.request(number, stream=True))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"data: ")
        opened.release()
        rest = await reader.readuntil(b"\r\n0\r\n\r\n")
        return b" 200 " in head[:20] and b"[DONE]" in rest
    finally:
        writer.close()


async def small(asked: Asked, seconds: float, first: int) -> list[float]:
    """Milliseconds of small requests, twenty a second on one kept connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", asked.port)
    took, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        writer.write(asked.request(first + len(took), stream=False))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.05)
    writer.close()
    return took


def at(values: list[float], share: float) -> float:
    """The value that this share does not pass."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def lag_between(before: dict[float, float], after: dict[float, float], share: float) -> float:
    """The edge, ms, that this share of the lags in between did not pass."""
    found = {edge: after[edge] - before[edge] for edge in after}
    most = max(found.values())
    return min(edge for edge, count in found.items() if count >= share * most) * 1000


async def held(gate: Server, asked: Asked, streams: int, seconds: float) -> list[str]:
    """Open them, look, and wait for their ends; the lines to print."""
    warm = await small(asked, 1.0, 10_000_000)
    idle = await small(asked, seconds, 20_000_000)
    before_mb, opened = gate.memory_mb(), asyncio.Semaphore(0)
    began = time.monotonic()
    tasks = [asyncio.create_task(streamed(asked, n, opened)) for n in range(streams)]
    for _ in tasks:
        await opened.acquire()
    opened_s, lag = time.monotonic() - began, await asyncio.to_thread(lag_of, gate.port)
    beside = await small(asked, seconds, 30_000_000)
    after = await asyncio.to_thread(lag_of, gate.port)
    more_kb = (gate.memory_mb() - before_mb) * 1024 / streams
    whole = sum(await asyncio.gather(*tasks))
    late = [f"{lag_between(lag, after, share):g}" for share in (0.5, 0.99)]
    asked_in_all = streams + len(warm) + len(idle) + len(beside)
    return [
        f"{streams} streams open after {opened_s:.1f} s, {whole} came whole",
        f"memory a stream: {more_kb:.0f} KB (of {gate.memory_mb():.0f} MB)",
        f"event loop late, p50 / p99: {' / '.join(late)} ms",
        f"small requests, idle,   {times(idle)}",
        f"small requests, beside, {times(beside)}",
        f"asked in all: {asked_in_all}",
    ]


def times(took: list[float]) -> str:
    """Three percentiles in words."""
    said = (statistics.median(took), at(took, 0.95), at(took, 0.99))
    return "p50 / p95 / p99: " + " / ".join(f"{one:.1f}" for one in said) + " ms"


@dataclass
class Served:
    """A gateway that is measured; ``totals`` are its ledger's own, once it has ended."""

    gate: Server
    secret: str
    totals: dict[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def serving(chunks: int, interval_ms: float) -> Iterator[Served]:
    """A gateway before a provider whose streams have so many chunks, at such intervals."""
    secret, mock, port = new_secret(), free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "weir.yaml"
        config.write_text(CONFIG.format(folder=folder, mock=mock, key=hash_of(secret)))
        provider = [sys.executable, "-m", "benchmarks._mock", "--port", str(mock)]
        provider += ["--interval-ms", str(interval_ms), "--chunks", str(chunks)]
        weir = [sys.executable, "-m", "gateway"]
        serve = [*weir, "serve", "--config", str(config), "--port", str(port)]
        with (
            server("mock", provider, mock, None, {}),
            server("gateway", serve, port, "/readyz", {}) as gate,
        ):
            served = Served(gate, secret)
            yield served
        totals = [*weir, "ledger", "totals", "--json", "--config", str(config)]
        said = subprocess.run(totals, capture_output=True, text=True, check=True).stdout
        served.totals |= json.loads(said)


def main() -> int:
    """Measure and print; the exit status."""
    reader = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    reader.add_argument("--streams", type=int, default=1_000)
    reader.add_argument("--seconds", type=float, default=20.0)
    given = reader.parse_args()
    chunks = int(given.seconds) + 30  # all are open for all of the measurement
    with serving(chunks, 1000) as served:
        asked = Asked(served.gate.port, served.secret)
        print("\n".join(asyncio.run(held(served.gate, asked, given.streams, given.seconds))))
    print(f"in the ledger: {served.totals['requests']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Two hours' requests in one go: is memory flat, and does the ledger say what was served?

Usage: python -m benchmarks.soak [--requests 200000] [--clients 64]

One real gateway before a provider that answers whole or streamed; clients that ask new
questions, every tenth a stream, some leaving in the middle, some with a conversation that
grows, some refused. Resident memory is noted all the while; after the first quarter it counts
as warm, and what it grows from there is printed beside the ledger's own totals.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator

from rich.progress import Progress

from benchmarks._process import Server
from benchmarks.held import serving

NOTES = 200
"""How many times memory is noted."""


class Clients:
    """All that is asked, and what came of it."""

    def __init__(self, port: int, secret: str) -> None:
        self._port, self._secret = port, secret
        self._numbers = itertools.count()
        self._chance = random.Random(11)
        self.seen: Counter[str] = Counter()

    def _bodies(self) -> Iterator[tuple[dict[str, object], str]]:
        """One client's requests without end: the body, and how it behaves."""
        history: list[dict[str, str]] = []
        while True:
            number = next(self._numbers)
            asked = {"role": "user", "content": f"What does note {number} say of the gauge?"}
            kind = self._chance.choices(
                ("plain", "stream", "leaves", "grows", "refused"), (70, 10, 2, 16, 2)
            )[0]
            said = [asked]
            if kind == "grows":
                history = [
                    *history[-20:],
                    asked,
                    {"role": "assistant", "content": f"It says {number}."},
                ]
                said = [*history, {"role": "user", "content": f"And note {number + 1}?"}]
            body: dict[str, object] = {"model": "gpt-4.1", "messages": said, "max_tokens": 64}
            if kind in {"stream", "leaves"}:
                body["stream"] = True
            if kind == "refused":
                body["messages"] = "none"
            yield body, kind

    async def client(self, left: Iterator[int]) -> None:
        """Ask on one kept connection, a new one where it was left, until none is left to ask."""
        bodies, link = self._bodies(), None
        for _ in left:
            body, kind = next(bodies)
            if link is None:
                link = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                self.seen[await self._ask(link, json.dumps(body).encode(), kind)] += 1
            except (OSError, asyncio.IncompleteReadError):
                self.seen["broken"] += 1
                kind = "leaves"
            if kind == "leaves":
                link[1].transport.abort()
                link = None
        if link is not None:
            link[1].close()

    async def _ask(
        self, link: tuple[asyncio.StreamReader, asyncio.StreamWriter], body: bytes, kind: str
    ) -> str:
        reader, writer = link
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/"
            f"json\r\nauthorization: Bearer {self._secret}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        if kind == "leaves":
            return "left"
        length = answer.partition(b"content-length:")[2].split(b"\r\n")[0]
        if length:
            await reader.readexactly(int(length))
        else:
            await reader.readuntil(b"\r\n0\r\n\r\n")
        return answer[9:12].decode()


async def soaked(gate: Server, clients: Clients, requests: int, count: int) -> list[float]:
    """Ask so many requests; the memory noted, MB."""
    left = iter(range(requests))
    notes: list[float] = []
    with Progress(transient=True) as progress:
        task = progress.add_task("Asking", total=requests)
        running = [asyncio.create_task(clients.client(left)) for _ in range(count)]
        following = 0
        while not all(one.done() for one in running):
            done = sum(clients.seen.values())
            if done >= following:
                notes.append(gate.memory_mb())
                following = len(notes) * requests // NOTES
                progress.update(task, completed=done)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait(running, timeout=0.1)
        await asyncio.gather(*running)
    return [*notes, gate.memory_mb()]


def main() -> int:
    """Soak and print; 1 where memory grew by more than 5 % once warm."""
    reader = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    reader.add_argument("--requests", type=int, default=200_000)
    reader.add_argument("--clients", type=int, default=64)
    given = reader.parse_args()
    began = time.monotonic()
    with serving(10, 2) as held:
        clients = Clients(held.gate.port, held.secret)
        notes = asyncio.run(soaked(held.gate, clients, given.requests, given.clients))
        took_s = time.monotonic() - began
    warm = notes[len(notes) // 4 :]
    middle = sorted(warm[: len(warm) // 3])[len(warm) // 6]
    end = sorted(warm[-(len(warm) // 3) :])[len(warm) // 6]
    served = sum(n for code, n in clients.seen.items() if code in {"200", "left"})
    print(f"{sum(clients.seen.values())} requests in {took_s:.0f} s: {dict(clients.seen)}")
    print(f"ledger: {held.totals['requests']} settled of {served} served or left")
    print(f"memory: {notes[0]:.0f} MB at first, {middle:.0f} warm, {end:.0f} at the end")
    print(f"growth once warm: {(end / middle - 1) * 100:+.1f} %")
    return int(end > middle * 1.05)


if __name__ == "__main__":
    sys.exit(main())

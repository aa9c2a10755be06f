"""A load generator on raw sockets with keep-alive: light, so that it is not the bottleneck.

Closed loop: each connection sends its next request when the last is answered. Each
request has a new last message, so that no gateway answers it from memory; ``fresh``
makes its document new too. Prints one JSON object.

Of whole answers the first of each connection counts as a request, but not among the times:
it waits for its connection to be accepted, which clients that keep theirs do once. Streams
count all of it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import cast

import uvloop

_SENTENCES = (
    "The gauge at the {} weir shows {} centimetres this morning. ",
    "When the flow rises above mark {1}, the {0} gate is opened. ",
    "Our team has to answer {1} customers before noon, and the {0} desk is closed. ",
    "The invoice of the {} office says {}.25 euros, which nobody expected. ",
    "She said that the {} shipment would arrive in Hamburg in {} days. ",
    "A pump moves {1} litres a minute while the {0} valve is half open. ",
    "What should I tell Maria about the {} contract, clause {}? ",
    "The function returns None where the {} table has no key {}. ",
)
_WORDS = ("lower", "upper", "spare", "winter", "second", "northern", "open", "quiet", "central")
_POOL = 1 << 20


@dataclass(frozen=True)
class Work:
    """What to send: where to, how large, how many at once, for how long (seconds)."""

    port: int
    key: str
    model: str
    size: int
    connections: int
    stream: bool
    seconds: float
    fresh: bool = False
    headers: dict[str, str] = field(default_factory=dict)


def pool(size: int = _POOL, seed: int = 7) -> str:
    """Plain sentences of ``size`` characters, of which requests take pieces."""
    rng = random.Random(seed)
    found: list[str] = []
    length = 0
    while length < size:
        found.append(rng.choice(_SENTENCES).format(rng.choice(_WORDS), rng.randrange(10, 10_000)))
        length += len(found[-1])
    return "".join(found)[:size]


def requests(work: Work) -> Iterator[bytes]:
    """Endless requests of about ``work.size`` body bytes."""
    size = max(0, work.size - 190)
    text = pool(max(_POOL, 2 * size))
    more = "".join(f"{name}: {value}\r\n" for name, value in work.headers.items())
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n{more}"
        f"authorization: Bearer {work.key}\r\ncontent-type: application/json\r\ncontent-length: "
    )
    prefix = f'{{"model":"{work.model}","messages":[{{"role":"system","content":"'
    tail = ',"stream":true}' if work.stream else "}"
    for number in itertools.count(time.time_ns() % 1_000_000_000):
        at = number * 7_919 % (len(text) - size) if work.fresh else 0
        fresh = f"{number} {text[at : at + size]}" if work.fresh else text[:size]
        question = f"Note {number}: what does the report of the gauge say about season {number}?"
        body = f'{prefix}{fresh}"}},{{"role":"user","content":"{question}"}}],"max_tokens":64{tail}'
        yield (head + str(len(body)) + "\r\n\r\n" + body).encode()


class Results:
    """What all connections saw; times in seconds."""

    def __init__(self) -> None:
        self.answered = 0
        self.total: list[float] = []
        self.first: list[float] = []
        self.errors = 0
        self.sample = ""


class Client(asyncio.Protocol):
    """One connection in a closed loop until ``until``; ``done`` is set when it has ended.

    The times of its first ``skip`` requests are left out.
    """

    def __init__(
        self, source: Iterator[bytes], until: float, results: Results, skip: int = 0
    ) -> None:
        self._source, self._until, self._results = source, until, results
        self._skip = skip
        self.done = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self._head, self._body, self._length = b"", 0, -2
        self._tail, self._first = b"", 0.0
        request = next(self._source)
        self._start = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Find the end of the head, then of the body."""
        if self._length == -2:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            data = self._head[end + 4 :]
            self._head = self._head[:end].lower()
            at = self._head.find(b"content-length:")
            self._length = -1 if at < 0 else int(self._head[at + 15 :].split(b"\r\n", 1)[0])
        if data and not self._first:
            self._first = time.perf_counter()
        self._body += len(data)
        self._tail = (self._tail + data)[-5:]
        if self._body == self._length or (self._length == -1 and self._tail == b"0\r\n\r\n"):
            self._finish()

    def _finish(self) -> None:
        now = time.perf_counter()
        if b" 200 " in self._head[:20]:
            self._results.answered += 1
            if self._skip <= 0:
                self._results.total.append(now - self._start)
                self._results.first.append(self._first - self._start)
            self._skip -= 1
        else:
            self._results.errors += 1
            self._results.sample = self._head[:60].decode("latin-1")
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a request that was cut off."""
        if self._length == -2 or exc is not None:
            self._results.errors += 1
            self._results.sample = f"connection lost: {exc}"
        if not self.done.done():
            self.done.set_result(None)


async def run(work: Work) -> dict[str, object]:
    """Do the work; times are milliseconds, percentiles of answered requests."""
    results, source = Results(), requests(work)
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    until = started + work.seconds
    clients, skip = [], 0 if work.stream else 1
    for _ in range(work.connections):
        made = loop.create_connection(
            lambda: Client(source, until, results, skip), "127.0.0.1", work.port
        )
        clients.append((await made)[1])
    late = work.seconds + 180
    await asyncio.wait_for(asyncio.gather(*(client.done for client in clients)), late)
    elapsed = time.perf_counter() - started
    return {
        "work": asdict(work),
        "requests": results.answered,
        "errors": results.errors,
        "sample": results.sample,
        "seconds": elapsed,
        "rps": results.answered / elapsed,
        "p50": percentile(results.total, 0.5),
        "p99": percentile(results.total, 0.99),
        "ttfb_p50": percentile(results.first, 0.5),
        "ttfb_p99": percentile(results.first, 0.99),
    }


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of ``values`` lie, milliseconds; NaN of none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", help="the Work as JSON")
    print(json.dumps(uvloop.run(run(Work(**json.loads(parser.parse_args().work))))))

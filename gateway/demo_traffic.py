"""The demo's client: the bundled prompts, sent over HTTP, and their receipts fetched back."""

from __future__ import annotations

import asyncio
import json
import lzma
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import httpx

Item = Mapping[str, Any]
_AT_ONCE = 6
_LARGE_CHARS = 30_000  # of text; such prompts go one at a time, as a small machine would want
_TIMEOUT = httpx.Timeout(120.0, connect=5.0)
_SETTLE_S = 20.0
_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Sent:
    """One prompt sent: its HTTP status (0: no answer), gateway request id, and duration."""

    item: Item
    status: int
    request_id: str
    duration_ms: float
    error: str = ""

    @property
    def fine(self) -> bool:
        """The whole answer came."""
        return self.status == 200 and not self.error


def bundled() -> list[Item]:
    """The prompts shipped with the package, in the order of the file."""
    packed = files("gateway").joinpath("data/demo.jsonl.xz").read_bytes()
    return [json.loads(line) for line in lzma.decompress(packed).decode().splitlines()]


def lanes(items: Sequence[Item]) -> list[list[Item]]:
    """Items that share a session or a document stand in one lane, in order; longest lanes first.

    What a provider's prompt cache gives then does not hang on who came first.
    """
    found: dict[str, list[Item]] = {}
    for item in items:
        name = item.get("session") or item.get("lane") or f"alone {item['id']}"
        found.setdefault(str(name), []).append(item)
    return sorted(found.values(), key=len, reverse=True)


def is_large(item: Item) -> bool:
    """Whether the prompt's text is long enough to keep a core busy for a while."""
    messages = item["body"]["messages"]
    return sum(len(str(message.get("content"))) for message in messages) > _LARGE_CHARS


async def send_all(
    base_url: str, key: str, items: Sequence[Item], on_sent: Callable[[Sent], None]
) -> list[Sent]:
    """Send every item, six lanes but one large prompt at once; ``on_sent`` hears of each end."""
    gate, narrow = asyncio.Semaphore(_AT_ONCE), asyncio.Semaphore(1)
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=_TIMEOUT) as client:

        async def lane(waiting: Sequence[Item]) -> list[Sent]:
            done = []
            async with gate:
                for item in waiting:
                    async with narrow if is_large(item) else nullcontext():
                        done.append(await send_one(client, item))
                    on_sent(done[-1])
            return done

        ended = await asyncio.gather(*(lane(waiting) for waiting in lanes(items)))
    return [sent for lane_ended in ended for sent in lane_ended]


async def send_one(client: httpx.AsyncClient, item: Item) -> Sent:
    """Send one prompt and read its answer to the end; failures are in the result."""
    headers = {"x-weir-tags": f"kind={item['kind']}"}
    if "session" in item:
        headers["x-weir-session"] = str(item["session"])
    started = time.perf_counter()
    status, request_id, error = 0, "", ""
    try:
        call = client.stream("POST", "/v1/chat/completions", json=item["body"], headers=headers)
        async with call as reply:
            status, request_id = reply.status_code, reply.headers.get("x-weir-request-id", "")
            content = await reply.aread()
        if status != 200:
            error = content.decode("utf-8", "replace")[:400]
        elif item["body"].get("stream") and not content.rstrip().endswith(b"data: [DONE]"):
            error = "the stream broke off"
    except httpx.HTTPError as failure:
        error = f"{type(failure).__name__}: {failure}"
    return Sent(item, status, request_id, (time.perf_counter() - started) * 1000, error)


async def receipts_of(base_url: str, key: str, sent: Sequence[Sent]) -> list[Mapping[str, Any]]:
    """The settled receipt of each answer, in order.

    Raises:
        TimeoutError: one was not settled within 20 s.
    """
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=_TIMEOUT) as client:
        async with asyncio.timeout(_SETTLE_S):
            return [await _receipt(client, one.request_id) for one in sent]


async def _receipt(client: httpx.AsyncClient, request_id: str) -> Mapping[str, Any]:
    while True:
        reply = await client.get(f"/weir/receipts/{request_id}")
        if reply.status_code == 200:
            found: Mapping[str, Any] = reply.json()
            if found["state"] == "settled":
                return found
        await asyncio.sleep(_PAUSE_S)

"""Requests and tokens a minute, and requests at once, for every node above a key.

Minutes slide (the `limits` library counts them): in memory, in a file that the workers of one
machine share, or in the Redis-compatible server of ``shared_state``. Requests at once are
counted on each machine. Prompt tokens count before a request is sent, completion tokens once
they are known. A key without limits costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from billing.accounts import VirtualKey
from billing.errors import Throttled
from gateway.exchange import Exchange

if TYPE_CHECKING:  # a fifth of a second to import: only where a key has such limits
    from limits import RateLimitItem
    from limits.strategies import SlidingWindowCounterRateLimiter

    from gateway.rate_store import Counts

log = logging.getLogger("weir")
_FULL_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
_RPM, _TPM = "rpm", "tpm"


@dataclass(frozen=True, slots=True)
class _Counters:
    """What counts: requests inside, minutes on this machine, minutes on a server or None."""

    inside: Counts
    here: SlidingWindowCounterRateLimiter
    server: SlidingWindowCounterRateLimiter | None


class RateLimits:
    """The limits of a process, or of all that share ``folder`` or ``state``.

    Args:
        folder: where processes of this machine share counts; None: this one is alone.
        state: a Redis-compatible server that several machines share.
    """

    def __init__(self, folder: Path | None = None, state: str | None = None) -> None:
        self._folder, self._state = folder, state
        self._made: _Counters | None = None

    def load(self) -> _Counters:
        """What counts is there; made when it is first needed, or before."""
        if self._made is None:
            from limits.strategies import SlidingWindowCounterRateLimiter

            from gateway.rate_store import Counts, SqliteStorage

            counts = Counts(":memory:" if self._folder is None else str(self._folder / "rates.db"))
            here = SlidingWindowCounterRateLimiter(SqliteStorage(counts))
            self._made = _Counters(counts, here, _of_server(self._state))
        return self._made

    @asynccontextmanager
    async def within(self, key: VirtualKey, ex: Exchange) -> AsyncIterator[None]:
        """The request is inside, counted, and at the end what it answered is counted, too.

        Raises:
            Throttled: one of the key's nodes has no room for it now.
        """
        seats = [(node, said.concurrency) for node, said in key.limits if said.concurrency]
        inside = self.load().inside
        full = inside.enter(seats) if seats else None
        if full is not None:
            most = dict(seats)[full]
            raise Throttled(
                f"{full} has {most} requests in flight, its limit (limits.concurrency); try again",
                _FULL_WAIT_S,
            )
        try:
            await self._take(key, _RPM, 1)
            yield
        finally:
            if seats:
                inside.leave(node for node, _ in seats)
            if ex.settled is not None and ex.settled.completion_tokens:
                await self._add(key, ex.settled.completion_tokens)

    async def prompt(self, key: VirtualKey, tokens: int) -> None:
        """So many prompt tokens are counted. Raises Throttled."""
        await self._take(key, _TPM, tokens)

    def close(self) -> None:
        """The counts are closed."""
        if self._made is not None:
            self._made.inside.close()

    async def _take(self, key: VirtualKey, kind: str, cost: int) -> None:
        """A cost is counted at every node of a key that has this limit, or refused."""
        for node, item in _items(key, kind):
            if cost > item.amount:
                raise Throttled(
                    f"this request has {cost} tokens, more than {node} may use in a minute "
                    f"(limits.{kind}: {item.amount}); make it shorter",
                    _LONGEST_WAIT_S,
                )
        for node, item in _items(key, kind):
            if not await self._ask(item, node, kind, cost):
                wait_s = await self._wait(item, node, kind)
                raise Throttled(
                    f"{node} is at its limit of {item.amount} {_WORDS[kind]} a minute "
                    f"(limits.{kind}); try again in {wait_s:.0f} s",
                    wait_s,
                )

    async def _add(self, key: VirtualKey, tokens: int) -> None:
        """Tokens that were used are counted, as far as the limit goes."""
        for node, item in _items(key, _TPM):
            left = (await self._stats(item, node, _TPM))[1]
            if left:
                await self._ask(item, node, _TPM, min(tokens, left))

    async def _ask(self, item: RateLimitItem, node: str, kind: str, cost: int) -> bool:
        counters = self.load()
        if counters.server is not None:
            try:
                return await asyncio.to_thread(counters.server.hit, item, kind, node, cost=cost)
            except Exception as error:  # noqa: BLE001 - whatever the server's client raises
                log.error("rate limits are this machine's alone: %s", error)
        return counters.here.hit(item, kind, node, cost=cost)

    async def _stats(self, item: RateLimitItem, node: str, kind: str) -> tuple[float, int]:
        """When there is room again, epoch seconds, and how much there is now."""
        counters = self.load()
        if counters.server is not None:
            try:
                found = await asyncio.to_thread(counters.server.get_window_stats, item, kind, node)
            except Exception as error:  # noqa: BLE001 - as above
                log.error("rate limits are this machine's alone: %s", error)
            else:
                return found.reset_time, found.remaining
        stats = counters.here.get_window_stats(item, kind, node)
        return stats.reset_time, stats.remaining

    async def _wait(self, item: RateLimitItem, node: str, kind: str) -> float:
        reset = (await self._stats(item, node, kind))[0]
        left = reset - time.time()  # noqa: TID251 - the library counts in wall time
        return min(max(left, 1.0), _LONGEST_WAIT_S)


def limited(key: VirtualKey) -> bool:
    """Whether any node above a key limits how often or how much it may ask."""
    return any(said.rpm or said.tpm or said.concurrency for _, said in key.limits)


_WORDS = {_RPM: "requests", _TPM: "tokens"}


def _items(key: VirtualKey, kind: str) -> list[tuple[str, RateLimitItem]]:
    """The nodes of a key that have a limit of this kind."""
    from limits import RateLimitItemPerMinute

    found: list[tuple[str, RateLimitItem]] = []
    for node, said in key.limits:
        amount = said.rpm if kind == _RPM else said.tpm
        if amount is not None:
            found.append((node, RateLimitItemPerMinute(amount, namespace="weir")))
    return found


def _of_server(state: str | None) -> SlidingWindowCounterRateLimiter | None:
    if state is None:
        return None
    from limits.storage import Storage, storage_from_string
    from limits.strategies import SlidingWindowCounterRateLimiter

    storage = storage_from_string(state, socket_timeout=1.0, socket_connect_timeout=1.0)
    if not isinstance(storage, Storage):
        raise TypeError(f"{state.split(':', 1)[0]} cannot count")
    return SlidingWindowCounterRateLimiter(storage)

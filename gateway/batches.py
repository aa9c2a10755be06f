"""Batches from hold to receipts: started, watched, settled once, whoever asks first.

A batch takes up to a day, so its hold outlives the process (`Ledger.keep`). One process keeps
it: it holds again after a restart, asks the provider now and then, and settles when the output
is there. A client that fetches an ended batch through any process has it settled at once. What
nobody can tell any more is charged at the hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import orjson

from billing.batches import OPEN, SETTLED, BatchStore, StoredBatch, StoredFile
from billing.errors import BudgetExhausted, LedgerUnavailable, Throttled
from billing.ledger import Hold, Ledger
from billing.recovery import orphan
from gateway.batch_bill import BatchBill, post
from gateway.batch_rows import RowEnd, ended
from gateway.errors import UpstreamFailed, UpstreamTimeout, place
from gateway.snapshot import Snapshot
from gateway.upstream.storage import Ask, Storage, Stored

log = logging.getLogger("weir")
LOST_MS = 24 * 3_600_000
"""A batch that its provider does not know, this long after it was started, is charged."""
FORGOTTEN_MS = 32 * LOST_MS
"""Providers keep results for a month; what is older is not waited for."""
_LEASES = 3
_PIECE_BYTES = 1 << 20
_ENDED = frozenset({"completed", "failed", "expired", "cancelled", "ended"})
_TROUBLE = (UpstreamFailed, UpstreamTimeout, LedgerUnavailable)

Json = Mapping[str, Any]


class Batches:
    """The files and batches of a process's teams; ``clock`` gives UTC epoch ms."""

    def __init__(
        self,
        url: str,
        ledger: Ledger,
        snapshot: Callable[[], Snapshot],
        clock: Callable[[], int],
    ) -> None:
        self.store = BatchStore(url)
        self.keeper = f"{os.getpid()}-{os.urandom(6).hex()}"
        self._ledger, self._snapshot, self._clock = ledger, snapshot, clock
        self._alone = type(ledger) is Ledger  # no other process has it
        self._storages: dict[str, Storage] = {}
        self._held: dict[tuple[str, str], StoredBatch] = {}
        self._strays: set[tuple[str, str]] = set()

    def storage(self, upstream: str) -> Storage:
        """The way to one upstream's files, as it is configured now."""
        spec = self._snapshot().settings.upstreams[upstream]
        found = self._storages.get(upstream)
        if found is None or found.spec != spec:
            found = self._storages[upstream] = Storage(spec)
        return found

    def lease_ms(self) -> int:
        """Until when what is kept now is kept, unless it is said again."""
        wait_s = self._snapshot().settings.server.sweep_seconds
        return self._clock() + int(_LEASES * wait_s * 1000)

    def begin(self, batch: StoredBatch) -> None:
        """It was started: its hold outlives this process, which keeps it."""
        self.store.add_batch(batch, self.lease_ms())
        self._ledger.keep(_hold(batch))
        self._held[batch.upstream, batch.id] = batch

    async def run(self) -> None:
        """Keep, watch and settle, for ever."""
        if self._alone and self.store.begun:
            with contextlib.suppress(LedgerUnavailable):
                await asyncio.to_thread(self.store.restart)
        while True:
            try:
                await self.tick()
            except LedgerUnavailable as error:
                log.warning("batches are looked at later: %s", error)
            except Exception as error:  # noqa: BLE001 - the next look may go well
                log.error("looking at batches failed, trying again: %s", place(error))
            await asyncio.sleep(self._snapshot().settings.server.sweep_seconds)

    async def tick(self) -> None:
        """One look at every batch that this process keeps, or has to take over."""
        if not self.store.begun:
            return
        await asyncio.to_thread(self._take_over)
        kept = await asyncio.to_thread(self.store.kept_by, self.keeper)
        await asyncio.to_thread(self._let_strays_go, {(one.upstream, one.id) for one in kept})
        for batch in kept:
            await asyncio.to_thread(self.store.keep_on, self.keeper, self.lease_ms())
            if batch.state == SETTLED:
                await asyncio.to_thread(self._let_go, batch)
            else:
                await self._watch(batch)

    async def close(self) -> None:
        """Others may keep what this process kept."""
        if self.store.begun:
            with contextlib.suppress(LedgerUnavailable):
                await asyncio.to_thread(self.store.keep_on, self.keeper, 0)
        for storage in self._storages.values():
            await storage.close()
        await asyncio.to_thread(self.store.close)

    async def settle(self, batch: StoredBatch, shown: Json) -> bool:
        """An ended batch is on the ledger; False where it has not ended or another is at it.

        Raises:
            UpstreamFailed, UpstreamTimeout, LedgerUnavailable: nothing is lost, try again.
        """
        if batch.state != OPEN or status_of(shown) not in _ENDED:
            return False
        await self._learn(batch, shown)
        if not await asyncio.to_thread(self.store.claim, batch, self._clock()):
            return False
        state = OPEN
        try:
            ends = [end async for end in self._ends(batch, shown)]
            await asyncio.to_thread(self._post, batch, ends, served_of(shown))
            state = SETTLED
        finally:
            await asyncio.shield(asyncio.to_thread(self.store.unclaim, batch, state))
        return True

    async def charge(self, batch: StoredBatch) -> None:
        """What nobody can tell any more is charged at its hold."""
        if await asyncio.to_thread(self.store.claim, batch, self._clock()):
            hold = batch.hold
            receipt = orphan(hold, hold.amount_nano, hold.at_ms, "provisional")
            await asyncio.to_thread(self._ledger.settle, _hold(batch), receipt)
            await asyncio.to_thread(self.store.unclaim, batch, SETTLED)
            log.warning("batch %s is charged at its hold: no word came of it", batch.id)

    async def fetch(self, upstream: str, path: str) -> Stored:
        """What lies at a provider under a path. Raises UpstreamFailed, UpstreamTimeout."""
        return await self.storage(upstream).send(Ask("GET", path, {}))

    def _take_over(self) -> None:
        """What nobody keeps any more is this process's, and held again."""
        store, now = self.store, self._clock()
        store.keep_on(self.keeper, self.lease_ms())
        before = now + FORGOTTEN_MS if self._alone else now
        for batch in store.take_over(self.keeper, before, self.lease_ms()):
            if self._ledger.at_hand(batch.hold.request_id) is not None:
                store.unclaim(batch, SETTLED)  # the process died before it could keep the hold
                continue
            if (batch.upstream, batch.id) in self._held:
                continue  # it was away for a while, and held on
            try:
                self._ledger.hold(batch.hold)
            except (BudgetExhausted, Throttled, ValueError) as error:
                log.warning("batch %s runs without a hold: %s", batch.id, error)
            except LedgerUnavailable:
                store.hand_back(batch)
                raise
            self._held[batch.upstream, batch.id] = batch

    def _let_strays_go(self, kept: set[tuple[str, str]]) -> None:
        """What another process took over, while this one was slow, is held there.

        A look later than it was missed, so that the other has surely held it by then.
        """
        gone = set(self._held) - kept
        for name in gone & self._strays:
            self._ledger.release(_hold(self._held.pop(name)), "kept by another process")
        self._strays = gone - self._strays

    def _let_go(self, batch: StoredBatch) -> None:
        self._ledger.release(_hold(batch), "settled by another process")
        self._held.pop((batch.upstream, batch.id), None)
        self.store.let_go(batch)

    async def _watch(self, batch: StoredBatch) -> None:
        age_ms = self._clock() - batch.at_ms
        try:
            answer = await self.fetch(batch.upstream, path_of(batch))
            body = await answer.read()
            if answer.status == 404 and age_ms > LOST_MS:
                await self.charge(batch)
            if answer.status == 200:
                await asyncio.to_thread(self.store.show, batch, body)
                if await self.settle(batch, read(body)):
                    await asyncio.to_thread(self._let_go, batch)
                    return
        except _TROUBLE as error:
            log.warning("batch %s is looked at later: %s", batch.id, error)
        except KeyError:
            log.warning("batch %s: upstream %r is not declared", batch.id, batch.upstream)
        if age_ms > FORGOTTEN_MS:
            await self.charge(batch)

    async def _learn(self, batch: StoredBatch, shown: Json) -> None:
        """The files that a batch made are its team's."""
        for name in files_of(shown):
            file = StoredFile(batch.upstream, name, batch.team, self._clock(), b"")
            await asyncio.to_thread(self.store.add_file, file)

    async def _ends(self, batch: StoredBatch, shown: Json) -> AsyncIterator[RowEnd]:
        """What the provider's output says of each row; read off the event loop."""
        paths = [f"{files_root(batch.wire)}/{name}/content" for name in files_of(shown)]
        if batch.wire == "messages":
            paths = [f"{path_of(batch)}/results"]
        for path in paths:
            answer = await self.fetch(batch.upstream, path)
            if answer.status != 200:
                answer.close()
                raise UpstreamFailed(
                    f"upstream {batch.upstream!r} answered {answer.status} for a batch's output"
                )
            async for lines in in_pieces(answer):
                for end in await asyncio.to_thread(_ended, lines):
                    yield end

    def _post(self, batch: StoredBatch, ends: list[RowEnd], served: int | None) -> None:
        # Its closing row comes last and bears the hold's name: with that in the ledger all of it
        # is, or its hold was charged when nobody could keep it. Rows beside would charge twice.
        if self._ledger.at_hand(batch.hold.request_id) is not None:
            log.warning("batch %s is on the ledger already", batch.id)
            return
        bill = BatchBill(self._snapshot(), batch)
        cost = post(self._ledger, batch, bill.receipts(ends, served))
        if not any(end.status for end in ends) and not served:
            self._ledger.release(_hold(batch), "nothing of the batch was served")
        log.info("batch %s is settled: %d rows, %d nano-USD", batch.id, len(ends), cost)


def _ended(lines: list[bytes]) -> list[RowEnd]:
    return [end for end in map(ended, lines) if end is not None]


def _hold(batch: StoredBatch) -> Hold:
    return Hold(batch.hold.request_id, batch.hold.amount_nano, batch.hold.at_ms)


async def in_pieces(answer: Stored) -> AsyncIterator[list[bytes]]:
    """The lines of an answer, about a megabyte at a time."""
    lines: list[bytes] = []
    size = 0
    async for line in answer.lines():
        lines.append(line)
        size += len(line)
        if size > _PIECE_BYTES:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines


def read(body: bytes) -> Json:
    """A provider's JSON object; an empty one where it is none."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def status_of(shown: Json) -> str:
    """OpenAI's or Anthropic's word for how far a batch is."""
    return str(shown.get("processing_status") or shown.get("status"))


def served_of(shown: Json) -> int | None:
    """How many rows the provider says it served; None where it does not say."""
    counts = shown.get("request_counts")
    if not isinstance(counts, Mapping):
        return None
    count = counts.get("completed", counts.get("succeeded"))
    return count if isinstance(count, int) and count >= 0 else None


def files_of(shown: Json) -> list[str]:
    """The files that a batch has made."""
    names = (shown.get(name) for name in ("output_file_id", "error_file_id"))
    return [name for name in names if isinstance(name, str) and name]


def files_root(wire: str) -> str:
    """Where files lie below an upstream's address."""
    return "/v1/files" if wire == "messages" else "/files"


def path_of(batch: StoredBatch) -> str:
    """Where a batch lies below its upstream's address."""
    root = "/v1/messages/batches" if batch.wire == "messages" else "/batches"
    return f"{root}/{batch.id}"

"""Which ledger a process has: its own, or its part in one that several share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from billing.errors import Throttled
from billing.ledger import Hold, HoldRequest, Ledger
from billing.schema import is_postgresql
from gateway.settings import Settings

WAITS_S = (0.05, 0.1, 0.2)
"""How long other processes are waited for when they hold more of a budget than they use."""


def ledger_for(settings: Settings, clock: Callable[[], int], *, several: bool) -> Ledger:
    """The ledger of the settings, not yet open; ``several`` processes run on this machine."""
    state, url = settings.shared_state, settings.database
    if not (several or state or is_postgresql(url)):
        return Ledger(url, settings.accounts, clock)
    from billing.shared_ledger import SharedLedger

    folder = Path(settings.journal)
    return SharedLedger(url, settings.accounts, clock, state=state, folder=folder)


async def held(ledger: Ledger, request: HoldRequest) -> Hold:
    """The hold, made here where memory can tell, else off the event loop.

    Raises:
        BudgetExhausted, Throttled, LedgerUnavailable: as ``Ledger.hold``.
    """
    found = ledger.hold_now(request)
    if found is not None:
        return found
    for wait_s in WAITS_S:
        try:
            return await _asked(ledger, request)
        except Throttled:
            await asyncio.sleep(wait_s)
    return await _asked(ledger, request)


async def _asked(ledger: Ledger, request: HoldRequest) -> Hold:
    """A hold that may wait for a shared store; one that comes too late is given back."""
    work = asyncio.ensure_future(asyncio.to_thread(ledger.hold, request))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        work.add_done_callback(lambda done: _give_back(ledger, done))
        raise


def _give_back(ledger: Ledger, done: asyncio.Future[Hold]) -> None:
    if not done.cancelled() and done.exception() is None:
        ledger.release(done.result(), "the client left before it was sent")

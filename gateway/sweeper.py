"""The sweep: holds whose request is long over are charged, now and every while.

A request settles its own hold. Where that did not happen (a fault of the gateway, a process
or a machine that died and left nothing behind), the hold would stand for ever. What a
provider may have billed is never given back on a guess: it is charged at the reservation.
"""

from __future__ import annotations

import asyncio
import logging

from billing.errors import LedgerUnavailable
from billing.ledger import Ledger
from gateway.settings import Settings
from gateway.upstream.failover import MAX_ATTEMPTS

log = logging.getLogger("weir")


def expiry_ms(settings: Settings) -> int:
    """The age beyond which a hold has no request any more, milliseconds.

    As configured, or twice as long as all attempts of a request may take together.
    """
    said = settings.server.hold_expiry_seconds
    if said is None:
        longest = max(spec.timeouts.total for spec in settings.upstreams.values())
        said = 2 * MAX_ATTEMPTS * longest
    return int(said * 1000)


async def sweep_for_ever(ledger: Ledger, settings: Settings) -> None:
    """Sweep at once, then every ``server.sweep_seconds``."""
    while True:
        try:
            count = await asyncio.to_thread(ledger.sweep, expiry_ms(settings))
        except LedgerUnavailable as error:
            log.warning("holds are swept later: %s", error)
        else:
            if count:
                log.warning("charged %d holds whose requests are long over", count)
        await asyncio.sleep(settings.server.sweep_seconds)

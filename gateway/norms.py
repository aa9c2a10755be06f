"""The figures of untouched traffic, kept up to date in this process, off the hot path."""

from __future__ import annotations

import asyncio
import logging

from billing.errors import BillingError
from billing.untouched import refresh
from gateway.shell import Shell

log = logging.getLogger("weir")
EVERY_S = 60.0
_BETWEEN_S = 0.2


def refreshed(shell: Shell) -> bool:
    """The process has the ledger's figures; True: there is more to read. Raises BillingError."""
    shell.norms, more = refresh(shell.desk, shell.clock())
    return more


async def keep_norms(shell: Shell) -> None:
    """Refresh at once, then every minute; a ledger that cannot be read keeps what was."""
    while True:
        more = False
        try:
            more = await asyncio.to_thread(refreshed, shell)
        except BillingError as error:
            log.warning("figures of untouched traffic are older: %s", error)
        await asyncio.sleep(_BETWEEN_S if more else EVERY_S)

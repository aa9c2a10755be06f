"""Grants that come into force and end while the gateway runs, without a reload.

Every two seconds the ledger's grants are read; when those that run now are others than
before, the ledger gets the same accounts with the limits that follow.
"""

from __future__ import annotations

import asyncio
import logging

from billing.accounts import Accounts
from billing.desk import Desk
from billing.errors import BillingError
from billing.grants import Grant, granted, grants_until
from gateway.shell import Shell

log = logging.getLogger("weir")
POLL_S = 2.0


class GrantWatch:
    """Keeps ``shell.grants`` and the ledger's limits what the grants say."""

    def __init__(self, shell: Shell, desk: Desk) -> None:
        self._shell, self._desk = shell, desk

    def accounts(self, accounts: Accounts) -> Accounts:
        """These accounts with the grants that run now."""
        return granted(accounts, self._shell.grants)

    def refresh(self) -> None:
        """The grants in force are those of the ledger, now. Raises LedgerUnavailable."""
        shell, now = self._shell, self._shell.clock()
        running = tuple(grant for grant in grants_until(self._desk, now) if grant.runs(now))
        if running == shell.grants:
            return
        shell.ledger.use(granted(shell.snapshot.accounts, running))
        _told(shell.grants, running)
        shell.grants = running

    async def run(self) -> None:
        """Refresh for ever; a ledger that cannot be read keeps what was."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await asyncio.to_thread(self.refresh)
            except BillingError as error:
                log.error("grants not read, those before stay: %s", error)


def _told(before: tuple[Grant, ...], now: tuple[Grant, ...]) -> None:
    for grant in now:
        if grant not in before:
            log.warning("grant %s for %s by %s is in force", grant.id, grant.node, grant.granted_by)
    for grant in before:
        if grant not in now:
            log.warning("grant %s for %s has ended", grant.id, grant.node)

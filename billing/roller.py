"""When receipts are rolled up: by whoever writes them, when there is nothing more urgent.

Nothing waits for it: the hot path writes its journal meanwhile, and a report adds what is
not rolled up from receipts. An older ledger catches up the same way, a batch at a time.
"""

from __future__ import annotations

import logging
import time

from billing.errors import LedgerUnavailable
from billing.rollup import BATCH
from billing.store_rows import Tables

_LOG = logging.getLogger(__name__)
_TOLD_EVERY_S = 15.0
_MUCH = 4
"""So many batches are rolled up even while there is more to write."""


class Roller:
    """Keeps one process's part of the roll-ups. Used by the writer's thread alone."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._left = BATCH  # how far behind an earlier process left them is not known yet
        self._told = time.monotonic()
        self._trouble = False

    def posted(self, count: int) -> None:
        """So many postings were written."""
        self._left += count

    def turn(self, *, idle: bool) -> bool:
        """A batch was rolled up and there is another to do; False: there is nothing to do now."""
        if self._left < (BATCH if idle else _MUCH * BATCH):
            return False
        try:
            self._left = self._tables.roll_up(BATCH)
        except LedgerUnavailable as error:
            if not self._trouble:
                _LOG.warning("roll-ups wait, reports are slower meanwhile: %s", error)
            self._trouble, self._left = True, 0
            return False
        self._trouble = False
        if self._left >= BATCH and time.monotonic() - self._told > _TOLD_EVERY_S:
            self._told = time.monotonic()
            _LOG.warning("rolling up: %d receipts to go; reports are exact meanwhile", self._left)
        return self._left >= BATCH

"""The pools that CPU-heavy work goes to, and their size limits.

Counting releases the interpreter lock; ranking does not, so few threads with a short
switch interval keep the event loop's turn coming. Where a body is so big that single calls
would hold the lock for long, its thread only waits for a helper process (``aside.py``). When
the queue is full the request is refused: work without a bound would slow every other request
instead.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gateway.aside import Helpers

T = TypeVar("T")

# The lock is handed on this often, so a ranking thread delays the loop by little.
SWITCH_INTERVAL_S = 0.0005
MOST_HELPERS = 4  # each takes some 130 MB


class QueueFull(RuntimeError):
    """More work is waiting than the pool takes."""


class Workers:
    """Bounded thread pools; ``run`` leaves the event loop free.

    ``helpers`` do the heavy part of what is run ``aside``.
    """

    def __init__(
        self, threads: int | None = None, max_waiting: int = 64, helpers: int | None = None
    ) -> None:
        cores = os.cpu_count() or 2
        self._pool = ThreadPoolExecutor(
            max_workers=threads or max(2, cores), thread_name_prefix="weir-work"
        )
        self.helpers = Helpers(helpers or max(2, min(MOST_HELPERS, cores)))
        self._waiters = ThreadPoolExecutor(
            max_workers=self.helpers.most, thread_name_prefix="weir-aside"
        )
        self._max_waiting = max_waiting
        self._waiting = 0
        sys.setswitchinterval(SWITCH_INTERVAL_S)

    async def run(self, work: Callable[[], T], *, aside: bool = False) -> T:
        """``work()`` in a thread, ``aside`` in one that mostly waits for a helper.

        Raises:
            QueueFull: too much is waiting already; nothing was started.
        """
        if self._waiting >= self._max_waiting:
            raise QueueFull(f"{self._waiting} pieces of work are waiting")
        self._waiting += 1
        try:
            pool = self._waiters if aside else self._pool
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Let running work end, drop what waits; helpers end now."""
        self.helpers.close()
        self._waiters.shutdown(wait=False, cancel_futures=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

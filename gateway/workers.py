"""The pool that CPU-heavy work goes to, and its size limits.

Counting releases the interpreter lock; ranking does not, so few threads with a short
switch interval keep the event loop's turn coming. When the queue is full the request is
refused: work without a bound would slow every other request instead.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

# The lock is handed on this often, so a ranking thread delays the loop by little.
SWITCH_INTERVAL_S = 0.0005


class QueueFull(RuntimeError):
    """More work is waiting than the pool takes."""


class Workers:
    """A bounded thread pool; ``run`` leaves the event loop free."""

    def __init__(self, threads: int | None = None, max_waiting: int = 64) -> None:
        self._pool = ThreadPoolExecutor(
            max_workers=threads or max(2, os.cpu_count() or 2), thread_name_prefix="weir-work"
        )
        self._max_waiting = max_waiting
        self._waiting = 0
        sys.setswitchinterval(SWITCH_INTERVAL_S)

    async def run(self, work: Callable[[], T]) -> T:
        """``work()`` in a thread.

        Raises:
            QueueFull: too much is waiting already; nothing was started.
        """
        if self._waiting >= self._max_waiting:
            raise QueueFull(f"{self._waiting} pieces of work are waiting")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Let running work end, drop what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)

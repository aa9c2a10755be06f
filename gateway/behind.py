"""Work that goes on behind an answer: a few tasks at a time, ended with the process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("weir")
MOST = 8  # at one time; what comes beyond is left out, never queued


class Behind:
    """The tasks under way, so that none is lost and none outlives the process unsettled."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether no more work is taken just now."""
        return self._closed or len(self._tasks) >= self._most

    def start(self, work: Coroutine[Any, Any, None]) -> bool:
        """The work begins soon; False where too much is under way (it is closed then)."""
        if self.busy:
            work.close()
            return False
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return True

    async def close(self) -> None:
        """Everything under way is cancelled and has ended."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("work behind an answer failed: %s", type(task.exception()).__name__)

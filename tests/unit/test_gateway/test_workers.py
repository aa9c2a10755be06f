"""The pool for heavy work, its bound, and the ids."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gateway.ids import new_id
from gateway.workers import QueueFull, Workers


async def test_work_leaves_the_event_loop() -> None:
    """The result comes back from another thread."""
    workers = Workers(threads=1)
    assert await workers.run(threading.get_ident) != threading.get_ident()
    workers.close()


async def test_a_full_queue_refuses_at_once_and_empties() -> None:
    """Beyond the bound nothing is started; when work ends there is room again."""
    workers = Workers(threads=1, max_waiting=2)
    go = threading.Event()
    waiting = [asyncio.create_task(workers.run(go.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull):
        await workers.run(lambda: True)
    go.set()
    assert await asyncio.gather(*waiting) == [True, True]
    assert await workers.run(lambda: 7) == 7
    workers.close()


async def test_an_error_in_work_reaches_the_one_who_asked() -> None:
    """The exception is the caller's, and the place in the queue is free again."""
    workers = Workers(threads=1, max_waiting=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await workers.run(lambda: 1 // 0)
    workers.close()


def test_ids_sort_by_time_and_never_repeat() -> None:
    """A later instant sorts later; the same instant gives different ids."""
    assert new_id(1_700_000_000_000) < new_id(1_700_000_000_001)
    assert len({new_id(1_700_000_000_000) for _ in range(1000)}) == 1000
    assert len(new_id(0)) == 26

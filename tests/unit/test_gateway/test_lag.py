"""How late the event loop is."""

from __future__ import annotations

import asyncio
import contextlib
import time

from gateway.lag import watch


async def _noted(busy_s: float) -> list[float]:
    notes: list[float] = []
    task = asyncio.create_task(watch(notes.append, every_s=0.005))
    await asyncio.sleep(0.03)
    time.sleep(busy_s)
    await asyncio.sleep(0.03)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return notes


def test_a_stall_counts_by_its_length() -> None:
    """A stall is noted once for each moment at which somebody would have waited for it."""
    notes = asyncio.run(_noted(0.2))
    assert 0.19 < max(notes) < 2
    assert sum(late > 0.05 for late in notes) >= 25


def test_an_idle_loop_is_noted_too() -> None:
    """Without work the notes go on, so that a share of them is a share of the time."""
    assert len(asyncio.run(_noted(0.0))) >= 4

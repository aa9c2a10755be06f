"""How late the event loop is: what everybody waits for beyond their own work.

A task sleeps for a short while, again and again, and notes by how much it woke too late. A
long stall is noted as often as it would have been seen had nothing waited for it, so that a
share of the notes is a share of the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

EVERY_S = 0.02


async def watch(note: Callable[[float], None], every_s: float = EVERY_S) -> None:
    """Tell ``note`` seconds of lag, some fifty times a second, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + every_s
        await asyncio.sleep(every_s)
        late = max(0.0, loop.time() - due)
        note(late)
        while late > every_s:
            late -= every_s
            note(late)

"""Work behind answers: bounded, never lost, ended with the process."""

from __future__ import annotations

import asyncio
import logging

import pytest

from gateway.behind import Behind


def test_no_more_than_a_few_at_a_time() -> None:
    """What comes beyond is refused at once, and there is room again when one has ended."""

    async def run() -> list[bool]:
        behind, gate = Behind(most=2), asyncio.Event()

        async def work() -> None:
            await gate.wait()

        begun = [behind.start(work()) for _ in range(3)]
        gate.set()
        await asyncio.sleep(0.01)
        return [*begun, behind.start(work())]

    assert asyncio.run(run()) == [True, True, False, True]


def test_closing_cancels_and_waits_for_the_end() -> None:
    """A task has done what it does on its end before closing is over; then none begins."""

    async def run() -> tuple[list[str], bool]:
        behind, seen = Behind(), list[str]()

        async def work() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                seen.append("settled")

        behind.start(work())
        await asyncio.sleep(0)
        await behind.close()
        return seen, behind.start(work())

    assert asyncio.run(run()) == (["settled"], False)


def test_a_failure_is_logged_by_its_name(caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong behind an answer is seen, without any of its text."""

    async def run() -> None:
        async def work() -> None:
            raise ValueError("a prompt")

        Behind().start(work())
        await asyncio.sleep(0.01)

    with caplog.at_level(logging.ERROR, logger="weir"):
        asyncio.run(run())
    assert [r.getMessage() for r in caplog.records] == ["work behind an answer failed: ValueError"]

"""What processes and machines tell each other of conversations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from engines import valkey

from gateway.recall_feed import (
    MOST_WAITING,
    Channel,
    Feed,
    FileChannel,
    RedisChannel,
    channel_of,
)


@pytest.fixture(params=["file", "server"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Channel]]:
    """Channels of one place: a file, or a Redis-compatible server."""
    if request.param == "file":
        yield lambda: FileChannel(tmp_path / "recall.db")
        return
    with valkey() as url:
        yield lambda: RedisChannel(url)


def test_everybody_hears_what_others_told_once_and_nothing_of_himself(
    make: Callable[[], Channel],
) -> None:
    """Events arrive in order, once, at everybody else, even at who comes later."""
    one, two = make(), make()
    one.publish([b"a", b"b"])
    two.publish([b"c"])
    assert two.fetch() == [b"a", b"b"]
    assert one.fetch() == [b"c"]
    assert (one.fetch(), two.fetch()) == ([], [])
    assert make().fetch() == [b"a", b"b", b"c"]
    one.close()
    two.close()


def test_a_feed_carries_events_both_ways(make: Callable[[], Channel]) -> None:
    """What one feed is told the other hears, as it was."""
    heard: list[Mapping[str, Any]] = []

    async def story() -> None:
        first, second = Feed(make, heard.append), Feed(make, heard.append)
        first.tell({"name": 7, "sent": [1, 2**62]})
        await first.exchange()
        await second.exchange()
        await second.close()
        await first.close()

    asyncio.run(story())
    assert heard == [{"name": 7, "sent": [1, 2**62]}]


def test_catching_up_hears_at_once(make: Callable[[], Channel]) -> None:
    """A request whose last turn was elsewhere has its news before it is decided."""
    heard: list[Mapping[str, Any]] = []

    async def story() -> None:
        first, second = Feed(make, print), Feed(make, heard.append)
        running = [asyncio.create_task(feed.run()) for feed in (first, second)]
        await asyncio.sleep(0.05)
        first.tell({"turn": 1})
        await asyncio.sleep(0.05)
        await second.catch_up()
        for task in running:
            task.cancel()

    asyncio.run(story())
    assert heard == [{"turn": 1}]


class Broken:
    """A channel whose other side is gone."""

    def publish(self, events: Sequence[bytes]) -> None:
        """As ``Channel``."""
        raise ConnectionError("gone")

    def fetch(self) -> list[bytes]:
        """As ``Channel``."""
        raise ConnectionError("gone")

    def close(self) -> None:
        """Nothing."""


def test_without_the_other_side_everybody_remembers_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A store that fails is logged once and keeps no request waiting; memory stays bounded."""
    feed = Feed(Broken, print)

    async def story() -> None:
        for _ in range(MOST_WAITING + 10):
            feed.tell({"a": 1})
        for _ in range(3):
            await feed.exchange()
            await feed.catch_up()

    with caplog.at_level(logging.ERROR):
        asyncio.run(story())
    assert len(caplog.records) == 1
    assert "this process's own" in caplog.text


def test_an_event_that_cannot_be_read_is_skipped(tmp_path: Path) -> None:
    """News of another version is left out; the rest is heard."""
    heard: list[int] = []

    def take(event: Mapping[str, Any]) -> None:
        heard.append(event["known"])

    other = FileChannel(tmp_path / "recall.db")
    other.publish([b"no json", b'{"else": 1}', b'{"known": 1}'])
    asyncio.run(Feed(lambda: FileChannel(tmp_path / "recall.db"), take).exchange())
    assert heard == [1]


def test_a_process_alone_tells_nobody(tmp_path: Path) -> None:
    """A channel is made for workers or machines, and for nobody else."""
    assert channel_of(None, None) is None
    assert channel_of(tmp_path, None) is not None
    assert channel_of(tmp_path, "redis://127.0.0.1:1/0") is not None

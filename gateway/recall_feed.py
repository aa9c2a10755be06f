"""What processes and machines that share the work tell each other of conversations.

Settled requests are told as small events: through a file that the workers of one machine
share, or a stream of the Redis-compatible server of ``shared_state``. A decision never waits
for it; only a request whose last turn another process may have answered is caught up for
first. Without the other side everybody remembers alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import orjson

log = logging.getLogger("weir")

POLL_S = 0.25
PATIENCE_S = 0.25  # how long one request waits for news of its conversation
MOST_WAITING = 10_000
KEPT = 20_000
_BATCH = 2_000
_STREAM = "weir:recall"
_TABLE = """CREATE TABLE IF NOT EXISTS events
    (id INTEGER PRIMARY KEY AUTOINCREMENT, who TEXT NOT NULL, body BLOB NOT NULL)"""


class Channel(Protocol):
    """Where events are told; blocking, called off the event loop, one call at a time."""

    def publish(self, events: Sequence[bytes]) -> None:
        """Others will hear of these."""

    def fetch(self) -> list[bytes]:
        """What others have told since the last call, oldest first."""

    def close(self) -> None:
        """Nothing more is told or heard."""


class FileChannel:
    """A SQLite file that processes of one machine share; nothing in it is worth keeping."""

    def __init__(self, path: Path) -> None:
        self._me = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._db = sqlite3.connect(path, timeout=2, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute(_TABLE)
        self._last = 0

    def publish(self, events: Sequence[bytes]) -> None:
        """As ``Channel``; the oldest events are dropped beyond 20,000."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                "INSERT INTO events (who, body) VALUES (?, ?)", [(self._me, e) for e in events]
            )
            self._db.execute("DELETE FROM events WHERE id <= (SELECT MAX(id) FROM events) - ?",
                             (KEPT,))  # fmt: skip
        finally:
            self._db.execute("COMMIT")

    def fetch(self) -> list[bytes]:
        """As ``Channel``."""
        rows = self._db.execute(
            "SELECT id, who, body FROM events WHERE id > ? ORDER BY id LIMIT ?",
            (self._last, _BATCH),
        ).fetchall()
        if rows:
            self._last = rows[-1][0]
        return [body for _, who, body in rows if who != self._me]

    def close(self) -> None:
        """As ``Channel``."""
        self._db.close()


class RedisChannel:
    """A stream of a Redis-compatible server; a process that starts hears the last 20,000."""

    def __init__(self, url: str) -> None:
        import redis  # only where machines share state

        self._me = secrets.token_hex(8).encode()
        self._client = redis.Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0)
        self._last: bytes = b"0"

    def publish(self, events: Sequence[bytes]) -> None:
        """As ``Channel``."""
        pipe = self._client.pipeline(transaction=False)
        for event in events:
            pipe.xadd(_STREAM, {"w": self._me, "e": event}, maxlen=KEPT, approximate=True)
        pipe.execute()

    def fetch(self) -> list[bytes]:
        """As ``Channel``."""
        answer: Any = self._client.xread({_STREAM: self._last}, count=_BATCH)
        rows = answer[0][1] if answer else []
        if rows:
            self._last = rows[-1][0]
        return [fields[b"e"] for _, fields in rows if fields.get(b"w") != self._me]

    def close(self) -> None:
        """As ``Channel``."""
        self._client.close()


class Feed:
    """Tells and hears in the background; ``heard`` takes each event of others."""

    def __init__(
        self,
        make: Callable[[], Channel],
        heard: Callable[[Mapping[str, Any]], object],
    ) -> None:
        self._make, self._heard = make, heard
        self._channel: Channel | None = None
        self._waiting: list[bytes] = []
        self._lock = asyncio.Lock()
        self._woken = asyncio.Event()
        self._failing = False

    def tell(self, event: Mapping[str, Any]) -> None:
        """Others will hear of it soon; where too much waits already, they will not."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(orjson.dumps(event))
            self._woken.set()

    async def run(self) -> None:
        """Tell and hear until cancelled."""
        while True:
            await self.exchange()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), POLL_S)

    async def catch_up(self) -> None:
        """What others have told by now is heard, unless that takes too long."""
        task = asyncio.ensure_future(self.exchange())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(task), PATIENCE_S)

    async def exchange(self) -> None:
        """Everything that waits is told, everything new is heard; a failure is logged once."""
        async with self._lock:
            self._woken.clear()
            telling, self._waiting = self._waiting, []
            try:
                heard = await asyncio.to_thread(self._work, telling)
            except Exception as error:  # noqa: BLE001 - whatever a store's client raises
                if not self._failing:
                    log.error("conversations are this process's own: %s", error)
                self._failing = True
                return
            self._failing = False
            for body in heard:
                self._take(body)

    def _take(self, body: bytes) -> None:
        try:
            self._heard(orjson.loads(body))
        except (ValueError, TypeError, KeyError, IndexError) as error:
            log.warning("an event of another process cannot be read: %s", type(error).__name__)

    def _work(self, telling: Sequence[bytes]) -> list[bytes]:
        if self._channel is None:
            self._channel = self._make()
        if telling:
            self._channel.publish(telling)
        return self._channel.fetch()

    async def close(self) -> None:
        """What waits is told; then nothing more."""
        await self.exchange()
        if self._channel is not None:
            await asyncio.to_thread(self._channel.close)


def channel_of(folder: Path | None, state: str | None) -> Callable[[], Channel] | None:
    """Where a process tells and hears: a server, a machine's folder, or nowhere."""
    if state is not None:
        return lambda: RedisChannel(state)
    if folder is not None:
        return lambda: FileChannel(folder / "recall.db")
    return None

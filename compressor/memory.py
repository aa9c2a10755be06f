"""Summaries kept by content hash, apart for each team, bounded in bytes and in age.

The rule: a memory is a pure function of its key, so forgetting one is never wrong, only
slow. The store is safe between threads. Time is the caller's clock, in seconds.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

TEAM_BYTES = 16 * 2**20
TOTAL_BYTES = 256 * 2**20
TTL_S = 7 * 86_400.0
OVERHEAD_BYTES = 200  # of one entry: key, times, links


def memory_key(texts: Sequence[str], maker: str, version: str) -> str:
    """The key of what ``maker`` makes of ``texts``: 64 hex digits.

    ``maker`` is the summariser's name, ``version`` whatever else the result depends on
    (prompt version, budget, tokenizer). Lengths are hashed too, so that two different
    lists of texts never run into the same bytes.
    """
    digest = hashlib.sha256()
    for text in (maker, version, *texts):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()


@dataclass(slots=True)
class _Entry:
    text: str
    expires_s: float
    size_bytes: int


class MemoryStore:
    """An in-process LRU of memories, each team in a room of its own.

    Args:
        clock: seconds, never going back (``time.monotonic``).
        team_bytes: what one team may hold; its own oldest goes first.
        total_bytes: what all teams hold together; beyond it the largest team gives.
        ttl_s: age, in seconds since it was put, at which an entry is forgotten.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        team_bytes: int = TEAM_BYTES,
        total_bytes: int = TOTAL_BYTES,
        ttl_s: float = TTL_S,
    ) -> None:
        self._clock = clock
        self._team_bytes, self._total_bytes, self._ttl_s = team_bytes, total_bytes, ttl_s
        self._rooms: dict[str, OrderedDict[str, _Entry]] = {}
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Bytes held for all teams, bookkeeping included."""
        with self._lock:
            return sum(self._held.values())

    def for_team(self, team: str) -> TeamMemory:
        """The memory of ``team``; no other team reads or pushes out what it holds."""
        return TeamMemory(self, team)

    def get(self, team: str, key: str) -> str | None:
        """The text under ``key`` of ``team``, now its newest used, or None."""
        with self._lock:
            room = self._rooms.get(team)
            entry = room.get(key) if room is not None else None
            if room is None or entry is None:
                return None
            if entry.expires_s <= self._clock():
                self._drop(team, key)
                return None
            room.move_to_end(key)
            return entry.text

    def put(self, team: str, key: str, text: str) -> None:
        """Remember ``text``; one that is larger than a team's room is not kept."""
        size = len(text.encode("utf-8", "surrogatepass")) + len(key) + OVERHEAD_BYTES
        if size > min(self._team_bytes, self._total_bytes):
            return
        with self._lock:
            self._drop(team, key)
            room = self._rooms.setdefault(team, OrderedDict())
            room[key] = _Entry(text, self._clock() + self._ttl_s, size)
            self._held[team] = self._held.get(team, 0) + size
            while self._held[team] > self._team_bytes:
                self._drop(team, next(iter(room)))
            while sum(self._held.values()) > self._total_bytes:
                largest = max(self._held, key=lambda name: (self._held[name], name))
                self._drop(largest, next(iter(self._rooms[largest])))

    def _drop(self, team: str, key: str) -> None:
        room = self._rooms.get(team)
        entry = room.pop(key, None) if room is not None else None
        if entry is None:
            return
        self._held[team] -= entry.size_bytes
        if not room:
            del self._rooms[team], self._held[team]


@dataclass(frozen=True, slots=True)
class TeamMemory:
    """One team's view of a store: the ``Memory`` of a kit."""

    store: MemoryStore
    team: str

    def get(self, key: str) -> str | None:
        """The text under ``key``, or None."""
        return self.store.get(self.team, key)

    def put(self, key: str, text: str) -> None:
        """Remember ``text`` under ``key``."""
        self.store.put(self.team, key, text)

"""Counts of the last minutes and of requests inside, as processes share them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from limits import RateLimitItemPerMinute
from limits.strategies import SlidingWindowCounterRateLimiter

from gateway.rate_store import Counts, SqliteStorage


@pytest.fixture
def counts(tmp_path: Path) -> Iterator[Counts]:
    """A file of counts."""
    made = Counts(str(tmp_path / "rates.db"))
    yield made
    made.close()


def test_the_library_counts_with_it(counts: Counts) -> None:
    """Hits are taken up to the limit, whole or not at all, by each name apart."""
    limiter = SlidingWindowCounterRateLimiter(SqliteStorage(counts))
    item = RateLimitItemPerMinute(10)
    assert limiter.hit(item, "a", cost=7)
    assert limiter.test(item, "a", cost=3)
    assert not limiter.hit(item, "a", cost=4)
    assert limiter.hit(item, "a", cost=3)
    assert not limiter.test(item, "a")
    assert limiter.hit(item, "b", cost=10)
    stats = limiter.get_window_stats(item, "a")
    assert stats.remaining == 0
    limiter.clear(item, "a")
    assert limiter.hit(item, "a", cost=10)


def test_it_is_a_whole_storage(counts: Counts) -> None:
    """Every method of the library's interface does what it says."""
    storage = SqliteStorage(counts)
    assert storage.check()
    assert storage.incr("k", 60) == 1
    assert storage.incr("k", 60, 4) == 5
    assert storage.get("k") == 5
    assert storage.get_expiry("k") > storage.get_expiry("nothing")
    storage.clear("k")
    assert storage.get("k") == 0
    storage.incr("k", 60)
    assert storage.reset() == 1


def test_seats_are_taken_whole_and_given_back(counts: Counts) -> None:
    """A request is counted into all of its nodes or into none."""
    assert counts.enter([("org", 3), ("team", 1)]) is None
    assert counts.enter([("org", 3), ("team", 1)]) == "team"
    assert counts.enter([("org", 3), ("other", 5)]) is None
    counts.leave(["org", "team"])
    assert counts.enter([("org", 2), ("team", 1)]) is None
    assert counts.enter([("org", 2)]) == "org"


def test_seats_of_a_dead_process_are_free(counts: Counts, tmp_path: Path) -> None:
    """What a killed process held does not count once room is short."""
    script = (
        "import sys; from gateway.rate_store import Counts\n"
        "Counts(sys.argv[1]).enter([('team', 1)])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "rates.db")], check=True)
    assert done.returncode == 0
    assert counts.enter([("team", 1)]) is None
    assert counts.enter([("team", 1)]) == "team"

"""Memories are kept by content, bounded, and apart for each team."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from compressor.memory import OVERHEAD_BYTES, MemoryStore, memory_key


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now_s


def entry_bytes(key: str, text: str) -> int:
    return len(text) + len(key) + OVERHEAD_BYTES


def test_a_team_reads_what_it_put_and_no_other_team_does() -> None:
    """The same key in two teams is two memories."""
    store = MemoryStore(Clock())
    store.for_team("a").put("k", "of a")
    assert store.for_team("a").get("k") == "of a"
    assert store.for_team("b").get("k") is None


def test_a_memory_is_forgotten_when_its_time_is_over() -> None:
    """At its TTL an entry is gone and its bytes are given back."""
    clock = Clock()
    store = MemoryStore(clock, ttl_s=10.0)
    store.put("a", "k", "text")
    clock.now_s = 9.9
    assert store.get("a", "k") == "text"
    clock.now_s = 10.0
    assert store.get("a", "k") is None
    assert store.held_bytes == 0


def test_the_least_recently_used_memory_goes_first() -> None:
    """A full room drops what was longest unused, not what is oldest."""
    store = MemoryStore(Clock(), team_bytes=2 * entry_bytes("x", "text"))
    store.put("a", "1", "text")
    store.put("a", "2", "text")
    assert store.get("a", "1") == "text"
    store.put("a", "3", "text")
    assert [store.get("a", key) for key in "123"] == ["text", None, "text"]


def test_one_team_cannot_push_out_another() -> None:
    """When all is full the team that holds most gives way."""
    size = entry_bytes("0", "text")
    store = MemoryStore(Clock(), team_bytes=10 * size, total_bytes=6 * size)
    store.put("small", "0", "text")
    for key in "123456789":
        store.put("large", key, "text")
    assert store.get("small", "0") == "text"
    assert store.held_bytes <= 6 * size


def test_what_is_larger_than_the_room_is_not_kept() -> None:
    """A huge memory leaves the others alone."""
    store = MemoryStore(Clock(), team_bytes=1_000)
    store.put("a", "k", "text")
    store.put("a", "huge", "x" * 2_000)
    assert (store.get("a", "k"), store.get("a", "huge")) == ("text", None)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.text("xyz", min_size=1, max_size=2), st.integers(0, 900)
        ),
        max_size=60,
    )
)
def test_bytes_held_never_pass_the_bounds(puts: list[tuple[str, str, int]]) -> None:
    """Whatever is put, the store's total stays within its bound."""
    store = MemoryStore(Clock(), team_bytes=1_500, total_bytes=3_000)
    for team, key, size in puts:
        store.put(team, key, "t" * size)
        assert store.held_bytes <= 3_000


def test_threads_do_not_lose_the_count() -> None:
    """Many threads putting and getting leave exactly what is there counted."""
    store = MemoryStore(Clock(), team_bytes=20_000, total_bytes=40_000)

    def work(team: str) -> None:
        for number in range(300):
            store.put(team, str(number % 90), "t" * (number % 50))
            store.get(team, str(number % 70))

    threads = [threading.Thread(target=work, args=(team,)) for team in "aabb"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = sum(
        entry_bytes(str(number), text)
        for team in "ab"
        for number in range(90)
        if (text := store.get(team, str(number))) is not None
    )
    assert kept == store.held_bytes


def test_a_key_depends_on_every_text_and_on_its_maker() -> None:
    """Other texts, another split of them, another maker or version: another key."""
    keys = {
        memory_key(["ab", "c"], "m", "1"),
        memory_key(["a", "bc"], "m", "1"),
        memory_key(["abc"], "m", "1"),
        memory_key(["ab", "c"], "n", "1"),
        memory_key(["ab", "c"], "m", "2"),
    }
    assert len(keys) == 5
    assert memory_key(["ab", "c"], "m", "1") in keys
    assert len(memory_key(["\ud800"], "m", "1")) == 64

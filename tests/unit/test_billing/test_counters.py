"""What a window remembers of spend: its own, and what it hears of other processes."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.accounts import Node
from billing.budget import parse_budget
from billing.counters import Counter
from billing.policy_schema import Limits

MINUTE, HOUR = 60_000, 3_600_000
NOON = 1_795_262_400_000
"""2026-11-21T12:00:00Z."""


def counter(text: str = "24 per day", burn_ms: int = HOUR) -> Counter:
    """A shared window of one team at noon."""
    node = Node("t", (), Limits(), ZoneInfo("UTC"))
    made = Counter(node, parse_budget(text), None, burn_ms, shared=True)
    made.roll(NOON)
    return made


def test_what_others_spend_is_recent_from_when_it_is_heard() -> None:
    """A burst elsewhere counts here as it does there, and is forgotten with time."""
    one = counter()
    one.hear(0, 0, NOON)
    one.hear(8 * 10**9, 10**9, NOON + 5_000)
    one.add(NOON + 6_000, 10**9)
    assert one.recent(NOON + 10_000, HOUR) == 9 * 10**9
    later = NOON + HOUR + 2 * MINUTE
    one.roll(later)
    assert one.recent(later, HOUR) == 0
    assert one.figures(later).spent_nano == 9 * 10**9


@pytest.mark.parametrize("text", ["24 per day", "24 per rolling 12h"])
def test_what_is_first_heard_of_late_counts_at_its_mean_rate(text: str) -> None:
    """Half a day's spend, heard of at once, is no burst."""
    one = counter(text)
    one.hear(12 * 10**9, 0, NOON)
    assert one.recent(NOON, HOUR) == pytest.approx(10**9, rel=0.02)


def test_a_seed_is_not_heard_twice() -> None:
    """What the ledger's rows said is not counted again as it is first heard."""
    one = counter()
    one.seed(NOON - 30 * MINUTE, 5 * 10**9)
    one.hear(7 * 10**9, 0, NOON)
    assert one.recent(NOON, HOUR) == 5 * 10**9
    one.hear(8 * 10**9, 0, NOON + 1_000)
    assert one.recent(NOON + 1_000, HOUR) == 6 * 10**9


def test_a_new_window_goes_on_listening() -> None:
    """After midnight what is heard is of the new window, from its start on."""
    one = counter()
    one.hear(5 * 10**9, 0, NOON)
    midnight = NOON + 12 * HOUR
    one.roll(midnight)
    one.hear(10**9, 0, midnight + 1_000)
    assert one.recent(midnight + 1_000, HOUR) == 10**9
    assert one.figures(midnight + 1_000).spent_nano == 10**9


@given(
    steps=st.lists(
        st.tuples(st.integers(1, 20 * MINUTE), st.integers(0, 10**12)), min_size=1, max_size=30
    )
)
def test_nothing_heard_in_the_look_back_is_lost(steps: list[tuple[int, int]]) -> None:
    """Growth heard within the hour is recent to the nano, minus what left by whole minutes."""
    one = counter(burn_ms=24 * HOUR)
    one.hear(0, 0, NOON)
    at, spent = NOON, 0
    for wait, grown in steps:
        if at + wait >= one.window.end_ms:
            break
        at, spent = at + wait, spent + grown
        one.roll(at)
        one.hear(spent, 0, at)
    assert one.recent(at, 24 * HOUR) == spent


def test_without_a_burn_rung_nothing_is_kept() -> None:
    """Only a look back needs buckets."""
    one = counter(burn_ms=0)
    one.hear(5, 0, NOON)
    one.seed(NOON, 5)
    assert not one.others_buckets


def test_a_rolling_window_holds_its_first_bucket() -> None:
    """Spend at the very start of the window still counts, a bucket earlier it does not."""
    one = counter("24 per rolling 5h", burn_ms=0)
    one.ceiling_nano = 24 * 10**9
    bucket, start = one.budget.bucket_ms, one.window.start_ms
    one.add(start, 7)
    one.roll(NOON)
    assert one.spent_nano == 7
    one.roll(NOON + bucket)
    assert (one.spent_nano, len(one.buckets)) == (0, 0)

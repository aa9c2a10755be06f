"""The shape of roll-ups: a range is cut without gap or overlap, and few pieces."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from billing.rollup_shape import (
    BLOCK_MS,
    CUBES,
    DAY_MS,
    DIMENSIONS,
    HOUR_MS,
    QUARTER_MS,
    SESSION_SUMS,
    SUMS,
    WHO,
    cube_of,
    parts,
)

INSTANTS = st.integers(0, 10 * BLOCK_MS) | st.sampled_from([0, QUARTER_MS, DAY_MS, BLOCK_MS])


@given(start=INSTANTS, end=INSTANTS, cube=st.sampled_from(CUBES))
def test_parts_cover_a_range_once(start: int, end: int, cube: object) -> None:
    """The parts follow one another from start to end, in whole buckets of their width."""
    widths = cube.widths  # type: ignore[attr-defined]
    found = list(parts(start, end, widths))
    if start >= end:
        assert found == []
        return
    assert (found[0].start_ms, found[-1].end_ms) == (start, end)
    for before, after in itertools.pairwise(found):
        assert before.end_ms == after.start_ms
    for part in found:
        if part.width_ms:
            assert part.start_ms % part.width_ms == part.end_ms % part.width_ms == 0
        else:
            assert part.end_ms - part.start_ms < 2 * widths[-1]
    assert len(found) <= 2 * len(widths) + 1


def test_all_time_is_the_widest_buckets() -> None:
    """Without ends there is nothing to read but the widest."""
    assert [part.width_ms for part in parts(None, None, CUBES[0].widths)] == [BLOCK_MS]


def test_the_smallest_cube_that_knows_the_labels() -> None:
    """A question is answered from the smallest cube it can be; sessions from none."""
    assert cube_of(()) is CUBES[0]
    assert cube_of({"team"}) is CUBES[1]
    assert cube_of({"user", "team"}) is WHO
    assert cube_of({"user", "action"}) is None
    assert cube_of({"session_key"}) is None
    assert cube_of({"action"}, QUARTER_MS) is None
    assert cube_of({"action"}, HOUR_MS) is not None


def test_every_label_and_figure_is_summed() -> None:
    """The cubes know every label; a session's figures begin the list of all."""
    assert {name for cube in CUBES for name in cube.labels} == set(DIMENSIONS)
    assert tuple(SUMS)[: len(SESSION_SUMS)] == tuple(SESSION_SUMS)
    for cube in CUBES:
        for wide, narrow in zip(cube.widths, cube.widths[1:], strict=False):
            assert wide % narrow == 0

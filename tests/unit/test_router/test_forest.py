"""Trees and lines give what their tables say."""

from __future__ import annotations

from math import inf

import pytest

from router.forest import Lines, Tree, drawn, grown

TREE = Tree(
    [1, 0, 0],
    [0.5, 0.2, inf],
    [(1.0, 0.0, 0.0), (2.0, 0.0, 0.0), (3.0, 1.0, -1.0), (9.0, 9.0, 9.0)],
)


@pytest.mark.parametrize(
    ("values", "first"), [([0.2, 0.5], 1.0), ([0.3, 0.5], 2.0), ([0.3, 0.6], 3.0)]
)
def test_a_value_at_the_threshold_goes_left(values: list[float], first: float) -> None:
    """What is greater than a threshold goes right; a node without one always left."""
    assert grown([TREE, TREE], values)[0] == 2 * first


def test_a_line_is_an_offset_and_slopes() -> None:
    """Each output is its own weighted sum of the features."""
    lines = Lines((1.0, 2.0, 3.0), ([1.0, 0.0], [0.0, 2.0], [1.0, 1.0]))
    assert drawn(lines, [10.0, 100.0]) == (11.0, 202.0, 113.0)

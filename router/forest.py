"""Small randomised trees and straight lines, trained by scripts/train_router.py.

Plain Python over short lists: for one question, calling into a library for arrays costs more
than the arithmetic. Every tree is complete, so that a node's children are found by its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import mul
from typing import NamedTuple

Outputs = tuple[float, float, float]


class Tree(NamedTuple):
    """A complete binary tree; node ``i`` has the children ``2i + 1`` (at most) and ``2i + 2``.

    ``feature`` and ``threshold`` of each inner node; ``leaves`` the outputs of each leaf.
    """

    feature: list[int]
    threshold: list[float]
    leaves: list[Outputs]


class Lines(NamedTuple):
    """One straight line an output: ``offsets``, and a slope a feature in each of ``slopes``."""

    offsets: Outputs
    slopes: tuple[list[float], list[float], list[float]]


def grown(trees: Sequence[Tree], values: Sequence[float]) -> Outputs:
    """The sum of the trees' outputs for one question's features."""
    first = second = third = 0.0
    for feature, threshold, leaves in trees:
        node, inner = 0, len(feature)
        while node < inner:
            node += node + (2 if values[feature[node]] > threshold[node] else 1)
        one, two, three = leaves[node - inner]
        first += one
        second += two
        third += three
    return first, second, third


def drawn(lines: Lines, values: Sequence[float]) -> Outputs:
    """The lines' outputs for one question's features."""
    (one, two, three), (first, second, third) = lines
    return (
        one + sum(map(mul, values, first)),
        two + sum(map(mul, values, second)),
        three + sum(map(mul, values, third)),
    )

"""Randomised trees and straight lines in NumPy, trained by scripts/train_router.py.

A prompt walks all trees at once, level by level. A node's left child is
the next node, so only right children are stored; a leaf's right child is itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indexes = npt.NDArray[np.intp]

REACH = np.float32(4.0)  # deviations: a stranger feature says no more than this


@dataclass(frozen=True)
class Forest:
    """All trees one after another.

    ``roots (n_trees,)``, ``feature, right (n_nodes,) int32``, ``threshold (n_nodes,)``
    (minus infinity in a leaf), ``values (n_nodes, n_outputs)``; ``depth`` the most steps.
    """

    roots: npt.NDArray[np.int32]
    feature: npt.NDArray[np.int32]
    threshold: Floats
    right: npt.NDArray[np.int32]
    values: Floats
    depth: int
    _walk: tuple[Indexes, Indexes, Indexes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Both children of a node side by side, right before left, so that a comparison is the
        # step to one of them; indexes of NumPy's own width, so that no step converts any.
        n_nodes = len(self.feature)
        children = np.empty(2 * n_nodes, dtype=np.intp)
        children[0::2] = self.right
        children[1::2] = np.arange(1, n_nodes + 1)
        walk = (self.roots.astype(np.intp), self.feature.astype(np.intp), children)
        object.__setattr__(self, "_walk", walk)

    def predict(self, vector: Floats) -> Floats:
        """The trees' mean outputs for one feature vector, ``(n_outputs,)``."""
        node, feature, children = self._walk
        for _ in range(self.depth):
            left = vector.take(feature.take(node)) <= self.threshold.take(node)
            node = children.take(node + node + left)
        means: Floats = np.add.reduce(self.values.take(node, axis=0)) / np.float32(len(node))
        return means


@dataclass(frozen=True)
class Lines:
    """One straight line an output over standardised features, none beyond ``REACH`` of its mean.

    ``mean, scale (n_features,) float32``: ``(x - mean) * scale`` has deviation 1 at most;
    ``slopes (n_features, n_outputs) float32``.
    """

    mean: Floats
    scale: Floats
    slopes: Floats

    def predict(self, vector: Floats) -> Floats:
        """The outputs for one feature vector, ``(n_outputs,)``, or for rows of them."""
        unit = (vector - self.mean) * self.scale
        np.minimum(unit, REACH, out=unit)
        np.maximum(unit, -REACH, out=unit)
        found: Floats = np.matmul(unit, self.slopes, dtype=np.float32)
        return found

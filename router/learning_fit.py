"""Fitting one head's correction: shrunken straight lines, then small trees, to its own labels.

The shipped value is the starting point (log-odds of a probability; a gain as it is), so no
labels means no change; the recipe is chosen on rows left out. NumPy alone, no dice: folds are
given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from router.correction import SCORE, HeadFix, Tree, log_odds
from router.learning_measure import log_loss

Array = npt.NDArray[np.float64]
TREES_FROM = 700  # labels
COMMON = 0.05  # a feature that fewer rows have says nothing reliable
SPREAD = 0.2  # variance of a gap of two answers about what is expected of it
ROUNDS, RATE, LEAST_LEAF, CUTS = 30, 0.15, 25.0, 6
STEPS = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One label of one head: the shipped ``value``, what was right, how much it counts.

    ``group`` names what must not stand on both sides of a fold.
    """

    value: float
    good: float
    weight: float
    features: Mapping[str, float]
    group: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """How far a fit may leave the shipped score: not at all, its level and slope, all.

    ``penalty`` holds the features, ``level`` alone leaves them out; ``trees`` are grown after.
    """

    penalty: float | None = None
    level: bool = False
    trees: bool = False

    @property
    def told(self) -> str:
        """In words."""
        if self.penalty is None:
            return "as shipped"
        if self.level:
            return "level and slope"
        return f"features, penalty {self.penalty:g}" + (", and trees" if self.trees else "")


MILDEST = Recipe()
RECIPES = (MILDEST, Recipe(10.0, level=True), Recipe(1000.0), Recipe(200.0), Recipe(40.0))
GROWN = (Recipe(1000.0, trees=True), Recipe(200.0, trees=True))
"""Mildest first."""


@dataclass(frozen=True)
class Table:
    """Rows as arrays: ``x (n, k)`` with the shipped value first, ``names (k,)``.

    ``odds``: the values are log-odds of probabilities; else they are gains.
    """

    names: tuple[str, ...]
    x: Array
    odds: bool
    good: Array
    weight: Array

    def take(self, rows: npt.NDArray[np.intp]) -> Table:
        """Some of the rows."""
        return Table(self.names, self.x[rows], self.odds, self.good[rows], self.weight[rows])

    def slopes(self, moved: Array) -> tuple[Array, Array]:
        """How the likelihood of each row changes with its value, first and second order."""
        if self.odds:
            p = _sigmoid(moved)
            return self.weight * (self.good - p), self.weight * p * (1 - p)
        return self.weight * (self.good - moved) / SPREAD, self.weight / SPREAD

    def loss(self, said: Array) -> Array:
        """A row's loss, nats, of what ``predict`` gives."""
        if self.odds:
            return log_loss(said, self.good)
        found: Array = (self.good - said) ** 2 / (2 * SPREAD)
        return found


def table(rows: Sequence[Row], *, odds: bool) -> Table:
    """Rows as arrays, with the features that enough of them have."""
    count: dict[str, int] = {}
    for row in rows:
        for name in row.features:
            count[name] = count.get(name, 0) + 1
    names = sorted(name for name, found in count.items() if found >= COMMON * len(rows))
    values = np.array([log_odds(row.value) if odds else row.value for row in rows])
    x = np.array([[row.features.get(name, 0.0) for name in names] for row in rows])
    x = np.column_stack([values, x.reshape(len(rows), len(names))])
    return Table(
        (SCORE, *names),
        x,
        odds,
        np.array([row.good for row in rows]),
        np.array([row.weight for row in rows]),
    )


def fit(data: Table, recipe: Recipe) -> HeadFix:
    """The correction that a recipe gives."""
    if recipe.penalty is None or not len(data.good):
        return HeadFix()
    mean = np.average(data.x, axis=0, weights=data.weight)
    scale = np.sqrt(np.average((data.x - mean) ** 2, axis=0, weights=data.weight))
    scale[scale < 1e-9] = np.inf  # what never varies gets no slope
    if recipe.level:
        scale[1:] = np.inf
    offset, slopes = _lines((data.x - mean) / scale, data, recipe.penalty)
    slopes = slopes / scale
    offset -= float(mean @ slopes)
    trees = _trees(data, data.x[:, 0] + offset + data.x @ slopes) if recipe.trees else ()
    named = {
        name: round(float(slope), 6)
        for name, slope in zip(data.names, slopes, strict=True)
        if abs(slope) > 1e-6
    }
    typical = float(np.average(_moves(data, offset, slopes, trees), weights=data.weight))
    return HeadFix(round(float(offset), 6), named, trees, round(typical, 6))


def predict(data: Table, fix: HeadFix) -> Array:
    """The corrected values of rows: probabilities, or gains."""
    slopes = np.array([fix.slopes.get(name, 0.0) for name in data.names])
    moved = data.x[:, 0] + _moves(data, fix.offset, slopes, fix.trees)
    found: Array = np.clip(_sigmoid(moved), 0.001, 0.999) if data.odds else moved
    return found


def _moves(data: Table, offset: float, slopes: Array, trees: Sequence[Tree]) -> Array:
    """By how much each row's value is moved."""
    moved: Array = offset + data.x @ slopes
    column = {name: number for number, name in enumerate(data.names)}
    for tree in trees:
        moved = moved + _tree_values(tree, data.x, column)
    return moved


def _sigmoid(odds: Array) -> Array:
    found: Array = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
    return found


def _lines(x: Array, data: Table, penalty: float) -> tuple[float, Array]:
    """Offset and slopes by Newton's steps; the offset is held a tenth as hard."""
    columns = np.column_stack([np.ones(len(x)), x])
    held = np.full(columns.shape[1], penalty)
    held[0] = penalty / 10
    found = np.zeros(columns.shape[1])
    for _ in range(STEPS):
        left, curve = data.slopes(data.x[:, 0] + columns @ found)
        bend = (columns * curve[:, None]).T @ columns + np.diag(held)
        step = np.linalg.solve(bend, columns.T @ left - held * found)
        found = found + step
        if np.abs(step).max() < 1e-6:
            break
    return float(found[0]), found[1:]


def _trees(data: Table, moved: Array) -> tuple[Tree, ...]:
    """Trees two questions deep on what the lines leave, each taking a small step."""
    cuts = [_cuts(data.x[:, number]) for number in range(data.x.shape[1])]
    column = {name: number for number, name in enumerate(data.names)}
    found: list[Tree] = []
    for _ in range(ROUNDS):
        tree = _tree(data, data.slopes(moved), cuts)
        if tree is None:
            break
        found.append(tree)
        moved = moved + _tree_values(tree, data.x, column)
    return tuple(found)


def _cuts(values: Array) -> Array:
    found: Array = np.unique(np.quantile(values, np.linspace(0, 1, CUTS + 2)[1:-1]))
    return found


def _tree(data: Table, slopes: tuple[Array, Array], cuts: Sequence[Array]) -> Tree | None:
    everything = np.ones(len(data.good), dtype=bool)
    first = _split(data, slopes, cuts, everything)
    if first is None:
        return None
    right = data.x[:, first[0]] > first[1]
    sides, leaves = [], list[float]()
    for side in (~right, right):
        split = _split(data, slopes, cuts, side) or (0, float("inf"))
        sides.append((data.names[split[0]], round(float(min(split[1], 1e9)), 6)))
        above = data.x[:, split[0]] > split[1]
        leaves += [_leaf(slopes, side & ~above), _leaf(slopes, side & above)]
    return Tree(
        data.names[first[0]],
        round(float(first[1]), 6),
        sides[0],
        sides[1],
        (leaves[0], leaves[1], leaves[2], leaves[3]),
    )


def _split(
    data: Table,
    slopes: tuple[Array, Array],
    cuts: Sequence[Array],
    inside: npt.NDArray[np.bool_],
) -> tuple[int, float] | None:
    """The feature and cut that explain most of what is left; None where none may."""
    left, bend = slopes[0] * inside, slopes[1] * inside
    weight = data.weight * inside
    best, found = 1e-9, None
    whole = left.sum() ** 2 / (bend.sum() + LEAST_LEAF)
    for number, at in enumerate(cuts):
        above = data.x[:, number][None, :] > at[:, None]
        many, some, curve = above @ weight, above @ left, above @ bend
        rest, others = weight.sum() - many, left.sum() - some
        worth = some**2 / (curve + LEAST_LEAF) - whole
        worth += others**2 / (bend.sum() - curve + LEAST_LEAF)
        worth[(many < LEAST_LEAF) | (rest < LEAST_LEAF)] = 0.0
        top = int(np.argmax(worth)) if len(worth) else 0
        if len(worth) and worth[top] > best:
            best, found = float(worth[top]), (number, float(at[top]))
    return found


def _leaf(slopes: tuple[Array, Array], inside: npt.NDArray[np.bool_]) -> float:
    step = slopes[0][inside].sum() / (slopes[1][inside].sum() + LEAST_LEAF)
    return round(float(RATE * step), 6)


def _tree_values(tree: Tree, x: Array, column: Mapping[str, int]) -> Array:
    right = x[:, column[tree.feature]] > tree.at
    low = x[:, column[tree.below[0]]] > tree.below[1]
    high = x[:, column[tree.above[0]]] > tree.above[1]
    found: Array = np.array(tree.leaves)[np.where(right, 2 + high, low.astype(int))]
    return found

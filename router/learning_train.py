"""Training a correction of the shipped score from one's own labels, and whether it is better.

Below 200 labels there is none: the shipped score stays. Everything told of it is of rows that
the weights judged there have not seen: folds in folds, the inner ones choose how far the fit
may leave the shipped score and whether trees are grown (from 700 labels on). A correction of
the gain is fitted to the gain itself: two heads corrected apart spoil the order. It is better
where the loss on rows left out falls beyond noise and the order does not get worse.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from router.complexity import Limits
from router.correction import HEADS, VERSION, HeadFix, head_json
from router.errors import TooFewLabels
from router.learning_calibrate import Labelled, calibrate, kept_at
from router.learning_fit import (
    GROWN,
    RECIPES,
    TREES_FROM,
    Recipe,
    Row,
    Table,
    fit,
    predict,
    table,
)
from router.learning_measure import Array, Figure, apgr, auroc, bounded, ece

LEAST_LABELS = 200
OUTER, INNER = 5, 3
SURE_Z = 1.645


@dataclass(frozen=True, slots=True)
class Example:
    """What is known of one request: the shipped score, features, labels of either size.

    ``small`` and ``large`` are how well the answers did, None where nobody said; ``weight``
    what the word counts. ``source`` says where the label is from.
    """

    p_small: float
    gain: float
    enough: float
    small: float | None
    large: float | None
    weight: float
    features: Mapping[str, float]
    weak: bool = False
    source: str = "file"

    @property
    def group(self) -> str:
        """The same question stands on one side of a fold only."""
        said = (self.p_small, self.gain, sorted(self.features.items()))
        return repr(said)


@dataclass(frozen=True, slots=True)
class Before:
    """Figures of one score on rows left out; ``loss`` is of all heads, nats a label."""

    apgr: Figure
    auroc: Figure
    ece: Figure
    loss: float


@dataclass(frozen=True)
class Trained:
    """A correction, what it is worth, and why it is not better, where it is not."""

    weights: Mapping[str, object]
    before: Before
    after: Before
    fall: Figure
    labels: float
    by_source: Mapping[str, int]
    recipes: Mapping[str, Recipe]
    why_not: str | None


@dataclass(frozen=True)
class _Out:
    """One head's rows where they were left out: values and losses, shipped and corrected."""

    index: list[int]
    shipped: Array
    moved: Array
    losses: tuple[Array, Array]
    good: Array
    weight: Array

    @property
    def same(self) -> bool:
        """Whether nothing was corrected."""
        return bool(np.array_equal(self.shipped, self.moved))


def train(examples: Sequence[Example], limits: Limits, base: str, seed: int = 0) -> Trained:
    """A correction from labels.

    Args:
        limits: the shipped pairs of quality floor and highest gain.
        base: the hash of the shipped score.
    Raises:
        TooFewLabels: fewer than 200; the shipped score stays.
    """
    labels = sum(example.weight for example in examples)
    if labels < LEAST_LABELS:
        raise TooFewLabels(
            f"{labels:.0f} labels are too few to train on, {LEAST_LABELS} are needed; the shipped "
            "weights stay in force"
        )
    fixes, recipes, outs = {}, {}, {}
    for head in HEADS:
        rows, index = _rows(examples, head)
        data, folds = (
            table(rows, odds=head != "gain"),
            _folds([row.group for row in rows], seed, OUTER),
        )
        recipes[head] = _chosen(data, _folds([row.group for row in rows], seed + 1, INNER), labels)
        fixes[head] = fit(data, recipes[head])
        outs[head] = _left_out(data, rows, index, folds, (seed, labels))
    fixes["enough"] = (
        fixes["enough"] if len(outs["enough"].index) >= LEAST_LABELS else _implied(fixes)
    )
    before, after = (_figures(examples, outs, moved=moved, seed=seed) for moved in (False, True))
    fall = _fall(outs)
    own = _limits(examples, outs, limits)
    weights = {
        "version": VERSION,
        "base": base,
        "seed": seed,
        "data": _digest(examples),
        "labels": round(labels, 1),
        "heads": {head: head_json(fixes[head]) for head in HEADS},
        "limits": [list(pair) for pair in own],
        "left_out": {"loss_before": before.loss, "loss_after": after.loss},
    }
    by_source = {s: sum(e.source == s for e in examples) for s in {e.source for e in examples}}
    why = _why_not(fall, before, after, outs)
    return Trained(weights, before, after, fall, labels, by_source, recipes, why)


def _rows(examples: Sequence[Example], head: str) -> tuple[list[Row], list[int]]:
    """The labels of one head, and which example each is of."""
    rows, index = [], []
    for number, one in enumerate(examples):
        value, good = _head_of(one, head)
        if good is not None:
            group = one.group if one.features else f"#{number}"
            rows.append(Row(value, good, one.weight, one.features, group))
            index.append(number)
    return rows, index


def _head_of(one: Example, head: str) -> tuple[float, float | None]:
    """The shipped value and what a label says of it; a lone large answer speaks of the gain."""
    small, large = one.small, one.large
    if head == "small":
        return one.p_small, small
    if head == "gain":
        return one.gain, None if large is None else large - (
            one.p_small if small is None else small
        )
    known = small is not None and large is not None
    return one.enough, float((small or 0.0) >= (large or 0.0)) if known else None


def _folds(groups: Sequence[str], seed: int, count: int) -> npt.NDArray[np.intp]:
    """A fold for each row; rows of one group in one fold, the same for the same seed."""
    salt = str(seed).encode()
    return np.array(
        [
            int.from_bytes(hashlib.blake2b(salt + g.encode(), digest_size=4).digest(), "big")
            % count
            for g in groups
        ],
        dtype=np.intp,
    )


def _chosen(data: Table, folds: npt.NDArray[np.intp], labels: float) -> Recipe:
    """The mildest recipe that no stronger one surely beats on rows left out."""
    best, losses = RECIPES[0], _losses(data, folds, RECIPES[0])
    if not len(losses):
        return best
    for recipe in (*RECIPES[1:], *(GROWN if labels >= TREES_FROM else ())):
        other = _losses(data, folds, recipe)
        falls = losses - other
        if falls.sum() > sqrt(float(((falls - falls.mean()) ** 2).sum())):
            best, losses = recipe, other
    return best


def _losses(data: Table, folds: npt.NDArray[np.intp], recipe: Recipe) -> Array:
    """What each row loses, by its weight, where it was left out."""
    found = np.zeros(len(data.good))
    for fold in np.unique(folds):
        inside, out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if len(inside):
            there = data.take(out)
            found[out] = there.weight * there.loss(predict(there, fit(data.take(inside), recipe)))
    return found


def _left_out(
    data: Table,
    rows: Sequence[Row],
    index: list[int],
    folds: npt.NDArray[np.intp],
    how: tuple[int, float],
) -> _Out:
    """Corrected probabilities from weights, and a recipe, that have not seen the row."""
    seed, labels = how
    shipped = np.array([row.value for row in rows])
    moved = shipped.copy()
    for fold in np.unique(folds):
        inside, out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if not len(inside):
            continue
        within = data.take(inside)
        groups = [rows[n].group for n in inside.tolist()]
        share = len(inside) / max(1, len(rows))
        recipe = _chosen(within, _folds(groups, seed + 1, INNER), labels * share)
        moved[out] = predict(data.take(out), fit(within, recipe))
    return _Out(
        index, shipped, moved, (data.loss(shipped), data.loss(moved)), data.good, data.weight
    )


def _implied(fixes: Mapping[str, HeadFix]) -> HeadFix:
    """What the gain's own move says of the comparison, where too few pairs do."""
    apart = -fixes["gain"].typical * 4  # the slope of a probability's log-odds at a half
    return HeadFix(offset=apart, typical=apart)


def _paired(
    examples: Sequence[Example], outs: Mapping[str, _Out], *, moved: bool
) -> tuple[Array, Array, Array]:
    """(gain, gap, weak) of the examples with both labels."""
    out = outs["gain"]
    known = dict(zip(out.index, out.moved if moved else out.shipped, strict=True))
    both = outs["enough"].index
    gain = np.array([known[n] for n in both])
    gap = np.array([(examples[n].large or 0.0) - (examples[n].small or 0.0) for n in both])
    return gain, gap, np.array([examples[n].weak for n in both], dtype=float)


def _figures(
    examples: Sequence[Example], outs: Mapping[str, _Out], *, moved: bool, seed: int
) -> Before:
    gain, gap, _ = _paired(examples, outs, moved=moved)
    enough = outs["enough"]
    p = enough.moved if moved else enough.shipped
    return Before(
        bounded(apgr, gain, gap, seed),
        bounded(auroc, p, enough.good, seed),
        bounded(ece, p, enough.good, seed),
        _loss(outs, moved=moved),
    )


def _loss(outs: Mapping[str, _Out], *, moved: bool) -> float:
    total = weight = 0.0
    for head in ("small", "gain"):
        out = outs[head]
        total += float((out.weight * out.losses[moved]).sum())
        weight += float(out.weight.sum())
    return total / max(1e-9, weight)


def _fall(outs: Mapping[str, _Out]) -> Figure:
    """By how much the loss of a label falls, with its one-sided 95% bound as ``low``."""
    falls, weights = [], []
    for head in ("small", "gain"):
        out = outs[head]
        falls.append(out.losses[0] - out.losses[1])
        weights.append(out.weight)
    fall, weight = np.concatenate(falls), np.concatenate(weights)
    mean = float(np.average(fall, weights=weight))
    spread = sqrt(float((weight**2 * (fall - mean) ** 2).sum())) / float(weight.sum())
    return Figure(mean, mean - SURE_Z * spread, mean + SURE_Z * spread)


def _why_not(fall: Figure, before: Before, after: Before, outs: Mapping[str, _Out]) -> str | None:
    if outs["small"].same and outs["gain"].same:
        return "no correction did better than the shipped weights on labels left out"
    if fall.low is None or fall.low <= 0:
        return f"the loss on labels left out falls by {fall} nats: that may be chance"
    old, new = before.apgr, after.apgr
    if old.value is not None and new.value is not None and new.value < (old.low or 0.0):
        return f"it orders worse: APGR {new} instead of {old}"
    return None


def _limits(examples: Sequence[Example], outs: Mapping[str, _Out], shipped: Limits) -> Limits:
    """The gain limits that go with the corrected score.

    One's own where 200 pairs prove one; else the shipped limit, or less where one's own labels
    already speak against it.
    """
    gain, _, weak = _paired(examples, outs, moved=True)
    rows = [
        Labelled(float(g), bool(w), examples[n].small or 0.0, examples[n].large or 0.0)
        for g, w, n in zip(gain, weak, outs["enough"].index, strict=True)
    ]
    if len(rows) < LEAST_LABELS or not any(row.large for row in rows):
        return shipped
    found = []
    for floor, limit in shipped:
        own = calibrate(rows, floor).overall
        proven = own.limit if own.strong < 1 else -1.0
        lower = [limit, *sorted((r.gain for r in rows if r.gain <= limit), reverse=True)]
        fine = next((one for one in lower if kept_at(rows, one).kept >= floor), -1.0)
        found.append((floor, round(max(proven, fine), 6)))
    return _ordered(found)


def _ordered(limits: Sequence[tuple[float, float]]) -> Limits:
    """A stricter floor never allows more than a milder one."""
    found: list[tuple[float, float]] = []
    for floor, limit in limits:
        found.append((floor, min(limit, found[-1][1]) if found else limit))
    return tuple(found)


def _digest(examples: Sequence[Example]) -> str:
    """A name of the labels, so that the weights say what they were made from."""
    digest = hashlib.sha256()
    for one in examples:
        row = [one.p_small, one.gain, one.enough, one.small, one.large, one.weight, one.source]
        digest.update(json.dumps([*row, sorted(one.features.items())]).encode())
    return "sha256:" + digest.hexdigest()

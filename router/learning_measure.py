"""How well a score orders and predicts: APGR, AUROC, ECE, log loss, each with an interval.

APGR as RouteLLM defines it: the area under the recovered quality gap against the share of
calls to the large model (random: 0.5). Intervals are 95% bootstrap, seeded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
BINS, SAMPLES = 10, 300


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and its 95% interval; ``value`` None where it cannot be computed."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def apgr(gain: Array, gap: Array) -> float | None:
    """Of an order by ``gain`` on the gaps (large less small); None where there is no gap."""
    if gap.sum() <= 0:
        return None
    order = np.argsort(-gain, kind="stable")
    groups = np.unique(-gain[order], return_inverse=True)[1]
    means = np.bincount(groups, weights=gap[order]) / np.bincount(groups)
    curve = np.concatenate([[0.0], np.cumsum(means[groups])]) / gap.sum()
    return float((curve[1:] + curve[:-1]).mean() / 2)


def auroc(score: Array, label: Array) -> float | None:
    """The chance that a good row scores above a bad one; ties count half."""
    good, bad = score[label > 0.5], np.sort(score[label <= 0.5])
    if not len(good) or not len(bad):
        return None
    below = np.searchsorted(bad, good, "left") + np.searchsorted(bad, good, "right")
    return float(below.mean() / 2 / len(bad))


def ece(score: Array, label: Array) -> float | None:
    """Expected calibration error over ten bins of equal width."""
    if not len(score):
        return None
    bins = np.minimum((score * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    apart = np.bincount(bins, weights=score - label, minlength=BINS)
    return float(np.abs(apart[counts > 0]).sum() / len(score))


def log_loss(p: Array, label: Array) -> Array:
    """A row's loss, nats."""
    p = np.clip(p, 1e-4, 1 - 1e-4)
    loss: Array = -(label * np.log(p) + (1 - label) * np.log(1 - p))
    return loss


def bounded(
    figure: Callable[[Array, Array], float | None], score: Array, label: Array, seed: int
) -> Figure:
    """A figure with its interval."""
    value = figure(score, label)
    if value is None:
        return Figure(None)
    rng, found = np.random.default_rng(seed), list[float]()
    for _ in range(SAMPLES):
        rows = rng.integers(0, len(score), len(score))
        one = figure(score[rows], label[rows])
        if one is not None:
            found.append(one)
    low, high = np.percentile(found, [2.5, 97.5]) if found else (value, value)
    return Figure(value, float(low), float(high))

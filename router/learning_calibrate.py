"""Thresholds from one's own labels: least cost whose lower bound still reaches the target.

A label is one question with how well a small and a large model did (0 to 1). Questions are
ordered by the score's gain; the threshold is the highest gain at which everything below it may
go small and the one-sided 95% lower bound of the kept quality stays above the target. Below 200
labels there is no threshold: the shipped calibration stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from router.errors import TooFewLabels

LEAST_LABELS = 200
SURE_Z = 1.645  # one-sided 95%
BOTH_Z = 1.96  # two-sided 95%


@dataclass(frozen=True, slots=True)
class Labelled:
    """One question: the score's gain, whether the evidence is weak, and the two labels."""

    gain: float
    weak: bool
    small: float
    large: float
    category: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a threshold does to a set of labels; shares and bounds between 0 and 1.

    ``kept`` is the quality relative to all large, ``lower`` its one-sided 95% bound;
    ``strong`` the share of calls to the large model with its 95% interval.
    """

    count: int
    limit: float
    kept: float
    lower: float
    strong: float
    strong_low: float
    strong_high: float


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The outcome of a calibration: the threshold, on all labels and by category."""

    target: float
    overall: Kept
    by_category: dict[str, Kept]


def calibrate(rows: Sequence[Labelled], target: float) -> Calibrated:
    """The threshold for a target share of the large model's quality (0.5 to 1).

    Raises:
        TooFewLabels: fewer than 200 labels, or the large model was never right.
    """
    if len(rows) < LEAST_LABELS:
        raise TooFewLabels(
            f"{len(rows)} labels are too few for a threshold, {LEAST_LABELS} are needed; the "
            "shipped calibration stays in force"
        )
    if not any(row.large for row in rows):
        raise TooFewLabels("the large model is never right in these labels; nothing can be kept")
    limit = _limit(rows, target)
    names = sorted({row.category for row in rows})
    return Calibrated(
        target,
        kept_at(rows, limit),
        {name: kept_at([r for r in rows if r.category == name], limit) for name in names},
    )


def _limit(rows: Sequence[Labelled], target: float) -> float:
    """The highest gain up to which everything may go small; below every gain: nothing may."""
    order = sorted((row for row in rows if not row.weak), key=lambda row: row.gain)
    count = len(rows)
    total = sum((1 - target) * row.large for row in rows)
    squares = sum(((1 - target) * row.large) ** 2 for row in rows)
    best = order[0].gain - 1.0 if order else -1.0
    for number, row in enumerate(order):
        before, after = (1 - target) * row.large, row.small - target * row.large
        total += after - before
        squares += after * after - before * before
        tied = number + 1 < len(order) and order[number + 1].gain == row.gain
        if not tied and _above_zero(total, squares, count):
            best = row.gain
    return best


def _above_zero(total: float, squares: float, count: int) -> bool:
    """Whether the lower bound of a mean is at least 0."""
    mean = total / count
    variance = max(0.0, squares / count - mean * mean)
    return mean - SURE_Z * sqrt(variance / count) >= 0


def kept_at(rows: Sequence[Labelled], limit: float) -> Kept:
    """What sending everything up to a gain to the small model keeps; weak evidence stays large."""
    count = len(rows)
    small = [row for row in rows if not row.weak and row.gain <= limit]
    best = sum(row.large for row in rows)
    if not best:
        return Kept(count, limit, 1.0, 0.0, 1.0, 1.0, 1.0)
    lost = [0.0] * (count - len(small)) + [row.large - row.small for row in small]
    share = sum(lost) / best
    mean = sum(lost) / count
    spread = sqrt(sum((one - mean) ** 2 for one in lost) / max(1, count - 1) / count)
    strong = 1 - len(small) / count
    half = BOTH_Z * sqrt(max(strong * (1 - strong), 0.25 / count) / count)
    return Kept(
        count=count,
        limit=limit,
        kept=1 - share,
        lower=1 - share - SURE_Z * spread * count / best,
        strong=strong,
        strong_low=max(0.0, strong - half),
        strong_high=min(1.0, strong + half),
    )

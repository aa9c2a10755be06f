"""What another threshold would have done to traffic that was served: off-policy, doubly robust.

Each settled request with an outcome is a draw of a known policy: a share of sessions passes
untouched whatever the decision says, so the chance of what was done is known. The estimate is
the model's own guess for what the other policy would do, corrected by the outcome wherever the
two did the same. Where the log could never have done what is asked, the guess stands alone, and
the share of such requests is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

Z = 1.96
LEAST_ROWS = 50


@dataclass(frozen=True, slots=True)
class Logged:
    """One request: ``small`` whether a small model served it, ``chance`` that this was done.

    ``good`` is its outcome (0 to 1), ``guess_small`` and ``guess_large`` P(good) by size as the
    score has it, ``gain`` and ``weak`` what the other policy decides by; money in nano-USD,
    ``cost_small`` and ``cost_large`` as expected for it.
    """

    small: bool
    chance: float
    good: float
    guess_small: float
    guess_large: float
    gain: float
    weak: bool
    cost_small: int
    cost_large: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """A policy's value: mean outcome with its 95% interval, mean cost, share sent small.

    ``supported`` is the share of requests for which the log could have done the same.
    """

    count: int
    value: float
    low: float
    high: float
    cost_nano: float
    small: float
    supported: float


Policy = Callable[[Logged], bool]
"""Whether a request goes to a small model."""


def threshold(limit: float) -> Policy:
    """The policy that sends everything up to a gain small, and weak evidence never."""
    return lambda row: not row.weak and row.gain <= limit


def doubly_robust(rows: Sequence[Logged], policy: Policy) -> Estimate:
    """The value of a policy on logged requests.

    Raises:
        ValueError: fewer than 50 rows, or a chance that is none.
    """
    if len(rows) < LEAST_ROWS:
        raise ValueError(f"{len(rows)} requests with an outcome are too few, {LEAST_ROWS} needed")
    values: list[float] = []
    cost, small, supported = 0, 0, 0
    for row in rows:
        if not 0 < row.chance <= 1:
            raise ValueError(f"a chance of {row.chance} is none")
        wanted = policy(row)
        guess = row.guess_small if wanted else row.guess_large
        same = wanted == row.small
        values.append(guess + ((row.good - guess) / row.chance if same else 0.0))
        cost += row.cost_small if wanted else row.cost_large
        small += wanted
        supported += same or row.chance < 1
    count = len(rows)
    mean = sum(values) / count
    spread = sqrt(sum((one - mean) ** 2 for one in values) / (count - 1) / count)
    return Estimate(
        count, mean, mean - Z * spread, mean + Z * spread, cost / count, small / count,
        supported / count,
    )  # fmt: skip

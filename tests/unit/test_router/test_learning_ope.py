"""Off-policy estimates: right where the score's guesses are wrong, and honest about support."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from router.learning_ope import Logged, doubly_robust, threshold

HOLDOUT, LOGGED_LIMIT = 0.2, 0.3
ROW = Logged(
    small=False, chance=1.0, good=1.0, guess_small=0.9, guess_large=0.9, gain=0.0, weak=False,
    cost_small=1, cost_large=20,
)  # fmt: skip


def log(count: int, seed: int, bias: float) -> list[Logged]:
    """Traffic of a gateway that sends gains up to 0.3 small, but for a holdout of a fifth.

    ``bias`` is how much better the score thinks of small models than they are.
    """
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        gain = rng.uniform(0, 0.6)
        wanted = gain <= LOGGED_LIMIT
        small = wanted and rng.random() > HOLDOUT
        chance = (1 - HOLDOUT if small else HOLDOUT) if wanted else 1.0
        truth = 0.9 - gain if small else 0.9
        rows.append(
            Logged(
                small=small, chance=chance, good=float(rng.random() < truth),
                guess_small=0.9 - gain + bias, guess_large=0.9, gain=gain, weak=False,
                cost_small=1, cost_large=20,
            )
        )  # fmt: skip
    return rows


def test_the_estimate_holds_although_the_guesses_are_wrong() -> None:
    """For a stricter threshold the true value lies in the interval in at least 88 of 100 draws."""
    limit = 0.15
    truth = 0.9 - (limit / 0.6) * (limit / 2)
    inside = 0
    for seed in range(100):
        found = doubly_robust(log(1_500, seed, bias=0.3), threshold(limit))
        inside += found.low <= truth <= found.high
        assert found.supported == 1.0
    assert inside >= 88


def test_a_policy_beyond_the_log_is_said_to_be_a_guess() -> None:
    """Where the log never did what is asked, the share with support says so."""
    found = doubly_robust(log(2_000, 1, bias=0.0), threshold(0.6))
    assert 0.45 < found.supported < 0.55
    assert found.small == 1.0
    assert found.cost_nano == 1


def test_weak_evidence_stays_large() -> None:
    """A threshold sends nothing small of which the evidence is weak."""
    rows = [replace(ROW, chance=1.0, weak=True)] * 60
    assert doubly_robust(rows, threshold(1.0)).small == 0.0


def test_too_little_or_impossible_logs_are_refused() -> None:
    """Fewer than fifty rows, or a chance of nothing, give no estimate."""
    row = replace(ROW, chance=0.0)
    with pytest.raises(ValueError, match="too few"):
        doubly_robust([row] * 49, threshold(0.1))
    with pytest.raises(ValueError, match="is none"):
        doubly_robust([row] * 50, threshold(0.1))

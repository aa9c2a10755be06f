"""Figures of a score: known values, ties, and intervals that hold the value."""

from __future__ import annotations

import numpy as np
import pytest

from router.learning_measure import Figure, apgr, auroc, bounded, ece, log_loss


def test_an_order_is_measured_as_routellm_does() -> None:
    """A perfect order is above a half, its reverse below, no difference exactly a half."""
    gap = np.array([1.0, 1.0, 0.0, 0.0])
    assert apgr(np.array([4.0, 3.0, 2.0, 1.0]), gap) == pytest.approx(0.75)
    assert apgr(np.array([1.0, 2.0, 3.0, 4.0]), gap) == pytest.approx(0.25)
    assert apgr(np.ones(4), gap) == pytest.approx(0.5)
    assert apgr(np.ones(2), np.array([0.0, -1.0])) is None


def test_ranks_and_calibration() -> None:
    """Ties count half; a score that is right on average in every bin has no error."""
    assert auroc(np.array([0.9, 0.1]), np.array([1.0, 0.0])) == 1.0
    assert auroc(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == 0.5
    assert auroc(np.array([0.5]), np.array([1.0])) is None
    assert ece(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == pytest.approx(0.0)
    assert ece(np.array([1.0]), np.array([0.0])) == pytest.approx(1.0)
    assert ece(np.zeros(0), np.zeros(0)) is None
    assert log_loss(np.array([0.5]), np.array([1.0]))[0] == pytest.approx(np.log(2))


def test_an_interval_holds_its_value_and_is_the_same_twice() -> None:
    """Seeded, so that a report can be made again."""
    rng = np.random.default_rng(2)
    score, label = rng.random(200), (rng.random(200) < 0.5).astype(float)
    one, two = (bounded(auroc, score, label, 3) for _ in range(2))
    assert one == two
    assert one.value is not None
    assert one.low is not None
    assert one.high is not None
    assert one.low <= one.value <= one.high
    assert (str(Figure(None)), str(Figure(0.5))) == ("-", "0.500")

"""Thresholds from labels: the promise is kept on labels that were not seen."""

from __future__ import annotations

import random

import pytest

from router.errors import TooFewLabels
from router.learning_calibrate import LEAST_LABELS, Labelled, calibrate, kept_at


def labels(count: int, seed: int) -> list[Labelled]:
    """Questions whose small model fails more often the higher their gain is."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        gain = rng.uniform(0, 0.6)
        large = float(rng.random() < 0.9)
        small = large if rng.random() > gain else 0.0
        rows.append(Labelled(gain, weak=False, small=small, large=large, category="abc"[count % 3]))
    return rows


@pytest.mark.parametrize("target", [0.9, 0.95, 0.97])
def test_the_promise_is_kept_on_unseen_labels(target: float) -> None:
    """In at least 90 of 100 draws the quality kept on 20,000 other labels reaches the target."""
    unseen = labels(20_000, 1_000)
    kept = [
        kept_at(unseen, calibrate(labels(600, n), target).overall.limit).kept for n in range(100)
    ]
    assert sum(one >= target for one in kept) >= 90


def test_more_labels_allow_more() -> None:
    """The bound closes in: with more labels fewer calls need the large model."""
    few, many = (calibrate(labels(n, 5), 0.95).overall for n in (300, 20_000))
    assert many.strong < few.strong
    assert few.lower >= 0.95
    assert few.strong_low <= few.strong <= few.strong_high


def test_too_few_labels_are_refused() -> None:
    """Below 200 labels no threshold is given, and the message says how many are needed."""
    with pytest.raises(TooFewLabels, match="199 labels are too few for a threshold, 200"):
        calibrate(labels(LEAST_LABELS - 1, 1), 0.95)
    with pytest.raises(TooFewLabels, match="never right"):
        calibrate([Labelled(0.1, weak=False, small=0, large=0)] * 300, 0.95)


def test_small_models_that_are_always_wrong_get_next_to_nothing() -> None:
    """Where small models are always wrong, no more go small than the target may lose."""
    rows = [Labelled(n / 1_000, weak=False, small=0.0, large=1.0) for n in range(400)]
    found = calibrate(rows, 0.97).overall
    assert found.strong > 0.97
    assert found.lower >= 0.97


def test_weak_evidence_never_goes_small() -> None:
    """Labels with weak evidence count as calls to the large model, whatever their gain."""
    rows = [Labelled(0.0, weak=True, small=1.0, large=1.0)] * 300
    assert calibrate(rows, 0.9).overall.strong == 1.0


def test_categories_are_told_apart() -> None:
    """Each category has its own figures at the one threshold."""
    rows = labels(300, 1) + labels(301, 2)
    found = calibrate(rows, 0.9)
    assert set(found.by_category) == {"a", "b"}
    assert {kept.limit for kept in found.by_category.values()} == {found.overall.limit}

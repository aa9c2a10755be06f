"""Training: refused where labels are few or say nothing, better where they do, the same twice."""

from __future__ import annotations

import json

import numpy as np
import pytest

from router.correction import log_odds, probability, read_correction
from router.errors import TooFewLabels
from router.learning_train import Example, train

LIMITS = ((0.9, 0.13), (0.97, 0.09))


def examples(count: int, seed: int = 1, *, law: float = 0.0, step: float = 0.0) -> list[Example]:
    """Labels drawn from the shipped score, moved by ``law`` where a question is about law.

    ``step``: what no line can say, only where two features meet.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        p, gain = float(rng.uniform(0.3, 0.9)), float(rng.uniform(-0.05, 0.25))
        features = {"size": float(rng.uniform()), "about_law": float(rng.random() < 0.4)}
        meets = (features["size"] > 0.5) == (features["about_law"] > 0)
        true = probability(log_odds(p) + law * features["about_law"] + (step if meets else -step))
        large = min(0.99, max(0.01, true + gain - (0.2 if law and features["about_law"] else 0.0)))
        both = float(rng.random())
        found.append(Example(p, gain, 0.7, float(both < true), float(both < large), 1.0, features))
    return found


def test_few_labels_keep_the_shipped_weights() -> None:
    """199 labels are refused, however good, and so are 400 that count half."""
    with pytest.raises(TooFewLabels, match="199 labels are too few"):
        train(examples(199), LIMITS, "b")
    half = [Example(0.5, 0.1, 0.5, 1.0, None, 0.45, {}, source="implied") for _ in range(400)]
    with pytest.raises(TooFewLabels, match="180 labels"):
        train(half, LIMITS, "b")


def test_labels_that_agree_with_the_score_change_nothing() -> None:
    """Where nothing is to be learned it says so, whatever the draw."""
    for seed in range(3):
        found = train(examples(400, seed), LIMITS, "b")
        assert found.why_not is not None


def test_what_a_team_knows_is_learned_and_holds_on_others() -> None:
    """Questions of law that small models do well: loss falls and the order gets better."""
    found = train(examples(600, law=2.0), LIMITS, "b")
    assert found.why_not is None
    assert found.after.loss < found.before.loss
    assert found.after.apgr.value is not None
    assert found.before.apgr.value is not None
    assert found.after.apgr.value > found.before.apgr.value
    fixes = read_correction(json.dumps(found.weights), "w").heads
    law = fixes["gain"].moved(0.1, {"about_law": 1.0, "size": 0.5})
    other = fixes["gain"].moved(0.1, {"size": 0.5})
    assert law < other - 0.05


def test_trees_are_grown_from_seven_hundred_labels_on() -> None:
    """What no straight line can say is learned once there is enough of it, not before."""
    few, many = (train(examples(n, law=0.1, step=1.5), LIMITS, "b") for n in (500, 1500))
    assert not any(recipe.trees for recipe in few.recipes.values())
    assert many.recipes["small"].trees
    assert many.why_not is None


def test_the_same_labels_and_seed_give_the_same_file() -> None:
    """Nothing is drawn that a seed does not fix; other labels have another name."""
    one, two = (train(examples(300, law=2.0), LIMITS, "b", seed=7) for _ in range(2))
    assert json.dumps(one.weights) == json.dumps(two.weights)
    assert train(examples(301, law=2.0), LIMITS, "b", seed=7).weights["data"] != one.weights["data"]


def test_what_the_labels_deny_is_not_sent_small() -> None:
    """Where small models do worse than the gain says, no floor lets such questions through."""
    bad = [
        Example(0.8, 0.05, 0.7, float(n % 4 > 0), 1.0, 1.0, {"size": n / 300}) for n in range(300)
    ]
    found = train(bad, LIMITS, "b")
    correction = read_correction(json.dumps(found.weights), "w")
    gain = correction.heads["gain"].moved(0.05, {"size": 0.5})
    assert all(gain > limit for _, limit in correction.limits)
    assert [limit for _, limit in correction.limits] == sorted(
        (limit for _, limit in correction.limits), reverse=True
    )


def test_lone_words_train_the_small_head_and_leave_the_comparison() -> None:
    """Outcomes of one answer each move levels; without pairs no order can be claimed."""
    rng = np.random.default_rng(0)
    lone = [
        Example(0.5, 0.1, 0.6, float(rng.random() < 0.9), None, 1.0, {}, source="outcome")
        for _ in range(300)
    ]
    found = train(lone, LIMITS, "b")
    assert found.after.apgr.value is None
    assert found.weights["limits"] == [list(pair) for pair in LIMITS]
    fixes = read_correction(json.dumps(found.weights), "w").heads
    assert fixes["small"].probability(0.5, {}) > 0.7

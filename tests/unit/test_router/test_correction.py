"""One's own correction of the score: what it moves, what it leaves, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from router.complexity import Complexity, bundled_complexity
from router.correction import (
    HEADS,
    Correction,
    HeadFix,
    Tree,
    corrected,
    head_json,
    read_correction,
)
from router.errors import WeightsInvalid
from router.plan import RequestFacts

FACTS = RequestFacts("auto")
LAW = "Under which statute may a tenant terminate a lease early?"


def text(**fixes: HeadFix) -> str:
    """A file whose heads are as shipped but those given."""
    heads = {head: head_json(fixes.get(head, HeadFix())) for head in HEADS}
    base = bundled_complexity().hash
    return json.dumps({"version": 1, "base": base, "heads": heads, "limits": [[0.97, 0.05]]})


def test_nothing_learned_changes_nothing() -> None:
    """A correction of zeros gives the shipped probabilities and gain, and says whose they are."""
    model = bundled_complexity()
    shipped = model.score(LAW, FACTS)
    same = corrected(model, read_correction(text(), "w.json")).score(LAW, FACTS)
    assert (round(same.p_small, 9), same.gain) == (round(shipped.p_small, 9), shipped.gain)
    assert same.weak == shipped.weak
    assert same.shipped == (shipped.p_small, shipped.gain, shipped.small_is_enough)
    assert same.weights == "w.json"
    assert corrected(model, None) is model


def test_lines_and_trees_move_what_they_name() -> None:
    """A slope counts with its feature, a tree by its leaves; other questions stay."""
    tree = Tree("size", 0.0, ("words", 9.0), ("digits", 0.0), (9.0, 9.0, 0.5, 9.0))
    fix = HeadFix(offset=0.0, slopes={"words": 0.1}, trees=(tree,))
    assert fix.moved(0.0, {"size": 1.0, "words": 2.0}) == pytest.approx(0.7)
    assert HeadFix(slopes={"score": 1.0}).moved(0.25, {}) == pytest.approx(0.5)
    score = Complexity(0.5, 0.9, 0.5, 0.4, features={"words": 1.0})
    heads = {"small": HeadFix(), "gain": HeadFix(slopes={"words": -0.5}), "enough": HeadFix()}
    moved = Correction("w", "b", heads, ((0.97, 0.01),), "h").apply(score)
    assert moved.gain == pytest.approx(-0.1)
    assert moved.p_large == pytest.approx(0.4)
    assert moved.limits == ((0.97, 0.01),)


def test_greetings_gain_nothing_whatever_was_learned() -> None:
    """Small talk never needs a large model."""
    scorer = corrected(bundled_complexity(), read_correction(text(gain=HeadFix(0.9)), "w"))
    assert scorer.score("good morning", FACTS).gain <= 0
    assert scorer.score(LAW, FACTS).gain > 0.5


def test_weights_of_another_score_or_form_are_refused() -> None:
    """What was fitted to another shipped score, another version or nothing is an error."""
    with pytest.raises(WeightsInvalid, match="another shipped score"):
        corrected(bundled_complexity(), replace(read_correction(text(), "w"), base="sha256:0"))
    for bad in ("", "[]", "{}", '{"version": 2}', text().replace('"typical"', '"typo"')):
        with pytest.raises(WeightsInvalid, match=r"w\.json"):
            read_correction(bad, "w.json")


def test_a_file_says_what_its_heads_are() -> None:
    """Written and read again a head is the same."""
    tree = Tree("size", 0.5, ("words", 9.0), ("digits", 0.0), (0.1, 0.2, 0.3, 0.4))
    fix = HeadFix(0.25, {"words": 0.5}, (tree,), 0.3)
    assert read_correction(text(small=fix), "w").heads["small"] == fix

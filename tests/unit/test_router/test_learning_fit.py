"""One head's fit: held to the shipped value, by common features, towards the labels."""

from __future__ import annotations

import numpy as np

from router.learning_fit import GROWN, MILDEST, RECIPES, Recipe, Row, fit, predict, table


def rows(count: int) -> list[Row]:
    """Half of the questions are of a kind that is always right; the shipped value says 0.5."""
    return [
        Row(0.5, 1.0 if n % 2 else float(n % 4 == 0), 1.0, {"kind": float(n % 2)}, str(n))
        for n in range(count)
    ]


def test_no_labels_and_the_mildest_recipe_change_nothing() -> None:
    """The starting point is the shipped value."""
    data = table(rows(40), odds=True)
    assert np.allclose(predict(data, fit(data, MILDEST)), 0.5)
    assert MILDEST is RECIPES[0]


def test_a_stronger_hold_moves_less() -> None:
    """The penalty decides how far a feature may move a value; both ways go towards the labels."""
    data = table(rows(400), odds=True)
    loose = predict(data, fit(data, Recipe(1.0)))
    held = predict(data, fit(data, Recipe(1000.0)))
    assert loose[1] > held[1] > 0.5
    assert abs(loose[0] - 0.5) < 0.05


def test_a_rare_feature_says_nothing() -> None:
    """What fewer than one row in twenty has is left out."""
    some = [
        Row(0.5, 1.0, 1.0, {"rare": 1.0} if n == 0 else {"size": 1.0}, str(n)) for n in range(50)
    ]
    assert table(some, odds=True).names == ("score", "size")


def test_a_gain_is_a_straight_line_and_trees_end_in_their_leaves() -> None:
    """Gains are fitted as they are; a tree splits where the labels do."""
    rng = np.random.default_rng(0)
    made = []
    for n in range(800):
        x, y = float(rng.random()), float(rng.random())
        made.append(Row(0.1, float((x > 0.5) == (y > 0.5)), 1.0, {"x": x, "y": y}, str(n)))
    data = table(made, odds=False)
    lines, trees = fit(data, Recipe(1000.0)), fit(data, GROWN[0])
    assert not lines.trees
    said = predict(data, trees)
    good = np.array([row.good for row in made])
    assert said[good > 0.5].mean() > said[good < 0.5].mean() + 0.2
    flat = [tree.value({"score": 0.1, **row.features}) for tree in trees.trees for row in made[:5]]
    assert np.isfinite(flat).all()

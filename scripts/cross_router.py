"""How well the complexity score carries over: cross-validated on the training file.

    python -m scripts.cross_router ../shared/data/routing/train.jsonl

Three ways of leaving out: questions (no stem on both sides), whole subjects and tasks, whole
pairs of models with their benchmarks. Topics of words are learned anew in each fold. Figures are
APGR by slice, moral scenarios (one stem, the largest gap) left out of them, and the AUROC of the
third output against "the weak model did as well" on RouteLLM's pair. Takes minutes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.routing import apgr, auroc, family
from router.complexity import read_words
from router.features import FeatureExtractor, bundled_lexicon
from router.words import NEUTRAL, TOPICS
from scripts.fit_router import Array, Prompts, Rows, fit, load, prompts_of, varied
from scripts.train_router import DATA, subject_folds

MORAL = "mmlu/moral_scenarios"
SLICES = ("routellm/mmlu", "routellm/gsm8k", "llmrouter", "mmlu_pro")


def outputs(prompts: Prompts, copies: Prompts, rows: Rows, folds: npt.NDArray[np.int64]) -> Array:
    """The three outputs of each row, from weights that have not seen its fold."""
    found = np.zeros((len(folds), 3))
    for fold in np.unique(folds):
        test = np.flatnonzero(folds == fold)
        fitted = fit(prompts, rows, np.flatnonzero(folds != fold), copies)
        found[test] = fitted.predict(prompts.of(test))
    return found


def line(name: str, rank: Array, need: Array, rows: Rows, slices: npt.NDArray[np.str_]) -> str:
    """One row of the table."""
    gap, kept = rows.strong - rows.weak, rows.category != MORAL
    areas = [
        apgr(rank[kept & (slices == one)], gap[kept & (slices == one)]) or 0.0 for one in SLICES
    ]
    wide = kept & (rows.family == "routellm")
    area = auroc(-need[wide], gap[wide] <= 0) or 0.0
    return " ".join(
        [f"{name:10}", *(f"{one:.3f}" for one in (*areas, float(np.mean(areas)), area))]
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train", nargs="?", type=Path, default="../shared/data/routing/train.jsonl")
    path = Path(parser.parse_args().train)
    rows = load(path)
    sources = [json.loads(one)["source"] for one in path.read_text("utf-8").splitlines() if one]
    slices = np.array([family(source) for source in sources])
    raw = (DATA / "words.npz").read_bytes()
    with np.load(DATA / "words.npz", allow_pickle=False) as file:
        words = dict(file)
    neutral = np.full((len(words["rare"]), TOPICS), NEUTRAL, dtype=np.uint8)
    extractor = FeatureExtractor(bundled_lexicon(), read_words(raw, neutral))
    prompts, copies = (
        prompts_of(texts, extractor, words) for texts in (rows.prompts, varied(rows.prompts))
    )
    print("left out  ", *SLICES, "mean AUROC")
    length = np.array([float(len(prompt)) for prompt in rows.prompts])
    print(line("length", length, length, rows, slices), flush=True)
    for name, folds in (
        ("questions", rows.fold), ("subjects", subject_folds(rows)), ("pairs", rows.pair)
    ):  # fmt: skip
        found = outputs(prompts, copies, rows, folds)
        print(line(name, found[:, 0], found[:, 2], rows, slices), flush=True)


if __name__ == "__main__":
    main()

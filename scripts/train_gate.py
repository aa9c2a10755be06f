"""Fit the weights of compressor/confidence.py on questions with marked evidence.

    python scripts/train_gate.py ../shared/data/longcontext/train.jsonl

Every question is trimmed to 4K and 8K tokens and to 25 % and 10 % with the gate off; a
logistic model learns from the gate's figures whether 95 % of the evidence was kept, each
source weighing by the root of its questions. Prints the weights, and what the gate would do
to a source that it has not seen (each left out once). Deterministic; about five minutes.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from benchmarks.fit import BUDGETS, chat, covered, rows
from compressor.confidence import gate_figures
from compressor.kin import packaged_vectors
from compressor.measure import human_split
from compressor.protect import open_spans
from compressor.relevance import rank_pieces
from compressor.tokens import TokenCounter, load_counter
from compressor.trim import choose, take_apart

TRAINED_ON = ("4K", "8K", "25%", "10%")
REFUSED = (0.0, 0.05, 0.10, 0.15, 0.20)
SPEECH_TOKENS = 20  # the frame and the question, roughly

Array = npt.NDArray[np.float64]


def samples(path: Path, counter: TokenCounter) -> list[dict[str, object]]:
    """One row a question and budget: its figures, its source, the evidence kept."""
    found: list[dict[str, object]] = []
    for row in rows(path):
        for qa in row["qas"]:
            conversation = chat(row["context"], qa["question"])
            spans = open_spans(conversation, counter, 0)
            texts, _, split = human_split(conversation.messages[0], counter)
            size = sum(span.tokens for span in spans)
            for name in TRAINED_ON:
                target = BUDGETS[name] if BUDGETS[name] > 1 else BUDGETS[name] * size
                if not spans or (BUDGETS[name] > 1 and size < 1.5 * target):
                    continue
                pieces = take_apart(spans, counter, int(target))
                asked = split.question(texts)
                ranking = rank_pieces(pieces, asked, None, packaged_vectors())
                if ranking.placed:
                    continue
                kept = choose(pieces, ranking.scores, int(target) - SPEECH_TOKENS)
                spots = [(pieces.pieces[at].start, pieces.pieces[at].end) for at in kept]
                figures = gate_figures(ranking, kept, asked)
                share = covered(qa["evidence"], spots)
                found.append({"x": figures, "kept": share, "source": row["source"], "budget": name})
        print(".", end="", file=sys.stderr, flush=True)
    return found


def trained(x: Array, whole: npt.NDArray[np.bool_], sources: list[str]) -> tuple[Array, float]:
    """Weights for figures as they come, and the constant."""
    count = Counter(sources)
    weight = np.array([count[source] ** -0.5 for source in sources])
    mean, spread = x.mean(0), x.std(0) + 1e-9
    model = LogisticRegression(C=1.0, max_iter=1000)
    model.fit((x - mean) / spread, whole, sample_weight=weight / weight.mean())
    raw = model.coef_[0] / spread
    return raw, float(model.intercept_[0] - raw @ mean)


def main() -> None:
    """Print the weights and the leave-one-source-out table."""
    found = samples(Path(sys.argv[1]), load_counter("o200k_base"))
    names = list(found[0]["x"])  # type: ignore[call-overload]
    x = np.array([[one["x"][name] for name in names] for one in found])  # type: ignore[index]
    kept = np.array([one["kept"] for one in found], dtype=np.float64)
    sources = [str(one["source"]) for one in found]
    budgets = np.array([one["budget"] for one in found])
    weights, constant = trained(x, kept >= 0.95, sources)
    print(
        {"constant": round(constant, 3)} | dict(zip(names, weights.round(3).tolist(), strict=True))
    )
    sure = np.zeros(len(found))
    for source in sorted(set(sources)):
        mine = np.array([one == source for one in sources])
        others = [one for one in sources if one != source]
        raw, free = trained(x[~mine], kept[~mine] >= 0.95, others)
        sure[mine] = x[mine] @ raw + free
    print("a source not seen; mean/whole of what is trimmed when the least sure are refused:")
    for name in TRAINED_ON:
        order = np.argsort(-sure[budgets == name], kind="stable")
        shares = kept[budgets == name][order]
        parts = [shares[: int(len(shares) * (1 - refused))] for refused in REFUSED]
        told = "  ".join(
            f"{refused:.0%} {100 * part.mean():.1f}/{100 * (part >= 0.95).mean():.1f}"
            for refused, part in zip(REFUSED, parts, strict=True)
        )
        print(f"{name:>4} n={len(shares)}: {told}")


if __name__ == "__main__":
    main()

"""How surely the pieces kept hold what the question needs; the gate of a trim."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from compressor.chunk import Layout
from compressor.position import asks_for_place
from compressor.relevance import Ranking

# Fitted by scripts/train_gate.py (docs/decisions/0018-fit-quality.md)
CONSTANT = 1.39
WEIGHTS = {
    "held": 0.803,  # the greatest share of the question that one piece holds
    "edge": -3.966,  # the best piece left out, by the best one: a flat curve
    "peak": -0.128,  # log of how far the best stands out
    "kept": 0.295,  # log of the share of pieces kept
    "named": 1.168,  # it names something by letters and figures
    "wide_talk": -0.951,  # a wide question about a conversation
    "vague_talk": -1.524,  # one about a conversation that names nothing
    "words": 0.608,  # log of its length
    "names": 0.145,  # words with a capital
    "step": 0.55,  # from the best piece to the fourth
    "prose": 0.008,
    "pieces": 0.254,  # log of the number of pieces kept
    "records": 3.321,  # JSON, a log
}
PLACE_UNKNOWN = 0.3
PLACE_FOUND = 0.8
_WIDE = re.compile(
    r"\b(?:summari[sz]e|discuss\w*|think|thought|opinions?|views?|attitudes?|talk\w*|said|say"
    r"|decisions?|decided?|agree\w*|disagree\w*|explain\w*|describe\w*|present\w*|introduc\w*"
    r"|mention\w*|compare\w*|all|every|overall|why|how did|reasons?|conclu\w+|recommend\w*"
    r"|suggest\w*|propos\w*)\b",
    re.IGNORECASE,
)
_NAMED = re.compile(r"[\"“`]|\b\w*\d\w*\b|\w_\w|[a-z][A-Z]")
_WORD = re.compile(r"[A-Za-z0-9_]+")


def confidence(ranking: Ranking, kept: Sequence[int], question: str) -> float:
    """How likely the pieces kept hold all that the question needs, 0 to 1.

    A logistic model of the ranking and of the question, fitted on questions with marked
    evidence, each source weighing the same. Words do not answer a question for a place:
    it is sure only where the place was found.
    """
    if not len(ranking.scores) or not question.strip():
        return 0.0
    if ranking.placed:
        return PLACE_FOUND
    figures = gate_figures(ranking, kept, question)
    logit = CONSTANT + sum(WEIGHTS[name] * value for name, value in figures.items())
    sure = 1.0 / (1.0 + float(np.exp(-logit)))
    return min(sure, PLACE_UNKNOWN) if asks_for_place(question) else sure


def gate_figures(ranking: Ranking, kept: Sequence[int], question: str) -> dict[str, float]:
    """The figures that the confidence is made of, by name."""
    scores = ranking.scores
    out = np.ones(len(scores), dtype=bool)
    out[list(kept)] = False
    best = max(1e-9, float(scores.max()))
    order = np.sort(scores)[::-1]
    peak = float((best - scores.mean()) / (scores.std() + 1e-9))
    talk = ranking.kind is Layout.DIALOGUE
    named = _NAMED.search(question) is not None
    words = _WORD.findall(question)
    return {
        "held": ranking.held,
        "edge": float(scores[out].max()) / best if out.any() else 0.0,
        "peak": float(np.log(max(peak, 0.5))),
        "kept": float(np.log(max(len(kept) / len(scores), 1e-3))),
        "named": float(named),
        "wide_talk": float(talk and _WIDE.search(question) is not None),
        "vague_talk": float(talk and not named),
        "words": float(np.log(max(1, len(words)))),
        "names": float(min(4, sum(word[0].isupper() for word in words[1:]))),
        "step": float(order[0] - order[min(3, len(order) - 1)]) / best,
        "prose": float(ranking.kind is Layout.PROSE),
        "pieces": float(np.log(len(kept) + 1)),
        "records": float(ranking.kind is None or ranking.kind is Layout.LOG),
    }

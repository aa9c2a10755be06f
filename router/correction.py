"""One's own correction of the shipped score: what labels of one's own traffic add to it.

Each head (whether the small model is right, what the large one gains, whether the small one is
as good) keeps the shipped value as its starting point; a correction moves it, a probability by
its log-odds, along a straight line over named features and, from 700 labels on, by small trees.
``weir router train`` writes it as one JSON file, which ``routing.weights`` names; without the
line the shipped score is in force.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, log
from typing import Any, Protocol

from compressor.measure import Measurement
from router.complexity import Complexity, Limits, is_small_talk
from router.errors import WeightsInvalid
from router.plan import RequestFacts

VERSION = 1
SCORE = "score"  # the shipped value, as a feature among the others
HEADS = ("small", "gain", "enough")
_EDGE = 30.0


class Scorer(Protocol):
    """What scores questions: the shipped model, or that with a correction on it."""

    hash: str

    @property
    def limits(self) -> Limits:
        """The highest gain at which each calibrated quality floor is kept."""

    def score(
        self, question: str, facts: RequestFacts, measurement: Measurement | None = None
    ) -> Complexity:
        """The calibrated score of a question."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Two questions deep: ``feature`` above ``at``, then one on each side; four leaves."""

    feature: str
    at: float
    below: tuple[str, float]
    above: tuple[str, float]
    leaves: tuple[float, float, float, float]

    def value(self, values: Mapping[str, float]) -> float:
        """The leaf that these features reach."""
        right = values.get(self.feature, 0.0) > self.at
        name, at = self.above if right else self.below
        return self.leaves[2 * right + (values.get(name, 0.0) > at)]


@dataclass(frozen=True, slots=True)
class HeadFix:
    """What one head is moved by: ``offset``, ``slopes`` by feature, ``trees``.

    ``typical`` is the whole move of a question with average features.
    """

    offset: float = 0.0
    slopes: Mapping[str, float] = field(default_factory=dict)
    trees: tuple[Tree, ...] = ()
    typical: float = 0.0

    def moved(self, value: float, features: Mapping[str, float]) -> float:
        """The corrected value of a shipped one."""
        moved = value + self.offset + self.slopes.get(SCORE, 0.0) * value
        for name, said in features.items():
            slope = self.slopes.get(name)
            if slope is not None:
                moved += slope * said
        if self.trees:
            values = {**features, SCORE: value}
            moved += sum(tree.value(values) for tree in self.trees)
        return moved

    def probability(self, p: float, features: Mapping[str, float]) -> float:
        """The corrected probability of a shipped one."""
        return probability(self.moved(log_odds(p), features))


@dataclass(frozen=True, slots=True)
class Correction:
    """All heads' corrections, the limits that go with them, and which shipped score is meant.

    ``name`` is the file's; ``hash`` names its content.
    """

    name: str
    base: str
    heads: Mapping[str, HeadFix]
    limits: Limits
    hash: str

    def apply(self, score: Complexity) -> Complexity:
        """The corrected score; what says why the evidence is weak stays."""
        said = score.features
        small = self.heads["small"].probability(score.p_small, said)
        gain = max(-1.0, min(1.0, self.heads["gain"].moved(score.gain, said)))
        enough = self.heads["enough"].probability(score.small_is_enough, said)
        return replace(
            score,
            p_small=small,
            p_large=min(0.999, max(0.001, small + gain)),
            small_is_enough=enough,
            gain=gain,
            limits=self.limits,
            weights=self.name,
            shipped=(score.p_small, score.gain, score.small_is_enough),
        )


class CorrectedModel:
    """The shipped model with a correction on it; safe between threads."""

    def __init__(self, inner: Scorer, correction: Correction) -> None:
        self._inner, self._correction = inner, correction
        self.hash = correction.hash

    @property
    def limits(self) -> Limits:
        """See ``Scorer.limits``."""
        return self._correction.limits

    def score(
        self, question: str, facts: RequestFacts, measurement: Measurement | None = None
    ) -> Complexity:
        """See ``Scorer.score``. Greetings and thanks gain nothing, whatever was learned."""
        score = self._correction.apply(self._inner.score(question, facts, measurement))
        small_talk = score.gain > 0 and is_small_talk(question)
        return replace(score, gain=0.0) if small_talk else score


def corrected(inner: Scorer, correction: Correction | None) -> Scorer:
    """The scorer in force.

    Raises:
        WeightsInvalid: the correction was made for another shipped score.
    """
    if correction is None:
        return inner
    if correction.base != inner.hash:
        raise WeightsInvalid(
            f"{correction.name} was trained on another shipped score; run `weir router train` "
            "again, or remove the line `routing.weights`"
        )
    return CorrectedModel(inner, correction)


def read_correction(text: str, name: str) -> Correction:
    """A correction from its file's text.

    Raises:
        WeightsInvalid: it is none.
    """
    try:
        said = json.loads(text)
        if said["version"] != VERSION:
            raise ValueError(f"version {said['version']!r} is not {VERSION}")
        heads = {head: _head(said["heads"][head]) for head in HEADS}
        limits = tuple(sorted((float(floor), float(limit)) for floor, limit in said["limits"]))
        base = str(said["base"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsInvalid(f"{name} holds no weights of `weir router train`: {error}") from None
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    return Correction(name, base, heads, limits, digest)


def _head(said: Mapping[str, Any]) -> HeadFix:
    trees = tuple(
        Tree(
            str(row["feature"]),
            float(row["at"]),
            _split(row["below"]),
            _split(row["above"]),
            _leaves(row["leaves"]),
        )
        for row in said["trees"]
    )
    slopes = {str(name): float(value) for name, value in said["slopes"].items()}
    return HeadFix(float(said["offset"]), slopes, trees, float(said["typical"]))


def _split(row: Sequence[Any]) -> tuple[str, float]:
    return str(row[0]), float(row[1])


def _leaves(row: Sequence[Any]) -> tuple[float, float, float, float]:
    one, two, three, four = (float(value) for value in row)
    return one, two, three, four


def head_json(fix: HeadFix) -> dict[str, Any]:
    """A head's correction as its file has it."""
    return {
        "offset": fix.offset,
        "typical": fix.typical,
        "slopes": dict(fix.slopes),
        "trees": [
            {
                "feature": tree.feature,
                "at": tree.at,
                "below": list(tree.below),
                "above": list(tree.above),
                "leaves": list(tree.leaves),
            }
            for tree in fix.trees
        ],
    }


def log_odds(p: float) -> float:
    """Of a probability, within reason."""
    p = min(0.9999, max(0.0001, p))
    return log(p / (1 - p))


def probability(odds: float) -> float:
    """Of log-odds, never quite 0 or 1."""
    return min(0.999, max(0.001, 1 / (1 + exp(-max(-_EDGE, min(_EDGE, odds))))))

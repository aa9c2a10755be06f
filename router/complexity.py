"""How likely a small model is to answer as well as a large one.

Two calibrated heads: ``p_small`` and ``p_large``, the chance that each answers right. Their
difference, the gain, decides; difficulty alone would send up what both get wrong. Trees on
hand-made features and word topics plus a little of the length; the weights are data
(docs/model-card-complexity.md), run time is NumPy alone.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from math import exp
from typing import Any

import numpy as np
import re2

from compressor.measure import Measurement
from router.errors import WeightsInvalid
from router.features import FeatureExtractor, Vector, WordVectors, bundled_lexicon, clip, options_of
from router.forest import Forest
from router.plan import RequestFacts

Limits = tuple[tuple[float, float], ...]

FOLLOW_UP_WORDS = 8
SIGNAL_WORDS = 3
STRANGE_SHARE = 0.25  # of bytes outside ASCII: beyond it the score was not trained
LONG_QUESTION_CHARS = 6_000

WEAK = {
    "script": "a script that the score was not trained on",
    "no_signal": "nothing in the question tells",
    "follow_up": "a short follow-up tells nothing of its own",
    "tools": "a task with tools, on which no score was proven",
    "open_task": "a proof, design, code or diagnosis, on which no score was proven",
    "too_long": "a question longer than any that was measured",
}
_ASCII = bytes(range(128))


@dataclass(frozen=True, slots=True)
class Complexity:
    """The score of one question.

    ``small_is_enough`` is P(the small model is as good as the large one), ``gain`` what
    the large one adds on average (-1 to 1). ``weak`` names why the evidence does not carry
    (a key of ``WEAK``), or is None. ``limits`` holds pairs of (quality floor, highest gain
    at which a small model keeps it), floors ascending.
    """

    p_small: float
    p_large: float
    small_is_enough: float
    gain: float
    weak: str | None = None
    limits: Limits = ()
    features: Mapping[str, float] = field(default_factory=dict)

    def gain_limit(self, floor: float) -> float:
        """The highest gain at which traffic sent small keeps ``floor`` of the quality.

        Between two calibrated floors the stricter one's limit holds; above the strictest
        only a gain of 0 or less does. Without a calibration: what ``floor`` says itself.
        """
        if not self.limits:
            return (1 - floor) * self.p_large
        for calibrated, limit in self.limits:
            if calibrated >= floor - 1e-9:
                return limit
        return 0.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Straight lines from raw outputs to probabilities, fitted on rows left out.

    ``gain``: (offset, slope) of the rank score. ``small``: logistic (offset, slope) of the
    forest's small head. ``enough``: logistic (offset, slope on the forest's third head,
    slope on the rank score). ``length``: (mean, deviation, weight) of the length term;
    ``spread`` the deviation of the forest's gain.
    """

    gain: tuple[float, float]
    small: tuple[float, float]
    enough: tuple[float, float, float]
    length: tuple[float, float, float]
    spread: float
    limits: Limits


class ComplexityModel:
    """Scores questions; safe between threads. ``hash`` names the weights."""

    def __init__(
        self, extractor: FeatureExtractor, forest: Forest, calibration: Calibration, digest: str
    ) -> None:
        self._extractor = extractor
        self._forest = forest
        self._calibration = calibration
        self._chars = extractor.names.index("chars")
        # Word topics come last and mean nothing to a reader.
        self._named = tuple(name for name in extractor.names if not name.startswith("topic_"))
        self.hash = digest

    @property
    def limits(self) -> Limits:
        """The highest gain at which each calibrated quality floor is kept."""
        return self._calibration.limits

    def score(
        self, question: str, facts: RequestFacts, measurement: Measurement | None = None
    ) -> Complexity:
        """The calibrated score of ``question`` (the instruction without its document).

        Tools, images and history do not move the score: they were not in the labels. They
        are named in ``weak`` where the score should not be relied on.
        """
        vector = self._extractor.extract(question)
        gain, small, need = self._forest.predict(vector).tolist()
        line = self._calibration
        mean, deviation, weight = line.length
        rank = gain / line.spread + weight * (float(vector[self._chars]) - mean) / deviation
        p_small = _logistic(line.small[0] + line.small[1] * small)
        added = line.gain[0] + line.gain[1] * rank
        if is_small_talk(question):
            added = min(added, 0.0)
        p_large = min(0.999, max(0.001, p_small + added))
        offset, by_need, by_rank = line.enough
        return Complexity(
            p_small=p_small,
            p_large=p_large,
            small_is_enough=_logistic(offset + by_need * need + by_rank * rank),
            gain=added,
            weak=weak_evidence(question, facts),
            limits=line.limits,
            features=Said(self._named, vector),
        )


class Said(Mapping[str, float]):
    """The features that are not zero, for a person to read; put together when one does."""

    def __init__(self, names: Sequence[str], vector: Vector) -> None:
        self._names, self._vector = names, vector

    @cached_property
    def _found(self) -> dict[str, float]:
        values = self._vector.tolist()
        return {
            name: round(value, 4) for name, value in zip(self._names, values, strict=False) if value
        }

    def __getitem__(self, name: str) -> float:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return repr(self._found)


_STOCK = re2.compile(
    r"(?i)\b(?:hi|hello|hey|yo|there|good (?:morning|afternoon|evening|night|day)|thanks?"
    r"|thank you|cheers|bye|please|how are you(?: today)?|how is it going|what's up"
    r"|nice to meet you|think step by step|step by step|think (?:carefully|hard)"
    r"|take your time|pros and cons|be (?:thorough|concise)|everyone|all|friend|again|today"
    r"|ok(?:ay)?|and|so|well|great|lol)\b|[!-/:-@\[-`{-~]+"
)
_DEMANDING = re2.compile(
    r"(?i)\b(?:prove|proof|disprove|derive|show that|verify that|theorem|lemma|corollary"
    r"|rigorous\w*|implement|refactor|debug|deadlock|race condition|concurren\w+"
    r"|optimi[sz]e|architect\w*"
    r"|design (?:a|an|the)|migrate|reverse.engineer|vulnerabilit\w+|exploit|diagnos\w+"
    r"|differential diagnosis|legal (?:advice|opinion)|draft (?:a|an|the) (?:contract|brief|motion)"
    r"|fix (?:the|this|my|a)|why does (?:this|my) (?:code|test|query|program))\b"
)


def is_small_talk(question: str) -> bool:
    """Whether nothing but greetings, thanks and stock phrases is said."""
    return len(question) < 200 and bool(question.strip()) and not _STOCK.sub("", question).strip()


def is_open_task(question: str) -> bool:
    """Whether it asks for a proof, a design, working code or a diagnosis.

    The labels are of short answers that can be checked; of such work they say nothing.
    Lettered options make it a question of choice, which they do cover.
    """
    clipped = clip(question)
    return bool(_DEMANDING.search(clipped.encode())) and not options_of(clipped)


def weak_evidence(question: str, facts: RequestFacts) -> str | None:
    """Why a score of this question is not to be relied on, or None."""
    words = len(question.split())
    if facts.human_turns > 1 and words <= FOLLOW_UP_WORDS:
        return "follow_up"
    if is_small_talk(question):
        return None
    if words < SIGNAL_WORDS:
        return "no_signal"
    if _strange_share(question) > STRANGE_SHARE:
        return "script"
    if facts.tool_count > 0:
        return "tools"
    return _unlabelled(question)


def _unlabelled(question: str) -> str | None:
    """What makes a question unlike those with labels, or None."""
    if is_open_task(question):
        return "open_task"
    return "too_long" if len(question) > LONG_QUESTION_CHARS else None


def _strange_share(question: str) -> float:
    """Share of bytes outside ASCII; accents in a European language stay far below a quarter."""
    raw = question[:LONG_QUESTION_CHARS].encode("utf-8", "replace")
    return len(raw.translate(None, _ASCII)) / max(1, len(raw))


def _logistic(value: float) -> float:
    return 1 / (1 + exp(-max(-30.0, min(30.0, value))))


def read_words(data: bytes) -> WordVectors:
    """Word vectors from the bytes of words.npz."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        words = file["words"].tobytes().decode().split("\n")
        vectors = file["vectors"].astype(np.float32) * file["scale"]
    return WordVectors({word: row for row, word in enumerate(words)}, vectors)


def read_forest(data: bytes, depth: int) -> Forest:
    """The trees from the bytes of complexity.npz."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return Forest(
            roots=file["roots"],
            feature=file["feature"].astype(np.int32),
            threshold=file["threshold"],
            right=file["right"],
            values=file["values"].astype(np.float32),
            depth=depth,
        )


def read_calibration(meta: Mapping[str, Any]) -> Calibration:
    """The calibration as written in complexity.json."""
    lines = meta["calibration"]
    return Calibration(
        gain=tuple(lines["gain"]),
        small=tuple(lines["small"]),
        enough=tuple(lines["enough"]),
        length=tuple(lines["length"]),
        spread=float(lines["spread"]),
        limits=tuple((float(floor), float(limit)) for floor, limit in lines["limits"]),
    )


def bundled_complexity() -> ComplexityModel:
    """The model shipped with the package; reads its data files once, when called."""
    folder = resources.files("router").joinpath("data")
    weights = folder.joinpath("complexity.npz").read_bytes()
    text = folder.joinpath("complexity.json").read_text(encoding="utf-8")
    meta = json.loads(text)
    words = read_words(folder.joinpath("words.npz").read_bytes())
    extractor = FeatureExtractor(bundled_lexicon(), words)
    if list(extractor.names) != meta["features"]:
        raise WeightsInvalid("the weights were trained on other features: run `make train`")
    forest = read_forest(weights, int(meta["settings"]["depth"]))
    digest = hashlib.sha256(weights + text.encode()).hexdigest()
    return ComplexityModel(extractor, forest, read_calibration(meta), f"sha256:{digest}")

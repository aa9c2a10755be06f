"""How likely a small model is to answer as well as a large one.

Two calibrated heads: ``p_small`` and ``p_large``, the chance that each answers right. Their
difference, the gain, decides; difficulty alone would send up what both get wrong. Shallow
trees and straight lines on hand-made features and word topics; the weights are data
(docs/model-card-complexity.md), run time is plain Python.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib import resources
from math import exp
from typing import Any

import numpy as np
import numpy.typing as npt
import re2

from compressor.measure import Measurement
from router.errors import WeightsInvalid
from router.features import FeatureExtractor, bundled_lexicon
from router.forest import Lines, Outputs, Tree, drawn, grown
from router.plan import RequestFacts
from router.reading import clip, options_of
from router.words import HIGHEST, packed

Limits = tuple[tuple[float, float], ...]

FOLLOW_UP_WORDS = 8
SIGNAL_WORDS = 3
REMEMBERED = 256  # questions
STRANGE_SHARE = 0.25  # of bytes outside ASCII: beyond it the score was not trained
LONG_QUESTION_CHARS = 6_000

WEAK = {
    "script": "a script that the score was not trained on",
    "no_signal": "nothing in the question tells",
    "follow_up": "a short follow-up tells nothing of its own",
    "tools": "a task with tools, on which no score was proven",
    "open_task": "a proof, design, code, diagnosis or long why, on which no score was proven",
    "too_long": "a question longer than any that was measured",
}
_ASCII = bytes(range(128))


@dataclass(frozen=True, slots=True)
class Complexity:
    """The score of one question.

    ``small_is_enough`` is P(the small model is as good as the large one), ``gain`` what
    the large one adds on average (-1 to 1). ``weak`` names why the evidence does not carry
    (a key of ``WEAK``), or is None. ``limits`` holds pairs of (quality floor, highest gain
    at which a small model keeps it), floors ascending. ``shipped`` is what the shipped weights
    said (small, gain, enough), where one's own ``weights`` (a file's name) correct them.
    """

    p_small: float
    p_large: float
    small_is_enough: float
    gain: float
    weak: str | None = None
    limits: Limits = ()
    features: Mapping[str, float] = field(default_factory=dict)
    shipped: tuple[float, float, float] | None = None
    weights: str | None = None

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

    ``gain``: (offset, slope) of the first output, the rank. ``small``: logistic (offset,
    slope) of the second. ``enough``: logistic (offset, slope on the third, on the rank).
    """

    gain: tuple[float, float]
    small: tuple[float, float]
    enough: tuple[float, float, float]
    limits: Limits


class ComplexityModel:
    """Scores questions; safe between threads. ``hash`` names the weights."""

    def __init__(
        self,
        extractor: FeatureExtractor,
        weights: tuple[Sequence[Tree], Lines],
        calibration: Calibration,
        digest: str,
    ) -> None:
        self._extractor = extractor
        self._trees, self._lines = weights
        self._calibration = calibration
        # One question comes many times: a tool loop sends it again with every call.
        self._outputs = lru_cache(maxsize=REMEMBERED)(self._compute)
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
        values, (rank, small, need), small_talk = self._outputs(question)
        line = self._calibration
        p_small = _logistic(line.small[0] + line.small[1] * small)
        added = line.gain[0] + line.gain[1] * rank
        if small_talk:
            added = min(added, 0.0)
        p_large = min(0.999, max(0.001, p_small + added))
        offset, by_need, by_rank = line.enough
        return Complexity(
            p_small=p_small,
            p_large=p_large,
            small_is_enough=_logistic(offset + by_need * need + by_rank * rank),
            gain=added,
            weak=weak_evidence(question, facts, small_talk=small_talk),
            limits=line.limits,
            features=Said(self._named, values),
        )

    def _compute(self, question: str) -> tuple[list[float], Outputs, bool]:
        """All that depends on the question alone: features, outputs, whether small talk."""
        values = self._extractor.extract(question)
        rank, small, need = grown(self._trees, values)
        by_line = drawn(self._lines, values)
        outputs = (rank + by_line[0], small + by_line[1], need + by_line[2])
        return values, outputs, is_small_talk(question)


class Said(Mapping[str, float]):
    """The features that are not zero, for a person to read; put together when one does."""

    def __init__(self, names: Sequence[str], values: Sequence[float]) -> None:
        self._names, self._values = names, values

    @cached_property
    def _found(self) -> dict[str, float]:
        pairs = zip(self._names, self._values, strict=False)
        return {name: round(value, 4) for name, value in pairs if value}

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
    r"|why (?:do|does|did|is|are|would)(?: [^ ?]+){12}|fix (?:the|this|my|a)"
    r"|why does (?:this|my) (?:code|test|query|program))\b"
)


_STOCK_END = frozenset(
    [
        "hi", "hello", "hey", "yo", "there", "morning", "afternoon", "evening", "night",
        "day", "thank", "thanks", "you", "cheers", "bye", "please", "today", "going",
        "up", "step", "carefully", "hard", "time", "cons", "thorough", "concise",
        "everyone", "all", "friend", "again", "ok", "okay", "and", "so", "well", "great",
        "lol", "meet",
    ]
)  # fmt: skip


def is_small_talk(question: str) -> bool:
    """Whether nothing but greetings, thanks and stock phrases is said."""
    if len(question) >= 200:
        return False
    last = question.rstrip(" \t\n.,;:!?-)('\"*~_").rpartition(" ")[2].lower()
    if last.isalpha() and last not in _STOCK_END:
        return False  # no stock phrase ends so: spares the search below
    return bool(question.strip()) and not _STOCK.sub("", question).strip()


def is_open_task(question: str) -> bool:
    """Whether it asks for a proof, a design, working code, a diagnosis or a long explanation.

    The labels are of short answers that can be checked; of such work they say nothing.
    Lettered options make it a question of choice, which they do cover.
    """
    clipped = clip(question)
    return bool(_DEMANDING.search(clipped.encode())) and not options_of(clipped)


def weak_evidence(
    question: str, facts: RequestFacts, *, small_talk: bool | None = None
) -> str | None:
    """Why a score of this question is not to be relied on, or None.

    ``small_talk``: whether it says nothing but that, where known already.
    """
    words = len(question[:LONG_QUESTION_CHARS].split(None, FOLLOW_UP_WORDS))
    if facts.human_turns > 1 and words <= FOLLOW_UP_WORDS:
        return "follow_up"
    if is_small_talk(question) if small_talk is None else small_talk:
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
    if question.isascii():
        return 0.0
    raw = question[:LONG_QUESTION_CHARS].encode("utf-8", "replace")
    return len(raw.translate(None, _ASCII)) / max(1, len(raw))


def _logistic(value: float) -> float:
    return 1 / (1 + exp(-max(-30.0, min(30.0, value))))


def read_words(data: bytes, topics: npt.NDArray[np.uint8]) -> dict[str, int]:
    """What is known of each word, from the bytes of words.npz and the trained topics."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        words = file["words"].tobytes().decode().split("\n")
        rare = np.round(file["rare"].astype(float) * (HIGHEST / 255)).astype(np.uint8)
    return packed(words, rare, topics)


def read_topics(data: bytes) -> npt.NDArray[np.uint8]:
    """The topics of each word, from the bytes of complexity.npz."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        topics: npt.NDArray[np.uint8] = file["topics"]
    return topics


def read_weights(data: bytes) -> tuple[list[Tree], Lines]:
    """Trees and lines from the bytes of complexity.npz."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        parts = zip(
            file["feature"].tolist(),
            file["threshold"].astype(float).tolist(),
            file["values"].astype(float).tolist(),
            strict=True,
        )
        trees = [Tree(one, two, [(a, b, c) for a, b, c in leaves]) for one, two, leaves in parts]
        rank, small, need = file["slopes"].astype(float).T.tolist()
        first, second, third = file["offsets"].astype(float).tolist()
    return trees, Lines((first, second, third), (rank, small, need))


def read_calibration(meta: Mapping[str, Any]) -> Calibration:
    """The calibration as written in complexity.json."""
    lines = meta["calibration"]
    return Calibration(
        gain=tuple(lines["gain"]),
        small=tuple(lines["small"]),
        enough=tuple(lines["enough"]),
        limits=tuple((float(floor), float(limit)) for floor, limit in lines["limits"]),
    )


def bundled_complexity() -> ComplexityModel:
    """The model shipped with the package; reads its data files once, when called."""
    folder = resources.files("router").joinpath("data")
    weights = folder.joinpath("complexity.npz").read_bytes()
    text = folder.joinpath("complexity.json").read_text(encoding="utf-8")
    meta = json.loads(text)
    words = read_words(folder.joinpath("words.npz").read_bytes(), read_topics(weights))
    extractor = FeatureExtractor(bundled_lexicon(), words)
    if list(extractor.names) != meta["features"]:
        raise WeightsInvalid("the weights were trained on other features: run `make train`")
    digest = hashlib.sha256(weights + text.encode()).hexdigest()
    return ComplexityModel(
        extractor, read_weights(weights), read_calibration(meta), f"sha256:{digest}"
    )

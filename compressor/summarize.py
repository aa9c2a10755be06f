"""Extracts: the sentences of a text that say most of it, in order, word for word.

Sentences are chosen by maximal marginal relevance: near to what the whole says (or to
the question, where there is one), far from what is chosen already, and preferably
carrying a number, a date or an identifier, which a later turn is likely to ask for and
no model can reconstruct. What is left out shows as an ellipsis. Nothing can be invented
this way, which is why every other summariser falls back to this one.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor.kit import Embedder
from compressor.text import STOP, WORD, Words
from compressor.tokens import TokenCounter
from compressor.units import Unit, split_units

VERSION = "1"
GAP = "…"
GAP_TOKENS = 2
DIMENSIONS = 1024  # of the hashed term vectors used where there is no embedder
DIVERSITY = 0.3  # weight of being unlike what is chosen, against being central
SAME = 0.98  # a unit this near to a chosen one repeats it
EXACT_BONUS = 0.4
FIRST_BONUS = 0.1
ERROR_BONUS = 0.15
QUESTION_WEIGHT = 1.5
LENGTH_POWER = 0.4  # value is divided by tokens to this power: 0 ignores cost, 1 is density
DECIMALS = 5  # scores are rounded, so that the last bits of a sum decide nothing

_EXACT = re.compile(
    r"\d|[a-z][A-Z]|\w_\w|\w/\w|\w@\w|`|\b[A-Z]{2,}\b"
    r"|\b(?:January|February|March|April|May|June|July|August|September|October|November|December)\b"
)
_ERROR = re.compile(
    r"\b(?:error|exception|traceback|failed|failure|fatal|panic|denied|decided?|agreed?|must|never)\b",
    re.IGNORECASE,
)

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Extract:
    """What is left of one text; ``dropped`` are character spans of the original.

    ``score`` is the mean value, 0 to 1, of the units that were dropped.
    """

    text: str
    dropped: tuple[tuple[int, int], ...]
    score: float


@dataclass(frozen=True, slots=True)
class _Pool:
    """The units of several texts in one row, ``owner`` saying whose each is."""

    texts: Sequence[str]
    units: list[Unit]
    owner: list[int]
    words: list[str]
    tokens: npt.NDArray[np.int64]


class ExtractiveSummarizer:
    """The summariser that cannot invent.

    Args:
        embedder: sentence vectors for centrality; without one, terms weighted by rarity.
        counter: counts the budget; without one, a token is taken to be three bytes.
    """

    def __init__(
        self, embedder: Embedder | None = None, counter: TokenCounter | None = None
    ) -> None:
        self._embedder, self._counter = embedder, counter
        self.name = f"extract-{VERSION}" + (f"+{embedder.name}" if embedder is not None else "")

    def summarize(self, texts: Sequence[str], max_tokens: int, question: str) -> list[str]:
        """One extract a text, in order, each of at most ``max_tokens`` tokens (>= 1)."""
        return [self.extract([text], max_tokens, question)[0].text for text in texts]

    def extract(
        self,
        texts: Sequence[str],
        max_tokens: int,
        question: str = "",
        weights: Sequence[float] | None = None,
    ) -> list[Extract]:
        """One extract a text; together at most ``max_tokens`` tokens, whoever they fall to.

        A text of which nothing is kept becomes a lone ellipsis, which costs one token.
        ``weights`` (1.0 each) says whose sentences are worth more.
        """
        pool = self._pool(texts)
        if not pool.units:
            return [Extract(text, (), 0.0) for text in texts]
        values, vectors = self._values(pool, question, weights)
        budget = max_tokens - GAP_TOKENS * len(texts)
        chosen = _choose(values, vectors, pool.tokens, budget)
        extracts = _render(pool, chosen, values)
        while chosen and self._total(extracts) > max_tokens:
            chosen.remove(min(chosen, key=lambda at: (values[at], -at)))
            extracts = _render(pool, chosen, values)
        return extracts

    def _pool(self, texts: Sequence[str]) -> _Pool:
        units: list[Unit] = []
        owner: list[int] = []
        for number, text in enumerate(texts):
            found = split_units(text)
            units.extend(found)
            owner.extend([number] * len(found))
        words = [texts[n][unit.start : unit.end] for n, unit in zip(owner, units, strict=True)]
        counts = np.array(self._count(words), dtype=np.int64)
        return _Pool(texts, units, owner, words, counts)

    def _count(self, texts: Sequence[str]) -> list[int]:
        if self._counter is not None:
            return self._counter.count_many(texts)
        return [len(text.encode("utf-8", "replace")) // 3 + 1 for text in texts]

    def _total(self, extracts: Sequence[Extract]) -> int:
        return sum(self._count([extract.text for extract in extracts]))

    def _values(
        self, pool: _Pool, question: str, weights: Sequence[float] | None
    ) -> tuple[npt.NDArray[np.float64], Matrix]:
        """How much each unit is worth, 0 to about 2, and its vector."""
        asked = [question] if question.strip() else []
        if self._embedder is not None:
            vectors = np.asarray(self._embedder.embed([*pool.words, *asked]), dtype=np.float32)
        else:
            vectors = _term_vectors([*pool.words, *asked])
        own = vectors[: len(pool.words)]
        centre = own.T @ _weights(pool)
        values = _spread(own @ (centre / (float(np.linalg.norm(centre)) or 1.0)))
        if asked:
            values = values + QUESTION_WEIGHT * _spread(own @ vectors[-1])
        values += np.array([_bonus(text) for text in pool.words])
        first = [n == 0 or pool.owner[n] != pool.owner[n - 1] for n in range(len(pool.owner))]
        values += FIRST_BONUS * np.array(first, dtype=np.float64)
        if weights is not None:
            values *= np.array([weights[number] for number in pool.owner])
        return np.round(values, DECIMALS), own


def _weights(pool: _Pool) -> npt.NDArray[np.float32]:
    """How much each unit says of what the whole is about: repeats count once together."""
    times = Counter(pool.words)
    repeats = np.array([times[text] for text in pool.words], dtype=np.float32)
    return np.asarray(np.sqrt(pool.tokens.astype(np.float32)) / repeats, dtype=np.float32)


def _bonus(text: str) -> float:
    exact = min(3, len(_EXACT.findall(text))) / 3
    return EXACT_BONUS * exact + (ERROR_BONUS if _ERROR.search(text) else 0.0)


def _spread(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """``values`` moved to 0 .. 1; all 0.5 where they do not differ."""
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-9:
        return np.full(len(values), 0.5)
    return (values.astype(np.float64) - low) / (high - low)


def _term_vectors(texts: Sequence[str]) -> Matrix:
    """Hashed terms weighted by rarity, ``(n_texts, 1024) float32, L2-normalised``."""
    words = Words()
    rows: list[int] = []
    columns: list[int] = []
    slots: dict[str, int] = {}
    for row, text in enumerate(texts):
        terms = {term for word in WORD.findall(text) for term in words.terms(word)}
        for term in sorted(terms - STOP):
            slot = slots.get(term)
            if slot is None:
                slot = slots[term] = zlib.crc32(term.encode("utf-8", "replace")) % DIMENSIONS
            rows.append(row)
            columns.append(slot)
    vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
    vectors[rows, columns] = 1.0
    frequency = vectors.sum(axis=0)
    vectors *= np.log1p(len(texts) / np.maximum(frequency, 1.0)).astype(np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-9), dtype=np.float32)


def _choose(
    values: npt.NDArray[np.float64],
    vectors: Matrix,
    tokens: npt.NDArray[np.int64],
    budget: int,
) -> list[int]:
    """Units worth most together within ``budget``, in the order they were chosen.

    What only repeats a chosen unit is never chosen, even if there is room.
    """
    cost = tokens + GAP_TOKENS
    price = np.maximum(cost, 4).astype(np.float64) ** LENGTH_POWER
    nearest = np.zeros(len(values))
    free = np.ones(len(values), dtype=bool)
    chosen: list[int] = []
    while True:
        free &= (cost <= budget) & (nearest < SAME)
        if not free.any():
            return chosen
        gain = ((1 - DIVERSITY) * values - DIVERSITY * nearest) / price
        gain = np.where(free, np.round(gain, DECIMALS), -np.inf)
        best = int(np.argmax(gain))
        chosen.append(best)
        free[best] = False
        budget -= int(cost[best])
        nearest = np.maximum(nearest, (vectors @ vectors[best]).astype(np.float64))


def _render(pool: _Pool, chosen: Sequence[int], values: npt.NDArray[np.float64]) -> list[Extract]:
    kept = set(chosen)
    extracts = []
    owned: list[list[int]] = [[] for _ in pool.texts]
    for at, number in enumerate(pool.owner):
        owned[number].append(at)
    for text, members in zip(pool.texts, owned, strict=True):
        extracts.append(_render_one(text, members, kept, pool, values))
    return extracts


def _render_one(
    text: str,
    members: Sequence[int],
    kept: set[int],
    pool: _Pool,
    values: npt.NDArray[np.float64],
) -> Extract:
    """The kept units of one text in order, an ellipsis for each run that is not."""
    pieces: list[str] = []
    dropped: list[tuple[int, int]] = []
    lost: list[float] = []
    done = 0  # everything before this offset is in ``pieces`` or ``dropped``
    for at in members:
        unit = pool.units[at]
        if at not in kept:
            lost.append(float(values[at]))
            continue
        if text[done : unit.start].strip():
            dropped.append((done, unit.start))
            pieces.append(_gap(text[done : unit.start], opens=done == 0, closes=False))
        else:
            pieces.append(text[done : unit.start])
        pieces.append(text[unit.start : unit.end])
        done = unit.end
    if text[done:].strip():
        dropped.append((done, len(text)))
        pieces.append(_gap(text[done:], opens=done == 0, closes=True))
    else:
        pieces.append(text[done:])
    score = min(1.0, round(sum(lost) / len(lost), 4)) if lost else 0.0
    return Extract("".join(pieces), tuple(dropped), score)


def _gap(lost: str, *, opens: bool, closes: bool) -> str:
    """An ellipsis that keeps lines apart where the lost text did."""
    space = "\n" if "\n" in lost else " "
    return ("" if opens else space) + GAP + ("" if closes else space)

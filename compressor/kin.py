"""Words near in meaning to a question's words, from a packaged table; no model runs.

Lexical search misses "insulin" when the question says "diabetes". The table holds a small
vector for each of the commonest English words (scripts/make_word_vectors.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import repeat

import numpy as np
import numpy.typing as npt

from compressor.index import Index, Numbers
from compressor.text import FRAME, FRAME_WEIGHT, STOP, WORD

NEAR = 0.15  # cosine from which a word counts as akin
RARITY_POWER = 1.5  # a rare word near to the one asked says more than a common one
COMMON_ROW = 30  # rows of the table up to about here are words that say nothing
TELLING_ROW = 20_000  # and from here on a word asked counts in full
MOST_ASKED = 32  # words of a question that are looked up
SHORTEST = 3
Matrix = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]
_BETWEEN = re.compile(r"[^\w]|_")


class WordVectors:
    """The table: ``words`` number, commonest first, the rows of ``vectors``.

    ``vectors`` are (n, dim) float32, L2-normalised.
    """

    def __init__(self, words: Mapping[str, int], vectors: Matrix) -> None:
        self._words, self.vectors = words, vectors
        self._names = list(words)

    def rows(self, words: Sequence[str]) -> Numbers:
        """The row of each word (lower case), -1 where the table lacks it."""
        found = map(self._words.get, words, repeat(-1))
        return np.fromiter(found, dtype=np.intp, count=len(words))

    def akin(self, word: str) -> dict[str, float]:
        """The table's words near to ``word`` (lower case) and how near, above 0 to 1."""
        row = self._words.get(word)
        if row is None:
            return {}
        near = nearness(self.vectors @ self.vectors[row])
        return {self._names[at]: float(near[at]) for at in np.flatnonzero(near > 0).tolist()}


def nearness(cosines: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Cosines as nearness: 1 for the word itself, 0 up to the limit of what counts."""
    return np.asarray(np.clip((cosines - NEAR) / (1 - NEAR), 0, 1), dtype=np.float32)


def kin_scores(index: Index, question: str, kin: WordVectors) -> tuple[Scores, float]:
    """How near the best two blocks of words of each chunk come to the question.

    For each word asked the nearest rare word of the blocks counts; their sum is what a
    place is worth, and a chunk is as good as its best place. Returns ``(n_chunks,)``
    scores and the most that any chunk could have.
    """
    scores = np.zeros(index.size)
    starts, owner = index.blocks()
    asked = _asked(question, kin)
    if not asked or not len(starts):
        return scores, 0.0
    lows = list(index.lowered)
    rows = kin.rows(lows)
    known = np.flatnonzero(rows >= 0)
    vectors = kin.vectors[rows[known]]
    total = index.times.sum()
    rarity = np.log1p(total / np.maximum(1, index.times)) / np.log1p(total)
    spoken = index.lower[index.words]
    places = np.zeros(len(starts))
    together = (owner[1:] == owner[:-1]).astype(np.float32)
    most = 0.0
    for word, (row, weight) in asked.items():
        near = np.zeros(len(lows), dtype=np.float32)
        near[known] = nearness(vectors @ kin.vectors[row]) * rarity[known] ** RARITY_POWER
        own = index.lowered.get(word)
        share = weight if own is None else weight * float(rarity[own])
        if own is not None:
            near[own] = rarity[own]
        best = np.maximum.reduceat(near[spoken], starts)
        best[:-1] = np.maximum(best[:-1], best[1:] * together)
        places += share * best
        most += share
    np.maximum.at(scores, owner, places)
    return scores, most


def _asked(question: str, kin: WordVectors) -> dict[str, tuple[int, float]]:
    """The table's rows of the words asked, with their weights, the first ones of many."""
    words: dict[str, None] = {}
    for word in WORD.findall(question):
        low = word.lower()
        words.update(dict.fromkeys((low, *_BETWEEN.split(low))))
    plain = [word for word in words if len(word) >= SHORTEST and word not in STOP]
    found: dict[str, tuple[int, float]] = {}
    for word, row in zip(plain, kin.rows(plain).tolist(), strict=True):
        if row >= 0 and len(found) < MOST_ASKED:
            told = min(1.0, float(np.log(row + COMMON_ROW) / np.log(TELLING_ROW))) ** 2
            found[word] = row, told * (FRAME_WEIGHT if word in FRAME else 1.0)
    return found


@cache
def packaged_vectors() -> WordVectors:
    """The table that comes with this package, read once."""
    with files("compressor").joinpath("data/word_vectors.npz").open("rb") as file:
        stored = np.load(file)
        vectors = stored["vectors"].astype(np.float32)
        words = stored["words"].tobytes().decode().split("\n")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return WordVectors({word: number for number, word in enumerate(words)}, vectors)

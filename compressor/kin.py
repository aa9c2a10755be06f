"""Words near in meaning to a question's words, from a packaged table; no model runs.

Lexical search misses "insulin" when the question says "diabetes". The table holds a small
vector for each piece of a common vocabulary (scripts/make_word_vectors.py); a word that is
not in it is put together from its pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

NEAR = 0.5  # cosine from which a word counts as akin
SHORTEST = 3
Matrix = npt.NDArray[np.float32]


class WordVectors:
    """The table: ``words`` number, in order, the rows of ``vectors``.

    ``vectors`` are (n, dim) float32, L2-normalised.
    """

    def __init__(self, words: Mapping[str, int], vectors: Matrix) -> None:
        self._words, self._vectors = words, vectors
        self._names = list(words)
        self._none = np.zeros(vectors.shape[1], dtype=np.float32)

    def akin(self, asked: Sequence[str]) -> list[dict[str, float]]:
        """For each word asked (lower case), the table's words near to it and how near, 0..1.

        Nearness is 1 for the word itself and 0 at the limit of what counts; a word that
        cannot be placed has none.
        """
        rows = [self._row(word) for word in asked]
        near = self._vectors @ np.stack([row for row in rows if row is not None] or [self._none]).T
        out: list[dict[str, float]] = []
        column = 0
        for row in rows:
            found: dict[str, float] = {}
            if row is not None:
                for at in np.flatnonzero(near[:, column] > NEAR).tolist():
                    found[self._names[at]] = (float(near[at, column]) - NEAR) / (1 - NEAR)
                column += 1
            out.append(found)
        return out

    def _row(self, word: str) -> Matrix | None:
        """The vector of ``word``, put together from its pieces where the table lacks it."""
        if len(word) < SHORTEST or not word.isalpha():
            return None
        parts = [self._words[word]] if word in self._words else self._pieces(word)
        if not parts:
            return None
        total = self._vectors[parts].sum(0)
        return np.asarray(total / max(1e-6, float(np.linalg.norm(total))), dtype=np.float32)

    def _pieces(self, word: str) -> list[int]:
        """Rows of the longest pieces that make up ``word``; [] when some letter has none."""
        rows, at = [], 0
        while at < len(word):
            for end in range(min(len(word), at + 18), at, -1):
                row = self._words.get(("##" if at else "") + word[at:end])
                if row is not None:
                    break
            else:
                return []
            rows.append(row)
            at = end
        return rows


@cache
def packaged_vectors() -> WordVectors:
    """The table that comes with this package, read once."""
    with files("compressor").joinpath("data/word_vectors.npz").open("rb") as file:
        stored = np.load(file)
        vectors = stored["vectors"].astype(np.float32)
        words = stored["words"].tobytes().decode().split("\n")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return WordVectors({word: number for number, word in enumerate(words)}, vectors)

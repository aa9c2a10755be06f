"""The words of some chunks as arrays of numbers, so that a search costs no loop in Python.

Every word of every chunk gets the number of its spelling; words stand in blocks of eight,
so that what stands close together can be told from what only shares a chunk.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, count

import numpy as np
import numpy.typing as npt

from compressor.text import words_of

Numbers = npt.NDArray[np.intp]
BLOCK_WORDS = 8


class Index:
    """The words of chunks, each chunk with the title that stands above it.

    ``vocabulary`` numbers the spellings. ``words`` (n_words,) are all words of all chunks
    in order, ``owner`` (n_words,) the chunk of each, ``lengths`` (n_chunks,) words a chunk.
    ``heads`` (n_title_words,), ``head_owner`` and ``title_of`` (n_chunks,) say the same of
    the distinct titles. ``lower`` maps a spelling to its number in ``lowered``.
    """

    def __init__(self, chunks: Sequence[str], titles: Sequence[str]) -> None:
        found = [words_of(chunk) for chunk in chunks]
        names = {title: number for number, title in enumerate(dict.fromkeys(titles))}
        heads = [words_of(title) for title in names]
        self.size = len(chunks)
        self.title_count = len(names)
        self.lengths = _lengths(found)
        known: defaultdict[str, int] = defaultdict(count().__next__)  # numbered as they come
        self.words = _numbers(known, chain.from_iterable(found))
        self.owner = np.repeat(np.arange(self.size), self.lengths)
        self.heads = _numbers(known, chain.from_iterable(heads))
        self.vocabulary = dict(known)
        self.head_owner = np.repeat(np.arange(self.title_count), _lengths(heads))
        self.title_of = _numbers(names, titles)
        # One call for all: no word has a line's end in it.
        small = "\n".join(self.vocabulary).lower().split("\n") if self.vocabulary else []
        lowered: defaultdict[str, int] = defaultdict(count().__next__)
        self.lower = _numbers(lowered, small)
        self.lowered = dict(lowered)
        times = np.bincount(self.words, minlength=len(self.vocabulary))
        self.times = np.bincount(self.lower, weights=times, minlength=len(self.lowered))

    def blocks(self) -> tuple[Numbers, Numbers]:
        """Where each block of words starts, and the chunk it belongs to; in order."""
        number = -(-self.lengths // BLOCK_WORDS)
        owner = np.repeat(np.arange(self.size), number)
        inside = np.arange(len(owner)) - np.repeat(np.cumsum(number) - number, number)
        first = np.cumsum(self.lengths) - self.lengths
        return first[owner] + BLOCK_WORDS * inside, owner


def _lengths(found: Sequence[Sequence[str]]) -> Numbers:
    return np.fromiter(map(len, found), dtype=np.intp, count=len(found))


def _numbers(known: dict[str, int], words: Iterable[str]) -> Numbers:
    return np.array(list(map(known.__getitem__, words)), dtype=np.intp)

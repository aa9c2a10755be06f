"""How relevant each chunk is to the question: BM25+ on words, near words, neighbours, titles.

Scores are fused, not ranks: a ranking forgets by how much the first is ahead, and with
small budgets that is what counts (docs/decisions/0018-fit-quality.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor.index import Index, Numbers
from compressor.text import Words, prefixes

Scores = npt.NDArray[np.float64]

K1 = 1.2
B = 0.5
DELTA = 0.3  # BM25+: a hit in a long chunk is still a hit


# A spelling that is not one plain word: what a term begins with may stand inside it.
_ODD = re.compile(r"\n(?![A-Za-z][a-z]*(?:\n|\Z))([^\n]+)")


@dataclass(frozen=True, slots=True)
class Lexical:
    """What the words of the question say of each chunk; all (n_chunks,) float64 >= 0.

    ``scores`` is BM25+. ``share`` is the part of the question's weight (idf) that a chunk
    and its title hold, ``titled`` what the title alone does, 0 to 1. ``matched`` is the
    share that occurs in the chunks at all, 0 to 1.
    """

    scores: Scores
    share: Scores
    titled: Scores
    matched: float


def lexical(index: Index, question: str, words: Words) -> Lexical:
    """BM25+ of each chunk, its title read with it, against ``question``."""
    query = words.query(question)
    none = np.zeros(index.size)
    if not index.size or not query:
        return Lexical(none, none, none, 0.0)
    pairs = _matching(index, query, words)
    inside = _counts(pairs, index.words, index.owner, (len(query), index.size))
    heads = _counts(pairs, index.heads, index.head_owner, (len(query), index.title_count))
    titled = heads[:, index.title_of]
    times = inside + titled
    present = times > 0
    df = present.sum(1)
    weights = np.fromiter(query.values(), dtype=np.float64)
    idf = weights * np.log(1 + (index.size - df + 0.5) / (df + 0.5))
    whole = float(idf.sum())
    norm = K1 * (1 - B + B * index.lengths / max(1.0, float(index.lengths.mean())))
    scores = idf @ np.where(present, DELTA + times * (K1 + 1) / (times + norm), 0.0)
    matched = float(idf[df > 0].sum()) / whole
    return Lexical(scores, idf @ present / whole, idf @ (titled > 0) / whole, matched)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Which term each matching spelling yields: ``words`` ascending, ``terms`` beside them."""

    words: Numbers
    terms: Numbers
    vocabulary: int


def _matching(index: Index, query: Mapping[str, float], words: Words) -> _Pairs:
    """The spellings of the chunks that yield a term of the query, with those terms."""
    numbers = {term: number for number, term in enumerate(query)}
    found: list[tuple[int, int]] = []
    for word in _likely(index, prefixes(query)):
        number = index.vocabulary[word]
        found += [(number, numbers[term]) for term in words.terms(word) if term in numbers]
    found.sort()
    table = np.array(found, dtype=np.intp).reshape(-1, 2)
    return _Pairs(table[:, 0], table[:, 1], len(index.vocabulary))


def _likely(index: Index, fronts: Sequence[str]) -> set[str]:
    """Every spelling that may yield a term with one of ``fronts``; few that do not.

    Two searches through all spellings at once, for a loop over them costs more: a plain word
    begins with a front, any other (parts, digits, humps) has one somewhere.
    """
    if not fronts:
        return set()
    spelled = "\n" + "\n".join(index.vocabulary)
    small = spelled.lower()
    front = "|".join(map(re.escape, fronts))
    inside = re.compile(front)
    if len(small) != len(spelled):  # a letter became two: places do not agree
        return {word for word in index.vocabulary if inside.search(word.lower())}
    begins = re.finditer(rf"\n((?:{front})[^\n]*)", small)
    found = {spelled[match.start(1) : match.end(1)] for match in begins}
    odd = (word for word in _ODD.findall(spelled) if inside.search(word.lower()))
    return found.union(odd)


def _counts(pairs: _Pairs, words: Numbers, owner: Numbers, shape: tuple[int, int]) -> Scores:
    """How often each term stands in each owner: ``(n_terms, n_owners) float64``."""
    wanted = np.zeros(pairs.vocabulary, dtype=bool)
    wanted[pairs.words] = True
    at = np.flatnonzero(wanted[words])
    low = np.searchsorted(pairs.words, words[at], "left")
    count = np.searchsorted(pairs.words, words[at], "right") - low
    inside = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    terms = pairs.terms[np.repeat(low, count) + inside]
    cells = terms * shape[1] + np.repeat(owner[at], count)
    return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)


def beside(scores: Scores, groups: Numbers) -> Scores:
    """For each chunk the sum of its neighbours' scores within the same group (document)."""
    out = np.zeros_like(scores)
    if len(scores) > 1:
        same = groups[1:] == groups[:-1]
        out[1:] += scores[:-1] * same
        out[:-1] += scores[1:] * same
    return out


def best_of_group(scores: Scores, groups: Numbers) -> Scores:
    """For each chunk the best score of its group (document)."""
    if not len(scores):
        return scores
    best = np.zeros(int(groups.max()) + 1)
    np.maximum.at(best, groups, scores)
    return best[groups]


def spread(scores: Scores, sigma: float) -> Scores:
    """The weighted mean around each score (Gaussian, ``sigma`` chunks)."""
    if len(scores) < 2:
        return scores
    reach = int(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(scores, reach, mode="edge")
    return np.asarray(np.convolve(padded, kernel / kernel.sum(), mode="valid"))


def of_greatest(scores: Scores) -> Scores:
    """Scores of 0 and more as shares of the greatest; all 0 when there is none above 0."""
    high = float(scores.max()) if len(scores) else 0.0
    return scores / high if high > 0 else np.zeros_like(scores)


def scaled(scores: Scores) -> Scores:
    """``scores`` brought to 0..1 by their least and greatest; all 0 when they are equal."""
    if not len(scores):
        return scores
    low, high = float(scores.min()), float(scores.max())
    return (scores - low) / (high - low) if high > low else np.zeros_like(scores)

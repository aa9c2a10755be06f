"""How relevant each chunk is to the question: BM25+ with neighbours, dense scores added.

Scores are fused, not ranks: a ranking forgets by how much the first is ahead, and with
small budgets that is what counts (docs/decisions/0002-context-fit.md).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor.kin import WordVectors
from compressor.text import STOP, WORD, Words, prefixes

Scores = npt.NDArray[np.float64]

K1 = 1.2
B = 0.5
DELTA = 0.3  # BM25+: a hit in a long chunk is still a hit
NEIGHBOUR = 0.25
KIN = 0.3  # weight of a word akin to one that the chunks do have
KIN_ABSENT = 1.0  # and to one that they lack: then kin are all there is
TOPIC_CHUNKS = 6.0  # a topic of a conversation spreads over this many chunks (sigma)
TOPIC_SHARE = 6.0


@dataclass(frozen=True, slots=True)
class Lexical:
    """What the words of the question say.

    ``scores`` (n_chunks,) float64 >= 0. ``matched`` is the share of the question's
    weight (idf) that occurs in the chunks at all, 0 to 1.
    """

    scores: Scores
    matched: float


class Index:
    """The words of some chunks, each with its title, ready to be searched."""

    def __init__(self, chunks: Sequence[str], titles: Sequence[str]) -> None:
        self.bags = [Counter(WORD.findall(chunk)) for chunk in chunks]
        self.titles = titles
        self.heads = {title: Counter(WORD.findall(title)) for title in set(titles) if title}
        self.lengths = np.array([bag.total() for bag in self.bags], dtype=np.float64)
        self.vocabulary: set[str] = set().union(*self.bags, *self.heads.values())


def lexical(index: Index, question: str, words: Words, kin: WordVectors | None = None) -> Lexical:
    """BM25+ of each chunk, its title read with it, against ``question``.

    With ``kin`` a chunk also earns a part of a word's weight by words akin to it.
    """
    query = words.query(question)
    found = _matching(index, query, words)
    hits = found.keys()
    rows: dict[str, dict[int, float]] = {term: {} for term in query}
    title_hits = {
        title: [
            (term, float(head[word])) for word in sorted(head.keys() & hits) for term in found[word]
        ]
        for title, head in index.heads.items()
    }
    for number, bag in enumerate(index.bags):
        for word in bag.keys() & hits:
            for term in found[word]:
                row = rows[term]
                row[number] = row.get(number, 0.0) + bag[word]
        for term, times in title_hits.get(index.titles[number], ()):
            row = rows[term]
            row[number] = row.get(number, 0.0) + times
    exact = _bm25(rows, query, index.lengths)
    if kin is None:
        return exact
    return Lexical(exact.scores + _kin_scores(index, question, kin), exact.matched)


def _kin_scores(index: Index, question: str, kin: WordVectors) -> Scores:
    """For each word asked, the nearest rare word of a chunk counts, by nearness."""
    total = len(index.bags)
    scores = np.zeros(total)
    asked = sorted({part for word in WORD.findall(question) for part in _spoken(word)})
    near = kin.akin(asked)
    wanted = {*asked, *(word for found in near for word in found)}
    postings = _postings(index, wanted)
    for word, found in zip(asked, near, strict=True):
        row = np.zeros(total)
        for other, nearness in found.items():
            at = postings.get(other)
            if at:
                rarity = np.log(1 + (total - len(at) + 0.5) / (len(at) + 0.5)) / np.log(1 + total)
                row[at] = np.maximum(row[at], nearness * rarity)
        df = len(postings.get(word, ()))
        idf = float(np.log(1 + (total - df + 0.5) / (df + 0.5)))
        scores += idf * (KIN if df else KIN_ABSENT) * row
    return scores


def _postings(index: Index, wanted: set[str]) -> dict[str, list[int]]:
    """The chunks that hold each of ``wanted``, written small, with a capital, or large."""
    forms = {form: word for word in wanted for form in (word, word.capitalize(), word.upper())}
    present = forms.keys() & index.vocabulary
    found: dict[str, list[int]] = {}
    for number, bag in enumerate(index.bags):
        for form in sorted(bag.keys() & present):
            row = found.setdefault(forms[form], [])
            if not row or row[-1] != number:
                row.append(number)
    return found


def _spoken(word: str) -> list[str]:
    """The plain words of a word with hyphens, stop words left out."""
    parts = {word.lower(), *word.lower().split("-")}
    return [part for part in parts if part not in STOP]


def _matching(index: Index, query: Mapping[str, float], words: Words) -> dict[str, list[str]]:
    """Words of the chunks that yield a term of the query, with those terms."""
    fronts = prefixes(query)
    inside = re.compile("|".join(map(re.escape, fronts)) or r"(?!)")
    found: dict[str, list[str]] = {}
    for word in index.vocabulary:
        low = word.lower()
        plain = low.isalpha() and word[1:].islower()  # one word: only its front can match
        if low.startswith(fronts) if plain else inside.search(low):
            terms = [term for term in words.terms(word) if term in query]
            if terms:
                found[word] = terms
    return found


def _bm25(
    rows: Mapping[str, Mapping[int, float]], query: Mapping[str, float], lengths: Scores
) -> Lexical:
    total = len(lengths)
    scores = np.zeros(total)
    if not total:
        return Lexical(scores, 0.0)
    norm = K1 * (1 - B + B * lengths / max(1.0, float(lengths.mean())))
    weight_all = weight_found = 0.0
    for term, row in rows.items():
        idf = float(np.log(1 + (total - len(row) + 0.5) / (len(row) + 0.5))) * query[term]
        weight_all += idf
        if not row:
            continue
        weight_found += idf
        at = np.fromiter(row.keys(), dtype=np.intp, count=len(row))
        tf = np.fromiter(row.values(), dtype=np.float64, count=len(row))
        scores[at] += idf * (DELTA + tf * (K1 + 1) / (tf + norm[at]))
    return Lexical(scores, weight_found / weight_all if weight_all else 0.0)


def smooth(scores: Scores, groups: npt.NDArray[np.intp], share: float = NEIGHBOUR) -> Scores:
    """Each score plus ``share`` of its neighbours' within the same group (document)."""
    out = scores.copy()
    if len(scores) > 1:
        same = groups[1:] == groups[:-1]
        out[1:] += share * scores[:-1] * same
        out[:-1] += share * scores[1:] * same
    return out


def spread(scores: Scores, sigma: float = TOPIC_CHUNKS, share: float = TOPIC_SHARE) -> Scores:
    """Each score plus ``share`` of the weighted mean around it (Gaussian, ``sigma`` chunks).

    People come back to a subject and leave it: what is said around a hit belongs to it.
    """
    reach = int(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    if len(scores) < 2:
        return scores
    padded = np.pad(scores, reach, mode="edge")
    return scores + share * np.convolve(padded, kernel / kernel.sum(), mode="valid")


def scaled(scores: Scores) -> Scores:
    """``scores`` brought to 0..1 by their least and greatest; all 0 when they are equal."""
    if not len(scores):
        return scores
    low, high = float(scores.min()), float(scores.max())
    return (scores - low) / (high - low) if high > low else np.zeros_like(scores)


def fuse(words: Scores, dense: Scores | None, share: float) -> Scores:
    """Lexical scores scaled to 0..1 plus ``share`` of the dense ones scaled likewise."""
    fused = scaled(words)
    return fused if dense is None else fused + share * scaled(dense)

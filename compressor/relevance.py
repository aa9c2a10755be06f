"""Scores of pieces: what the words say, what near words say, where the piece stands.

The weights were chosen on questions with marked evidence, one whole source left out at a
time (docs/decisions/0018-fit-quality.md); a tree model of the same figures was better on
the sources that it had seen and worse on those that it had not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor import rank
from compressor.chunk import SPEAKER, Layout
from compressor.errors import EmbedderAway
from compressor.index import Index, Numbers
from compressor.kin import WordVectors, kin_scores
from compressor.kit import Embedder
from compressor.position import raise_place
from compressor.text import Words
from compressor.trim import Pieces

NEIGHBOUR = 0.25  # of the words' score of the chunk before, and of the one after
KIN = 0.4
KIN_FOR_LACK = 1.0  # more, by the share of the question that no chunk has
KIN_OF_MOST = 0.2
SHARE = 0.2
TITLE = 0.2
DOCUMENT = 0.3  # of the best score in the same document
NUMBER = 0.03  # a number where one is asked for, a hundred tokens
FIRST = 0.05  # where a document starts
ERROR = 0.05  # a log line that reports one
TOPIC_CHUNKS = 4.0  # a subject of a conversation spreads over this many chunks (sigma)
TOPIC = 5.0
TOPIC_KIN = 1.5
LOCAL_KIN = 0.3
SPOKEN_BY = 0.5
DENSE = 0.3
_NUMBER_ASKED = re.compile(
    r"\b(?:how (?:many|much|long|old|far|big|large|high|tall|often)|number|percent\w*|price|cost"
    r"|amount|score|total|rate|size|digit|year|date|when)\b",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"^\[?\d{1,2}:\d\d(?::\d\d)?\]?\s*")
_ERROR = re.compile(r"\b(?:error|exception|traceback|fail(?:ed|ure)?|fatal|panic)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ranking:
    """``scores`` (n_pieces,) float64, from 0; the greatest about 1 to 3.

    ``matched`` is the share of the question that occurs at all, ``held`` the greatest share
    that one piece holds, 0 to 1. ``kind`` is what most of the text is, None for JSON.
    ``placed`` is True where the question asks for a place that was found.
    """

    scores: rank.Scores
    matched: float
    held: float = 1.0
    kind: Layout | None = Layout.PROSE
    placed: bool = False


@dataclass(frozen=True, slots=True)
class _Signals:
    """Figures of every piece, each (n_pieces,) float64; ``groups`` numbers its document."""

    words: rank.Scores
    kin: rank.Scores
    groups: Numbers


def rank_pieces(
    found: Pieces, question: str, embedder: Embedder | None, kin: WordVectors | None
) -> Ranking:
    """Score every piece against ``question``."""
    texts = [found.spans[piece.span].text[piece.start : piece.end] for piece in found.pieces]
    groups = np.array([piece.group for piece in found.pieces], dtype=np.intp)
    index = Index(texts, [piece.title for piece in found.pieces])
    words = rank.lexical(index, question, Words())
    near, most = kin_scores(index, question, kin) if kin is not None else (words.scores * 0, 0.0)
    signals = _Signals(rank.of_greatest(words.scores), rank.of_greatest(near), groups)
    of_most = near / max(1e-6, most)
    scores = (
        signals.words
        + NEIGHBOUR * rank.beside(signals.words, groups)
        + (KIN + KIN_FOR_LACK * (1 - words.matched)) * signals.kin
        + KIN_OF_MOST * of_most
        + SHARE * words.share
        + TITLE * words.titled
        + DOCUMENT * rank.best_of_group(signals.words, groups)
        + _credits(found, texts, groups)
    )
    if _NUMBER_ASKED.search(question):
        scores += NUMBER * _numbers(found, index)
    for number, kind in enumerate(found.layouts):
        if kind is Layout.DIALOGUE:
            _in_dialogue(found, number, question, signals, scores)
    if embedder is not None and texts:
        scores += DENSE * _dense(embedder, question, texts)
    best = float(words.share.max()) if texts else 0.0
    placed = raise_place(found, question, scores)
    return Ranking(scores, words.matched, best, _main_kind(found), placed)


def _dense(embedder: Embedder, question: str, texts: Sequence[str]) -> rank.Scores:
    """Nearness to the question by sentence vectors, 0 to 1; 0 everywhere while they are away."""
    try:
        vectors = embedder.embed([question, *texts])
    except EmbedderAway:
        return np.zeros(len(texts))
    return rank.scaled((vectors[1:] @ vectors[0]).astype(np.float64))


def _main_kind(found: Pieces) -> Layout | None:
    """What the largest text is made of."""
    sizes = [span.tokens for span in found.spans]
    return found.layouts[sizes.index(max(sizes))] if sizes else Layout.PROSE


def _in_dialogue(
    found: Pieces, span: int, question: str, signals: _Signals, scores: rank.Scores
) -> None:
    """Score the pieces of a conversation: people come back to a subject and leave it.

    What is said around a hit belongs to it, so hits are spread widely; strong ones count
    more than many weak ones. The best piece keeps the score that it would have had in
    prose, so that texts of different kinds can be compared.
    """
    mine = np.array([piece.span == span for piece in found.pieces])
    words = signals.words[mine] ** 2
    kin = signals.kin[mine]
    above = np.maximum(0.0, kin - kin.mean())
    own = (
        words
        + TOPIC * rank.of_greatest(rank.spread(words, TOPIC_CHUNKS))
        + LOCAL_KIN * kin
        + TOPIC_KIN * rank.of_greatest(rank.spread(above, TOPIC_CHUNKS))
        + SPOKEN_BY * _spoken_by(found, mine, question)
    )
    scores[mine] = rank.of_greatest(own) * scores[mine].max()


def _spoken_by(found: Pieces, mine: npt.NDArray[np.bool_], question: str) -> rank.Scores:
    """The share of each piece's turns that somebody takes whom the question names."""
    turns = [
        Counter(
            _CLOCK.sub("", name).strip("[]<>: ").lower()
            for name in SPEAKER.findall(found.spans[piece.span].text, piece.start, piece.end)
        )
        for piece in (found.pieces[at] for at in np.flatnonzero(mine).tolist())
    ]
    asked = " ".join(re.findall(r"[^\W_]+", question.lower()))
    names = {name for count in turns for name in count}
    named = {name for name in names if len(name) > 1 and re.search(_called(name), asked)}
    if not named:
        return np.zeros(len(turns))
    return np.array([sum(count[n] for n in named) / max(1, count.total()) for count in turns])


def _called(name: str) -> str:
    return rf"\b{re.escape(name)}s?\b"


def _numbers(found: Pieces, index: Index) -> rank.Scores:
    """Words with a digit in each piece, at most five, a hundred tokens."""
    digit = np.fromiter((any(map(str.isdigit, word)) for word in index.vocabulary), dtype=bool)
    count = np.bincount(index.owner, weights=digit[index.words], minlength=index.size)
    tokens = np.array([max(1, piece.tokens) for piece in found.pieces])
    return np.asarray(100 * np.minimum(5, count) / tokens)


def _credits(found: Pieces, texts: Sequence[str], groups: Numbers) -> rank.Scores:
    """Small fixed credit: where a document starts, and log lines that report an error."""
    out = np.zeros(len(texts))
    if len(texts):
        change = np.flatnonzero(np.diff(groups)) + 1
        out[np.concatenate(([0], change))] += FIRST
    for number, text in enumerate(texts):
        if found.layouts[found.pieces[number].span] is Layout.LOG and _ERROR.search(text):
            out[number] += ERROR
    return out

"""Keep what the question needs of the open texts, in its order, and mark every gap.

Extractive: what is kept stands there byte for byte. All open texts compete for one
budget, so what one document does not need flows to the next.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor import json_tree, rank
from compressor.chunk import CHUNK_TOKENS, Chunk, Layout, cut, layout
from compressor.json_tree import Gap
from compressor.kin import WordVectors
from compressor.kit import Embedder
from compressor.protect import OpenSpan
from compressor.text import Words
from compressor.tokens import TokenCounter

MARK_TOKENS = 16
DENSE_SHARE = 0.2
FIRST_CREDIT = 0.05
ERROR_CREDIT = 0.05
WEIGHTS = (2.9, -4.1, 0.76, -0.4)  # matched, edge, log of the peak, constant
POSITION_CONFIDENCE = 0.3
_POSITION = re.compile(
    r"\b(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|\d+(?:st|nd|rd|th)|last"
    r"|final|previous)\s+(?:topic|message|turn|line|section|item|thing|paragraph|chapter|entry|word"
    r"|sentence|point|subject|record|row)s?\b",
    re.IGNORECASE,
)
_ERROR = re.compile(r"\b(?:error|exception|traceback|fail(?:ed|ure)?|fatal|panic)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk of one open span: offsets into the part's text, tokens, document number."""

    span: int
    start: int
    end: int
    tokens: int
    title: str
    group: int


@dataclass(frozen=True, slots=True)
class Pieces:
    """All pieces of all spans, in order.

    ``trees`` has the JSON tree of a span, or None; ``layouts`` what a span is made of,
    None for JSON.
    """

    spans: tuple[OpenSpan, ...]
    pieces: tuple[Piece, ...]
    trees: tuple[json_tree.Node | None, ...]
    layouts: tuple[Layout | None, ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """``scores`` (n_pieces,) 0..about 1.3; ``matched`` the share of the question found at all."""

    scores: rank.Scores
    matched: float


def take_apart(spans: Sequence[OpenSpan], counter: TokenCounter) -> Pieces:
    """Cut every span at its structure."""
    found: list[tuple[int, Chunk]] = []
    trees: list[json_tree.Node | None] = []
    layouts: list[Layout | None] = []
    for number, span in enumerate(spans):
        body = span.body
        chars_a_token = len(body) / max(1, span.tokens)
        tree = json_tree.parse(body, int(CHUNK_TOKENS * chars_a_token))
        trees.append(tree if tree is not None and tree.children else None)
        if tree is not None and tree.children:
            layouts.append(None)
            chunks = [
                Chunk(leaf.start, leaf.end, leaf.title, at)
                for at, leaf in enumerate(json_tree.leaves(tree))
            ]
        else:
            kind = layout(body)
            layouts.append(kind)
            chunks = cut(body, chars_a_token, kind)
        found.extend((number, chunk) for chunk in chunks)
    bodies = [span.body for span in spans]
    tokens = counter.count_many([bodies[n][chunk.start : chunk.end] for n, chunk in found])
    pieces = []
    groups: dict[tuple[int, int], int] = {}
    for (number, chunk), count in zip(found, tokens, strict=True):
        group = groups.setdefault((number, chunk.group), len(groups))
        at = spans[number].start
        place = (number, at + chunk.start, at + chunk.end)
        pieces.append(Piece(*place, count, chunk.title, group))
    return Pieces(tuple(spans), tuple(pieces), tuple(trees), tuple(layouts))


def rank_pieces(
    found: Pieces, question: str, embedder: Embedder | None, kin: WordVectors | None
) -> Ranking:
    """Score every piece against ``question``."""
    texts = [found.spans[piece.span].text[piece.start : piece.end] for piece in found.pieces]
    groups = np.array([piece.group for piece in found.pieces], dtype=np.intp)
    index = rank.Index(texts, [piece.title for piece in found.pieces])
    words = rank.lexical(index, question, Words(), kin)
    scores = rank.smooth(words.scores, groups)
    owners = np.array([piece.span for piece in found.pieces], dtype=np.intp)
    for number, kind in enumerate(found.layouts):
        if kind is Layout.DIALOGUE:
            mine = owners == number
            scores[mine] = rank.spread(scores[mine])
    dense: rank.Scores | None = None
    if embedder is not None and texts:
        vectors = embedder.embed([question, *texts])
        dense = (vectors[1:] @ vectors[0]).astype(np.float64)
    fused = rank.fuse(scores, dense, DENSE_SHARE)
    return Ranking(fused + _credits(found, texts, groups), words.matched)


def _credits(found: Pieces, texts: Sequence[str], groups: npt.NDArray[np.intp]) -> rank.Scores:
    """Small fixed credit: where a document starts, and log lines that report an error."""
    out = np.zeros(len(texts))
    if len(texts):
        change = np.flatnonzero(np.diff(groups)) + 1
        out[np.concatenate(([0], change))] += FIRST_CREDIT
    for number, text in enumerate(texts):
        if found.layouts[found.pieces[number].span] is Layout.LOG and _ERROR.search(text):
            out[number] += ERROR_CREDIT
    return out


def confidence(ranking: Ranking, kept: Sequence[int], question: str) -> float:
    """How likely the pieces kept hold all that the question needs, 0 to 1.

    A logistic model of three figures: how much of the question occurs at all, how good
    the best piece left out still is (a flat curve), how far the best stands out. Its
    weights were fitted on questions with marked evidence
    (docs/decisions/0002-context-fit.md). Words do not answer a question for a position.
    """
    scores = ranking.scores
    out = np.ones(len(scores), dtype=bool)
    out[list(kept)] = False
    if not len(scores) or not question.strip():
        return 0.0
    edge = float(scores[out].max()) if out.any() else 0.0
    peak = float((scores.max() - scores.mean()) / (scores.std() + 1e-9))
    matched, flat, peaked, constant = WEIGHTS
    logit = matched * ranking.matched + flat * edge + peaked * float(np.log(max(peak, 0.5)))
    sure = 1.0 / (1.0 + float(np.exp(-(logit + constant))))
    return min(sure, POSITION_CONFIDENCE) if _POSITION.search(question) else sure


def choose(found: Pieces, scores: rank.Scores, budget: int) -> list[int]:
    """Numbers of the pieces to keep, in order: best first while text and marks fit."""
    order = np.argsort(-scores, kind="stable")
    kept: set[int] = set()
    left = budget - MARK_TOKENS * len(found.spans)
    for number in map(int, order):
        piece = found.pieces[number]
        cost = piece.tokens + _mark_change(found, kept, number)
        if cost <= left:
            kept.add(number)
            left -= cost
    return sorted(kept)


def _mark_change(found: Pieces, kept: set[int], number: int) -> int:
    """Tokens that the marks grow or shrink by when piece ``number`` is kept as well."""
    beside = 0
    for other in (number - 1, number + 1):
        inside = 0 <= other < len(found.pieces)
        beside += (
            not inside or other in kept or found.pieces[other].span != found.pieces[number].span
        )
    return MARK_TOKENS * (1 - beside)


def span_gaps(found: Pieces, number: int, kept: Sequence[int]) -> list[Gap]:
    """The gaps of span ``number`` when only pieces ``kept`` stay; offsets into its part's text."""
    span, tree = found.spans[number], found.trees[number]
    first = next(at for at, piece in enumerate(found.pieces) if piece.span == number)
    mine = [at for at in kept if found.pieces[at].span == number]
    if tree is not None:
        inside = json_tree.gaps(span.body, tree, frozenset(at - first for at in mine))
        return [Gap(span.start + gap.start, span.start + gap.end, gap.mark) for gap in inside]
    gaps: list[Gap] = []
    at = span.start
    for piece in [found.pieces[at] for at in mine]:
        if piece.start > at:
            gaps.append(_text_gap(span, at, piece.start))
        at = piece.end
    if at < span.end:
        gaps.append(_text_gap(span, at, span.end))
    return gaps


def _text_gap(span: OpenSpan, start: int, end: int) -> Gap:
    text = span.text
    lines = text.count("\n", start, end)
    if lines < 2:
        mark = f"[... {end - start} characters omitted ...]"
    else:
        first = text.count("\n", 0, start) + 1
        mark = f"[... {lines} lines ({first}-{first + lines - 1}) omitted ...]"
    before = "" if start == 0 or text[start - 1] in "\n " else " "
    after = "\n" if text[end - 1] == "\n" else ("" if end == len(text) else " ")
    return Gap(start, end, before + mark + after)


def apply(text: str, gaps: Sequence[Gap]) -> str:
    """``text`` with each gap replaced by its mark; gaps in order and disjoint."""
    out: list[str] = []
    at = 0
    for gap in gaps:
        out += (text[at : gap.start], gap.mark)
        at = gap.end
    out.append(text[at:])
    return "".join(out)

"""Keep what the question needs of the open texts, in its order, and mark every gap.

Extractive: what is kept stands there byte for byte. All open texts compete for one
budget, so what one document does not need flows to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from compressor import json_tree
from compressor.chunk import CHUNK_TOKENS, Chunk, Layout, chunk_tokens, cut, documents, layout
from compressor.json_tree import Gap
from compressor.protect import OpenSpan
from compressor.rank import Scores
from compressor.tokens import TokenCounter

MARK_TOKENS = 16
FINE_PIECES = 8  # a room for fewer chunks than this is filled with smaller ones
FINE_PROSE = 24  # facts of prose stand in single sentences
FINEST = 0.25


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


def take_apart(spans: Sequence[OpenSpan], counter: TokenCounter, room: int | None = None) -> Pieces:
    """Cut every span at its structure, finer where only ``room`` tokens can be kept."""
    spans = [part for span in spans for part in _apart(span, counter)]
    found: list[tuple[int, Chunk]] = []
    trees: list[json_tree.Node | None] = []
    layouts: list[Layout | None] = []
    for number, span in enumerate(spans):
        body = span.body
        chars_a_token = len(body) / max(1, span.tokens)
        size = CHUNK_TOKENS * _share(None, room)
        tree = json_tree.parse(body, int(size * chars_a_token))
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
            short = span.tokens < CHUNK_TOKENS * documents(body)  # they are units as they are
            chunks = cut(body, chars_a_token, kind, _share(None if short else kind, room))
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


def _apart(span: OpenSpan, counter: TokenCounter) -> list[OpenSpan]:
    """A span whose text is JSON with words around it (a code fence) as up to three spans."""
    body = span.body
    inside = json_tree.embedded(body)
    if inside is None:
        return [span]
    start, end = inside
    parts = []
    for first, last in ((0, start), (start, end), (end, len(body))):
        if body[first:last].strip():
            tokens = counter.count(body[first:last])
            at = span.start
            parts.append(replace(span, tokens=tokens, start=at + first, end=at + last))
    return parts


def _share(kind: Layout | None, room: int | None) -> float:
    """How large chunks are, of their usual size, where ``room`` tokens can be kept."""
    if room is None:
        return 1.0
    pieces = FINE_PROSE if kind is Layout.PROSE else FINE_PIECES
    usual = CHUNK_TOKENS if kind is None else chunk_tokens(kind)
    return min(1.0, max(FINEST, room / (pieces * usual)))


def choose(found: Pieces, scores: Scores, budget: int) -> list[int]:
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

"""Choosing pieces and marking gaps."""

from __future__ import annotations

import json

import numpy as np

from compressor.json_tree import Gap
from compressor.protect import OpenSpan
from compressor.relevance import rank_pieces
from compressor.tokens import load_counter
from compressor.trim import Piece, Pieces, apply, choose, span_gaps, take_apart

COUNTER = load_counter("o200k_base")
BODY = "\n\n".join(f"Paragraph {n} tells of the harbour. " * 8 for n in range(60))


def spans(*bodies: str) -> list[OpenSpan]:
    return [
        OpenSpan(
            n,
            0,
            ("messages", n, "content"),
            body,
            0,
            len(body),
            COUNTER.count(body),
            0,
            asked=False,
        )
        for n, body in enumerate(bodies)
    ]


def test_pieces_cover_their_spans() -> None:
    """The pieces of each span, joined, are the span."""
    found = take_apart(spans(BODY, BODY[:9_000]), COUNTER)
    for number, span in enumerate(found.spans):
        own = [piece for piece in found.pieces if piece.span == number]
        assert "".join(span.text[piece.start : piece.end] for piece in own) == span.text


def test_the_best_pieces_are_kept_within_the_budget() -> None:
    """What is kept with its marks fits the budget, and holds the best piece."""
    found = take_apart(spans(BODY), COUNTER)
    scores = np.linspace(0, 1, len(found.pieces))
    kept = choose(found, scores, 1_000)
    assert len(found.pieces) - 1 in kept
    short = apply(BODY, span_gaps(found, 0, kept))
    assert COUNTER.count(short) <= 1_000


def test_all_open_texts_share_one_budget() -> None:
    """The budget goes to the text that has what is asked for."""
    other = BODY.replace("harbour", "orchard")
    found = take_apart(spans(BODY, other), COUNTER)
    ranking = rank_pieces(found, "Who owns the orchard?", None, None)
    kept = choose(found, ranking.scores, 1_500)
    assert {found.pieces[number].span for number in kept} == {1}


def test_gaps_are_replaced_in_place() -> None:
    """Each gap becomes its mark, all else stays."""
    assert apply("abcdef", [Gap(0, 1, "<"), Gap(3, 5, "~")]) == "<bc~f"


def test_a_small_room_is_filled_with_small_pieces() -> None:
    """Where only a little can be kept, prose is cut finer, so that more places have a chance."""
    coarse, fine = (take_apart(spans(BODY), COUNTER, room) for room in (None, 800))
    assert len(fine.pieces) > 2 * len(coarse.pieces)
    assert sum(piece.tokens for piece in choose_all(fine)) <= 800


def test_short_documents_are_not_cut_to_make_small_pieces() -> None:
    """Documents that are small already stay whole when the room is small."""
    body = "\n".join(
        f"Document [{n}](Title: T{n}) " + "It tells of the sea. " * 15 for n in range(90)
    )
    found = take_apart(spans(body), COUNTER, 2_000)
    assert len({piece.group for piece in found.pieces}) >= 0.9 * len(found.pieces)


def test_json_within_words_keeps_its_shape() -> None:
    """JSON in a code fence is cut as JSON: what is left of it parses."""
    rows = [{"order": n, "city": f"Town {n}", "note": "left at the door " * 5} for n in range(120)]
    body = "Here are the orders:\n```json\n" + json.dumps(rows, indent=1) + "\n```\nThat is all."
    found = take_apart(spans(body), COUNTER, 1_000)
    ranking = rank_pieces(found, "In which city is order 77?", None, None)
    kept = choose(found, ranking.scores, 1_000)
    gaps = [gap for number in range(len(found.spans)) for gap in span_gaps(found, number, kept)]
    short = apply(body, gaps)
    inside = short.split("```json\n")[1].split("\n```")[0]
    assert any("Town 77" in str(row) for row in json.loads(inside))
    assert COUNTER.count(short) <= 1_000


def choose_all(found: Pieces) -> list[Piece]:
    return [found.pieces[n] for n in choose(found, np.linspace(0, 1, len(found.pieces)), 800)]

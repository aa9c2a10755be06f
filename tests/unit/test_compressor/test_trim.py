"""Choosing pieces and marking gaps."""

from __future__ import annotations

import numpy as np

from compressor.json_tree import Gap
from compressor.protect import OpenSpan
from compressor.tokens import load_counter
from compressor.trim import Ranking, apply, choose, confidence, rank_pieces, span_gaps, take_apart

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


def test_a_clear_winner_is_surer_than_a_flat_curve() -> None:
    """Confidence falls when what is left out scores as well as what is kept."""
    clear = Ranking(np.array([1.0, 0.9, *[0.0] * 30]), 1.0)
    flat = Ranking(np.full(32, 0.8) + np.arange(32) * 1e-3, 1.0)
    assert confidence(clear, [0, 1], "who is it") > 0.9
    assert confidence(flat, [0, 1], "who is it") < 0.5


def test_an_empty_question_gives_no_confidence() -> None:
    """Without a question nothing can be searched, so nothing is sure."""
    assert confidence(Ranking(np.ones(3), 1.0), [0], " ") == 0.0

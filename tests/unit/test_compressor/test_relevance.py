"""Scores of pieces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compressor.kin import packaged_vectors
from compressor.kit import Vectors
from compressor.protect import OpenSpan
from compressor.relevance import rank_pieces
from compressor.tokens import load_counter
from compressor.trim import take_apart

COUNTER = load_counter("o200k_base")
FILLER = "The afternoon passed and nobody in the house said much about anything at all. " * 12


class Lengths:
    """An embedder that says of every text how long it is and no more."""

    name = "lengths"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """A direction by length, normalised."""
        rows = [(np.cos(len(text) / 1e4), np.sin(len(text) / 1e4)) for text in texts]
        return np.array(rows, dtype=np.float32)


def ranked(body: str, question: str, *, kin: bool = True) -> tuple[str, float]:
    """The best piece and the share of the question that occurs."""
    tokens = COUNTER.count(body)
    place = (0, 0, ("messages", 0, "content"))
    found = take_apart([OpenSpan(*place, body, 0, len(body), tokens, 0, asked=True)], COUNTER)
    ranking = rank_pieces(found, question, None, packaged_vectors() if kin else None)
    piece = found.pieces[int(ranking.scores.argmax())]
    return body[piece.start : piece.end], ranking.matched


def test_what_no_word_finds_is_found_by_meaning() -> None:
    """A sentence that shares no word with the question is the best piece."""
    hidden = "It was Petra who kept a bottle of insulin in the fridge. "
    body = "\n\n".join([*[FILLER] * 6, hidden + FILLER, *[FILLER] * 6])
    assert "insulin" in ranked(body, "Who suffers from diabetes?")[0]


def test_identifiers_win_over_near_words() -> None:
    """A record that the question names stays first whatever is near in meaning."""
    body = "\n\n".join(
        f"Order W-{n}77{n}: shipped by sea, price {n} dollars. {FILLER}" for n in range(9)
    )
    piece, matched = ranked(body, "What is the cost of order W-5775?")
    assert "W-5775" in piece
    assert 0 < matched < 1


def test_a_speaker_who_is_named_counts() -> None:
    """Of two places that are equal otherwise, the one where the named person speaks is first."""
    line = "The budget for the remote is what we have to think of today, all of us here."
    talk = [f"Marketing: {FILLER[:200]}"] * 30
    body = "\n".join([*talk, *[f"Manager: {line}"] * 6, *talk, *[f"Designer: {line}"] * 6, *talk])
    assert "Designer:" in ranked(body, "What did the Designer think of the budget?")[0]


def test_vectors_are_added_by_score() -> None:
    """An embedder moves the order where words say nothing, and does not overrule a clear hit."""
    body = "\n\n".join([FILLER, FILLER * 2, "The harbour master is called Ewald. " + FILLER])
    tokens = COUNTER.count(body)
    span = OpenSpan(0, 0, ("m",), body, 0, len(body), tokens, 0, asked=True)
    found = take_apart([span], COUNTER)
    plain = rank_pieces(found, "Who is the harbour master?", None, None).scores
    dense = rank_pieces(found, "Who is the harbour master?", Lengths(), None).scores
    assert plain.argmax() == dense.argmax()
    assert not np.array_equal(plain, dense)


def test_no_pieces_give_no_scores() -> None:
    """Nothing to rank is no error."""
    ranking = rank_pieces(take_apart([], COUNTER), "who", None, packaged_vectors())
    assert ranking.scores.shape == (0,)

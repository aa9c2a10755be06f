"""The gate of a trim."""

from __future__ import annotations

import numpy as np

from compressor.chunk import Layout
from compressor.confidence import confidence
from compressor.relevance import Ranking

ASKED = "What is the price of order W-1234?"
CLEAR = np.array([1.0, 0.9, *[0.0] * 30])
FLAT = np.full(32, 0.8) + np.arange(32) * 1e-3


def test_a_clear_winner_is_surer_than_a_flat_curve() -> None:
    """Confidence falls when what is left out scores as well as what is kept."""
    assert confidence(Ranking(CLEAR, 1.0), [0, 1], ASKED) > 0.9
    assert confidence(Ranking(FLAT, 1.0, held=0.2), [0, 1], "who is it") < 0.5


def test_an_empty_question_gives_no_confidence() -> None:
    """Without a question nothing can be searched, so nothing is sure."""
    assert confidence(Ranking(np.ones(3), 1.0), [0], " ") == 0.0


def test_a_vague_question_about_a_meeting_is_not_trusted() -> None:
    """What somebody thought of something is said in many places: less sure than a named thing."""
    talk = Ranking(CLEAR, 1.0, kind=Layout.DIALOGUE)
    vague = confidence(talk, [0, 1], "What did they think of it?")
    assert vague < confidence(talk, [0, 1], ASKED) - 0.2


def test_a_place_is_sure_only_where_it_was_found() -> None:
    """Words do not answer "the third topic"; counting does."""
    asked = "What was the third topic?"
    assert confidence(Ranking(CLEAR, 1.0), [0, 1], asked) <= 0.3
    assert confidence(Ranking(CLEAR, 1.0, placed=True), [0, 1], asked) >= 0.7

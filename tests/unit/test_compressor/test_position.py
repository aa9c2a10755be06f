"""Questions for a place."""

from __future__ import annotations

import json

import numpy as np
import pytest

from compressor.position import Place, asked_place, raise_place
from compressor.protect import OpenSpan
from compressor.tokens import load_counter
from compressor.trim import Pieces, take_apart

COUNTER = load_counter("o200k_base")


def taken(body: str) -> Pieces:
    tokens = COUNTER.count(body)
    place = (0, 0, ("messages", 0, "content"))
    span = OpenSpan(*place, body, 0, len(body), tokens, 0, asked=True)
    return take_apart([span], COUNTER, 2_000)


def best(body: str, question: str) -> str:
    found = taken(body)
    scores = np.zeros(len(found.pieces))
    assert raise_place(found, question, scores)
    piece = found.pieces[int(scores.argmax())]
    return body[piece.start : piece.end]


@pytest.mark.parametrize(
    ("question", "place"),
    [
        ("What is the third topic we discussed?", Place("topic", 3, named=False)),
        ("Quote the last paragraph.", Place("paragraph", 0, named=False)),
        ("What does section 12 say?", Place("section", 12, named=True)),
        ("Show the 42nd line", Place("line", 42, named=False)),
        ("What is the price of item 12?", None),
        ("What was the first article that she wrote?", None),
        ("Who wrote it?", None),
        ("When was it first published?", None),
    ],
)
def test_the_place_is_read_from_the_question(question: str, place: Place | None) -> None:
    """Ordinals and numbers beside a countable thing name a place; nothing else does."""
    assert asked_place(question) == place


def test_a_paragraph_is_counted() -> None:
    """The fifth and the last paragraph are found though no word of theirs is asked for."""
    body = "\n\n".join(
        f"Mark{n}. " + "The tide came in and went out again. " * 30 for n in range(40)
    )
    assert "Mark4." in best(body, "What does the fifth paragraph say?")
    assert "Mark39." in best(body, "What does the last paragraph say?")


def test_a_section_is_found_by_its_number() -> None:
    """Section 7 is the one whose heading says so, wherever it stands."""
    parts = [
        f"Section {n}. Of things\n" + "It is agreed that it be so. " * 60 for n in (9, 7, 8, 3)
    ]
    assert (
        best("\n\n".join(parts), "What is agreed in section 7?").lstrip().startswith("Section 7.")
    )


def test_a_topic_is_where_it_is_announced() -> None:
    """The second topic is the second that somebody proposes to talk about."""
    talk = "\n".join(
        f"USER: I would like to discuss the topic of matter {n}.\n"
        + "ASSISTANT: Gladly, there is much to say on that. " * 30
        for n in range(12)
    )
    assert "matter 1." in best(talk, "What was the second topic that we discussed?")


def test_a_record_of_json_is_counted() -> None:
    """The tenth record is the tenth of the list, under its one key too."""
    rows = [{"id": f"R{n}", "text": "x " * 300} for n in range(30)]
    assert '"R9"' in best(json.dumps({"rows": rows}), "What is in the tenth record?")


def test_a_line_of_one_of_many_files_is_not_counted() -> None:
    """Among several documents a line number says nothing."""
    body = "\n".join(f"=== file{n}.py ===\n" + "value = 1\n" * 300 for n in range(3))
    found = taken(body)
    assert not raise_place(found, "What stands on line 42?", np.zeros(len(found.pieces)))


def test_a_place_that_is_not_there_raises_nothing() -> None:
    """A count beyond the text changes no score."""
    found = taken("Only this line.\n" + "And one more line that is long. " * 100)
    scores = np.zeros(len(found.pieces))
    assert not raise_place(found, "What does line 900 say?", scores)
    assert not scores.any()

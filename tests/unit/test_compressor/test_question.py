"""Telling a document from the instruction about it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.question import split_turn

PROSE = "\n\n".join(
    f"In year {n} the council met again. It settled the matter of the bridge and the toll."
    for n in range(80)
)
CODE = "\n\n".join(f"def f{n}(x):\n    y = x + {n}\n    return y" for n in range(80))
LOGS = "\n".join(f"2024-01-01 10:00:{n:02d} INFO request {n} served" for n in range(60)) * 2
RECORDS = json.dumps([{"id": n, "name": f"item {n}", "price": n * 3} for n in range(120)], indent=1)
MARKDOWN = "\n\n".join(f"## Section {n}\n\nSome text about topic {n}." for n in range(80))
DOCUMENTS = {"prose": PROSE, "code": CODE, "logs": LOGS, "json": RECORDS, "markdown": MARKDOWN}
QUESTIONS = (
    "What did the council settle in year 40?",
    "Please find the entry with number 12 and explain it.",
    "Question: who was there?\nAnswer:",
    "which one is the largest",
)


@pytest.mark.parametrize("kind", sorted(DOCUMENTS))
@pytest.mark.parametrize("question", QUESTIONS)
def test_the_question_may_stand_after_the_document(kind: str, question: str) -> None:
    """A question after a document is found whole, and nothing of the document with it."""
    text = f"{DOCUMENTS[kind]}\n\n{question}"
    split = split_turn((text,))
    assert split.question((text,)) == question
    (document,) = split.documents
    assert text[document.start : document.end].strip() == DOCUMENTS[kind].strip()


@pytest.mark.parametrize("kind", sorted(DOCUMENTS))
@pytest.mark.parametrize("question", QUESTIONS[:2])
def test_the_question_may_stand_before_the_document(kind: str, question: str) -> None:
    """A question before a document is found whole."""
    text = f"{question}\n\n{DOCUMENTS[kind]}"
    assert split_turn((text,)).question((text,)).startswith(question)


def test_instructions_at_both_ends_are_both_kept() -> None:
    """What is asked before and after a document is all instruction."""
    text = f"Please read the minutes below.\n\n{PROSE}\n\nWho paid the toll?"
    said = split_turn((text,)).question((text,))
    assert said == "Please read the minutes below.\n\nWho paid the toll?".replace("\n\n", "\n") or (
        "read the minutes" in said and said.endswith("Who paid the toll?")
    )


def test_parts_are_told_apart() -> None:
    """A document in one part and a question in another are just that."""
    texts = (PROSE, "Who paid the toll?")
    split = split_turn(texts)
    assert split.question(texts) == "Who paid the toll?"
    assert [(span.text, span.start, span.end) for span in split.documents] == [(0, 0, len(PROSE))]


@pytest.mark.parametrize(
    "document",
    [
        "```\n" + PROSE + "\n```",
        "<report>\n" + PROSE + "\n</report>",
        "\n\n".join(f"Document [{n}](Title: T{n}) The toll was paid. " * 8 for n in range(9)),
    ],
    ids=["fence", "tags", "numbered"],
)
def test_a_heading_question_that_does_not_ask_plainly_is_kept(document: str) -> None:
    """Before a text that plainly is document to its end, the first block is what is asked."""
    split = split_turn((f"name of the harbour master of Lund\n\n{document}",))
    text = f"name of the harbour master of Lund\n\n{document}"
    assert split.question((text,)) == "name of the harbour master of Lund"


@given(
    st.lists(
        st.text(alphabet=" \nabcdefg?.:{}[]\"'1", max_size=400).map(lambda text: text * 12),
        max_size=3,
    )
)
def test_a_split_is_disjoint_and_loses_nothing_but_blanks(texts: list[str]) -> None:
    """Instruction and documents never overlap, and between them only blanks are left out."""
    split = split_turn(texts)
    for number, text in enumerate(texts):
        spans = sorted(
            (span.start, span.end)
            for span in (*split.instruction, *split.documents)
            if span.text == number
        )
        at = 0
        for start, end in spans:
            assert start >= at
            assert text[at:start].strip() == ""
            at = end
        assert text[at:].strip() == "" or not spans


STORY = "\n".join(
    f"In {1700 + n} the mill near bridge {n} was sold for {n * 37} crowns to a clerk."
    for n in range(60)
)
TALK = "\n".join(
    f"Speaker {n % 4}: Then we measured gate {n} and wrote it down." for n in range(80)
)


@pytest.mark.parametrize("document", [STORY, TALK])
@pytest.mark.parametrize(
    "question",
    [
        "What was the mill near bridge 12 sold for?",
        "what was the mill near bridge 12 sold for",
        "which gate was measured by speaker 3",
        "In the report, who bought the mill?",
        "Question: price of the mill near bridge 12",
    ],
)
@pytest.mark.parametrize("first", [False, True])
def test_a_line_that_asks_is_found_without_a_blank_line(
    document: str, question: str, *, first: bool
) -> None:
    """At either end, with or without a question mark, it is the instruction; the rest is not."""
    text = f"{question}\n{document}" if first else f"{document}\n{question}"
    split = split_turn((text,))
    assert split.question([text]) == question
    (span,) = split.documents
    assert text[span.start : span.end] == document


@pytest.mark.parametrize("last", ["Speaker 2: And why was that?", "<ann> why was that?"])
def test_a_question_within_a_conversation_is_not_the_readers(last: str) -> None:
    """Its last line asks another speaker; the question at the head stays the one."""
    text = f"Who wrote gate 7 down?\n{TALK}\n{last}"
    assert split_turn((text,)).question([text]) == "Who wrote gate 7 down?"

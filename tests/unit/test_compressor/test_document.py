"""A document in a human turn is condensed by sections, everything around it untouched."""

from __future__ import annotations

import json

import pytest

from compressor.condenser import Condenser
from compressor.conversation import Message, Part, PartKind
from compressor.document import SECTION_CHARS, condense_sections, share, turn_sections
from compressor.kit import Kit
from compressor.tokens import TokenCounter, load_counter

DULL = "\n\n".join(
    f"Paragraph {at} tells again how the village was built and by whom." for at in range(900)
)
QUESTION = "Question: Where was the zeppelin moored?"
TEXT = DULL + "\n\nThe zeppelin was moored at Lakehurst.\n\n" + DULL + "\n\n" + QUESTION


@pytest.fixture(scope="module")
def counter() -> TokenCounter:
    return load_counter("o200k_base")


@pytest.fixture(scope="module")
def message() -> Message:
    return Message("user", (Part(PartKind.TEXT, TEXT, ("messages", 0, "content")),))


def test_sections_cover_the_document_and_not_the_question(
    message: Message, counter: TokenCounter
) -> None:
    """Only blanks lie between sections; they are bounded and end before the instruction."""
    sections = turn_sections(message, counter)
    assert len(sections) > 5
    done = 0
    for section in sections:
        assert not TEXT[done : section.start].strip()
        assert section.text == TEXT[section.start : section.end]
        done = section.end
    assert TEXT[done:].strip() == QUESTION
    assert all(section.end - section.start <= SECTION_CHARS for section in sections)


def test_a_small_turn_has_no_sections(counter: TokenCounter) -> None:
    """A turn with little to condense is left alone."""
    small = Message("user", (Part(PartKind.TEXT, DULL[:2_000] + "\n\nWhy?", ("m",)),))
    assert turn_sections(small, counter) == []


def test_shares_stay_within_budget_and_ratio(message: Message, counter: TokenCounter) -> None:
    """Each section gets at least its floor and at most its size, all together the budget."""
    sections = turn_sections(message, counter)
    total = sum(section.tokens for section in sections)
    limits = share(sections, total // 4, 10.0, QUESTION)
    assert limits is not None
    assert sum(limits) <= total // 4
    for section, limit in zip(sections, limits, strict=True):
        assert -(-section.tokens // 10) <= limit <= section.tokens
    at = next(n for n, section in enumerate(sections) if "zeppelin" in section.text)
    assert limits[at] == max(limits)
    assert share(sections, total // 12, 10.0, QUESTION) is None
    whole = share(sections, total + 100, 10.0, QUESTION)
    assert whole == [section.tokens for section in sections]


def test_the_answer_and_the_frame_survive(message: Message, counter: TokenCounter) -> None:
    """The sentence asked for is kept, the question is where it was, the spans say what went."""
    sections = turn_sections(message, counter)
    limits = share(sections, 2_000, 30.0, QUESTION)
    assert limits is not None
    condenser = Condenser(Kit(counter))
    (made,) = condense_sections(message, sections, limits, (condenser, QUESTION))
    assert "moored at Lakehurst." in made.text
    assert made.text.endswith("\n\n" + QUESTION)
    assert counter.count(made.text) <= 2_100
    assert all(0 <= start < end <= len(TEXT) for start, end in made.dropped)
    assert sum(end - start for start, end in made.dropped) > len(TEXT) * 0.8


def test_a_json_document_stays_json(counter: TokenCounter) -> None:
    """A document that is JSON is one section, and still parses afterwards."""
    rows = [{"id": at, "name": f"row {at}", "note": "a word or two " * 9} for at in range(400)]
    parts = (
        Part(PartKind.TEXT, json.dumps(rows), ("m", 0)),
        Part(PartKind.TEXT, "Question: what is in row 3?", ("m", 1)),
    )
    message = Message("user", parts)
    sections = turn_sections(message, counter)
    assert [section.text for section in sections] == [parts[0].text]
    ask = (Condenser(Kit(counter)), "what is in row 3?")
    (made,) = condense_sections(message, sections, [2_000], ask)
    assert json.loads(made.text)[0]["id"] == 0
    assert counter.count(made.text) <= 2_000

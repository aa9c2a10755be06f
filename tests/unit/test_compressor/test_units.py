"""A text is cut where a reader would: at sentences, or at lines where lines stand alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compressor.units import LONG_BYTES, is_lines, split_units


def pieces(text: str) -> list[str]:
    return [text[unit.start : unit.end] for unit in split_units(text)]


def test_sentences_end_where_they_end() -> None:
    """Abbreviations, initials, decimals and versions end no sentence."""
    text = 'Dr. J. Smith paid 3.50 (v. 1.2.3), i.e. less. He left! Did he? "Yes." Fine.'
    assert pieces(text) == [
        "Dr. J. Smith paid 3.50 (v. 1.2.3), i.e. less.",
        "He left!",
        "Did he?",
        '"Yes."',
        "Fine.",
    ]


def test_hard_wrapped_lines_are_one_sentence() -> None:
    """A newline inside a wrapped paragraph is no border; a heading's is."""
    text = (
        "Heading\n\nThis is a paragraph that somebody wrapped at about seventy\n"
        "characters a line. It has two sentences."
    )
    assert pieces(text) == [
        "Heading",
        "This is a paragraph that somebody wrapped at about seventy\ncharacters a line.",
        "It has two sentences.",
    ]


def test_code_and_logs_are_lines() -> None:
    """In code, logs and fences each line is a unit of its own."""
    code = "def f(x):\n    y = x + 1\n    return y\n"
    assert is_lines(code)
    assert pieces(code) == ["def f(x):", "y = x + 1", "return y"]
    log = "2024-01-02 10:00:01 INFO start\n2024-01-02 10:00:02 ERROR no.\n2024-01-02 10:00:03 x\n"
    assert len(pieces(log)) == 3
    assert pieces("See. This:\n```\na. b\nc. d\n```\nDone.") == [
        "See.", "This:", "```", "a. b", "c. d", "```", "Done.",
    ]  # fmt: skip


def test_chinese_sentences_end_without_blanks() -> None:
    """A full-width stop is a border with nothing after it."""
    assert pieces("今天很好。明天下雨！后天呢？") == ["今天很好。", "明天下雨！", "后天呢？"]


@given(st.text(alphabet="ab .,\n。漢é`#-[{0\t", max_size=900))
def test_units_cover_the_text_in_order(text: str) -> None:
    """Units are disjoint, in order, bounded, and only blanks lie between them."""
    done = 0
    for unit in split_units(text):
        assert unit.start >= done
        assert not text[done : unit.start].strip()
        body = text[unit.start : unit.end]
        assert body == body.strip()
        assert body
        assert len(body.encode()) <= LONG_BYTES
        done = unit.end
    assert not text[done:].strip()

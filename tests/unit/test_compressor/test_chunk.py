"""Cutting at structure."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.chunk import Layout, cut, layout

PROSE = "\n\n".join(f"Sentence one of {n}. Sentence two of {n}. And a third." for n in range(200))
CODE = "\n\n\n".join(
    f"def function_{n}(value):\n    total = value + {n}\n    return total" for n in range(60)
)
DIALOGUE = "\n".join(
    f"{'Ann' if n % 2 else 'Bob Ray'}: I think so , number {n} ." for n in range(90)
)
LOGS = "\n".join(f"2024-05-01 10:00:{n % 60:02d} INFO served request {n}" for n in range(90))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (PROSE, Layout.PROSE),
        (CODE, Layout.CODE),
        (DIALOGUE, Layout.DIALOGUE),
        (LOGS, Layout.LOG),
    ],
)
def test_the_kind_of_a_text_is_told(text: str, kind: Layout) -> None:
    """Prose, code, talk and logs are told apart by their lines."""
    assert layout(text) is kind


@given(st.text(alphabet="ab .\n#=:-<>1[]{}", max_size=3_000))
def test_chunks_touch_and_cover(text: str) -> None:
    """Chunks of any text, joined, are the text."""
    chunks = cut(text)
    assert "".join(text[chunk.start : chunk.end] for chunk in chunks) == text
    assert all(chunk.end > chunk.start for chunk in chunks)


@pytest.mark.parametrize("text", [PROSE, CODE, DIALOGUE, LOGS, "word " * 9_000, "x" * 50_000])
def test_no_chunk_is_much_larger_than_its_aim(text: str) -> None:
    """No chunk passes its aim by more than about a third."""
    assert max(chunk.end - chunk.start for chunk in cut(text)) <= 1.4 * 256 * 4


def test_functions_are_not_cut_in_two() -> None:
    """A chunk of code starts where a function starts."""
    assert all(CODE[chunk.start :].lstrip().startswith("def ") for chunk in cut(CODE))


def test_prose_lines_are_cut_at_sentences() -> None:
    """A long line is cut after a sentence, not within one."""
    text = "The keeper wrote a long and careful sentence about the tower. " * 90
    assert all(text[: chunk.end].rstrip().endswith(".") for chunk in cut(text))


def test_a_document_starts_a_chunk_and_names_it() -> None:
    """Each document starts its own chunk and group, titled by its header lines."""
    text = "\n\n".join(
        f"PEP: {n}\nTitle: The way of {n}\nCreated: 01-Jan-20{n}\n\n" + "It says much. " * 60
        for n in range(10, 16)
    )
    chunks = cut(text)
    heads = [chunk for chunk in chunks if text[chunk.start :].startswith("PEP: ")]
    assert len(heads) == 6
    assert len({chunk.group for chunk in chunks}) == 6
    assert all("Title: The way of" in chunk.title for chunk in chunks)
    assert all("Created:" in text[chunk.start : chunk.end] for chunk in heads)


def test_headings_stand_over_what_follows() -> None:
    """A chunk below headings bears the newest of each level."""
    body = "Words of no weight. " * 40
    text = f"# Guide\n\n{body}\n\n## Setup\n\n{body}\n\n## Use\n\n{body}"
    titles = [chunk.title for chunk in cut(text)]
    assert titles[-1] == "Guide / Use"
    assert "Guide / Setup" in titles


@pytest.mark.parametrize("unit", ["\n", "-", "=", " ", "a", "#", "<", "[", "1.", "a ", "def ", ":"])
def test_hostile_runs_take_linear_time(unit: str) -> None:
    """Three hundred thousand of one mark are cut within seconds."""
    text = unit * (300_000 // len(unit))
    started = time.perf_counter()
    cut(text)
    assert time.perf_counter() - started < 5

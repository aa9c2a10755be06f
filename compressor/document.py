"""The document inside a huge last human turn, condensed section by section.

The instruction stays whole, byte for byte. Sections share the budget by size and by how
much of the question's words they hold; none is condensed harder than the ratio allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

import numpy as np
import numpy.typing as npt

from compressor.condense import is_json
from compressor.condenser import Condenser
from compressor.conversation import Message
from compressor.measure import human_split
from compressor.text import WORD, Words
from compressor.tokens import TokenCounter

DOCUMENT_TOKENS = 1_000  # a smaller document is not worth condensing
SECTION_CHARS = 12_000
BASE_SHARE = 0.3  # what a section gets for its size alone, against its relevance


@dataclass(frozen=True, slots=True)
class Section:
    """Characters ``start`` to ``end`` of part number ``part``, ``tokens`` long."""

    part: int
    start: int
    end: int
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Condensed:
    """A part's new text, the old one's dropped spans, and their mean score."""

    part: int
    text: str
    dropped: tuple[tuple[int, int], ...]
    score: float


def turn_sections(message: Message, counter: TokenCounter) -> list[Section]:
    """The sections of the documents in a human message; none where they are small."""
    texts, numbers, split = human_split(message, counter)
    spans: list[tuple[int, int, int, str]] = []
    for span in split.documents:
        text = texts[span.text]
        whole = is_json(text[span.start : span.end])  # a piece of JSON is none
        borders = [(span.start, span.end)] if whole else _cut(text, span.start, span.end)
        for low, high in borders:
            body = text[low:high].strip()  # blanks at its ends keep it apart, and stay
            start = high - len(text[low:high].lstrip())
            spans.append((numbers[span.text], start, start + len(body), body))
    counts = counter.count_many([text for *_, text in spans])
    if sum(counts) < DOCUMENT_TOKENS:
        return []
    return [Section(*span, count) for span, count in zip(spans, counts, strict=True)]


def condense_sections(
    message: Message, sections: Sequence[Section], limits: Sequence[int], ask: tuple[Condenser, str]
) -> list[Condensed]:
    """Each part that holds sections, rewritten: sections condensed, all else as it was.

    Args:
        limits: tokens for each section.
        ask: the condenser and the question.
    """
    condenser, question = ask
    made = condenser.condense_to([section.text for section in sections], limits, question)
    parts: dict[int, list[tuple[Section, str, tuple[tuple[int, int], ...], float]]] = {}
    for section, extract in zip(sections, made, strict=True):
        dropped = tuple((section.start + a, section.start + b) for a, b in extract.dropped)
        parts.setdefault(section.part, []).append((section, extract.text, dropped, extract.score))
    results = []
    for part, rewritten in sorted(parts.items()):
        whole = message.parts[part].text
        pieces: list[str] = []
        done = 0
        for section, text, _, _ in rewritten:
            pieces += [whole[done : section.start], text]
            done = section.end
        pieces.append(whole[done:])
        spans = tuple(span for _, _, dropped, _ in rewritten for span in dropped)
        score = round(sum(score for *_, score in rewritten) / len(rewritten), 4)
        results.append(Condensed(part, "".join(pieces), spans, score))
    return results


def share(
    sections: Sequence[Section], budget_tokens: int, ratio: float, question: str
) -> list[int] | None:
    """Tokens for each section, together at most ``budget_tokens``.

    None where that would condense a section harder than ``ratio``.
    """
    floors = [-(-section.tokens // ratio) for section in sections]
    spare = budget_tokens - sum(floors)
    if spare < 0:
        return None
    sizes = np.array([section.tokens for section in sections], dtype=np.float64)
    weights = np.sqrt(sizes) * (BASE_SHARE + _relevance(sections, question))
    limits = np.array(floors, dtype=np.float64)
    while spare >= len(sections):  # what a full section cannot use flows on to the others
        hungry = limits < sizes
        if not hungry.any():
            break
        given = np.where(hungry, weights, 0.0)
        given = np.minimum(np.floor(spare * given / given.sum()), sizes - limits)
        if given.sum() < 1:
            break
        limits += given
        spare -= int(given.sum())
    return [int(limit) for limit in limits]


def _relevance(sections: Sequence[Section], question: str) -> npt.NDArray[np.float64]:
    """How much of the question's rarer words each section holds, 0 to 1, the best one 1."""
    words = Words()
    wanted = words.query(question)
    found = [
        {term for word in set(WORD.findall(section.text)) for term in words.terms(word)}
        & wanted.keys()
        for section in sections
    ]
    holders = {term: sum(term in terms for terms in found) for term in wanted}
    scores = np.array(
        [
            sum(wanted[term] * log(1 + len(sections) / holders[term]) for term in sorted(terms))
            for terms in found
        ]
    )
    top = float(scores.max())
    return scores / top if top > 0 else np.ones(len(sections))


def _cut(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Spans of at most about 12,000 characters, cut at a blank line, a line or a blank."""
    borders = [start]
    while end - borders[-1] > SECTION_CHARS:
        low, high = borders[-1] + SECTION_CHARS // 2, borders[-1] + SECTION_CHARS
        at = next(
            (
                found + len(mark)
                for mark in ("\n\n", "\n", " ")
                if (found := text.rfind(mark, low, high)) >= 0
            ),
            high,
        )
        borders.append(at)
    return list(pairwise([*borders, end]))

"""Questions for a place ("the third topic", "section 4", "the last line") answered by place.

No word of such a question stands where its answer does. What it counts (lines, paragraphs,
sections, turns, records, announced topics) is counted in the text, and the pieces there are
put before all others.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from compressor import json_tree
from compressor.chunk import SPEAKER, Layout, turns
from compressor.protect import OpenSpan
from compressor.rank import Scores
from compressor.trim import Pieces

_ORDINALS = (
    *("first", "second", "third", "fourth", "fifth"),
    *("sixth", "seventh", "eighth", "ninth", "tenth"),
)
_UNITS = (
    r"(?P<unit>topic|subject|theme|message|turn|utterance|line|section|chapter|part|article"
    r"|paragraph|item|entry|record|row|element)s?\b"
)
_ORDINAL = re.compile(
    rf"\b(?P<which>{'|'.join(_ORDINALS)}|\d{{1,4}}(?=st\b|nd\b|rd\b|th\b)|last|final)(?:st|nd|rd|th)?"
    rf"\s+(?:\w+\s+)?{_UNITS}",
    re.IGNORECASE,
)
# "item 7919" names a thing by its number and counts nothing, so only these count when named.
_NAMED_UNITS = r"(?P<unit>line|section|chapter|part|article|paragraph)s?\b"
_CARDINAL = re.compile(
    rf"\b{_NAMED_UNITS}\s+(?:number\s+|no\.?\s*|#)?(?P<which>\d{{1,5}})\b", re.IGNORECASE
)
_ANY = re.compile(
    r"\b(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|\d+(?:st|nd|rd|th)|last"
    r"|final|previous)\s+(?:topic|message|turn|line|section|item|thing|paragraph|chapter|entry|word"
    r"|sentence|point|subject|record|row)s?\b",
    re.IGNORECASE,
)
_ANNOUNCED = re.compile(
    r"\b(?:discuss|talk about|move on to|turn to|start with|begin with)\s+(?:the\s+)?(?:next\s+)?"
    r"(?:topic|subject|theme|item|question|issue)\b|\b(?:next|new|first|second|third|last|final)\s+"
    r"(?:topic|subject|agenda item|item on (?:the|our) agenda)\b",
    re.IGNORECASE,
)
_HEADED = r"^[^\w\n]{{0,6}}(?:{unit}|§)\s*{number}\b|^[^\w\n]{{0,6}}{number}[.)]?\s+[A-Z]"
_PARAGRAPH = re.compile(r"\S(?:.|\n(?![ \t]*\n))*")
_LINE = re.compile(r"[^\n]+")
_TALK = frozenset({"message", "turn", "utterance"})
_RECORDS = frozenset({"item", "entry", "record", "row", "element"})
_ANNOUNCED_UNITS = frozenset({"topic", "subject", "theme"})
_LOOSE = frozenset({"part", "article"})  # "the first article that she wrote" is no heading
_LINES = frozenset({"line", "paragraph"})
_PARTS = frozenset({"section", "chapter", "part", "article"})
ABOVE = 10.0  # where it starts: more than any score
BESIDE = 8.0  # where those before and after start, for counts that are off by one
REST = 6.0  # the rest of it, falling
MOST_PIECES = 12  # of a long section


@dataclass(frozen=True, slots=True)
class Place:
    """The ``number``-th ``unit``, counted from 1; 0 for the last. ``named``: "section 4"."""

    unit: str
    number: int
    named: bool


def asked_place(question: str) -> Place | None:
    """The one place that a question asks for, or None."""
    found = _ORDINAL.search(question)
    if found is not None and found["unit"].lower() not in _LOOSE:
        which = found["which"].lower()
        if which in ("last", "final"):
            return Place(found["unit"].lower(), 0, named=False)
        number = _ORDINALS.index(which) + 1 if which in _ORDINALS else int(which)
        return Place(found["unit"].lower(), number, named=False)
    found = _CARDINAL.search(question)
    return Place(found["unit"].lower(), int(found["which"]), named=True) if found else None


def asks_for_place(question: str) -> bool:
    """Whether a question counts, in a way that we follow or not."""
    return _ANY.search(question) is not None


def raise_place(found: Pieces, question: str, scores: Scores) -> bool:
    """Put the pieces at the place asked for before all others; False where there is none."""
    place = asked_place(question)
    if place is None or place.number > 100_000:
        return False
    number = max(range(len(found.spans)), key=lambda at: found.spans[at].tokens, default=None)
    if number is None:
        return False
    if place.unit in _LINES and not _is_one(found, number):
        return False  # a line of which file?
    starts = _starts(found, number, place)
    at = len(starts) - 1 if place.number == 0 else place.number - 1
    if place.unit in _PARTS:
        at = 0
    if not 0 <= at < len(starts):
        return False
    mine = [n for n, piece in enumerate(found.pieces) if piece.span == number]
    begins = [found.pieces[n].start for n in mine]
    for other in (at - 1, at + 1, at):
        if 0 <= other < len(starts):
            first = max(0, bisect_right(begins, starts[other]) - 1)
            first += found.pieces[mine[first]].end <= starts[other]  # a brace before its member
            end = starts[other + 1] if other + 1 < len(starts) else found.spans[number].end
            last = min(first + MOST_PIECES, max(first + 1, bisect_left(begins, end)))
            if other == at and place.unit not in _ANNOUNCED_UNITS:
                for step, piece in enumerate(mine[first + 1 : last]):
                    scores[piece] = REST + 1 / (1 + step)
            scores[mine[first]] = ABOVE if other == at else BESIDE
    return True


def _is_one(found: Pieces, number: int) -> bool:
    """Whether a span is one document and not the turns or files of many."""
    kind = found.layouts[number]
    several = len({piece.group for piece in found.pieces if piece.span == number}) > 1
    return kind is not Layout.TRACE and not several


def _starts(found: Pieces, number: int, place: Place) -> list[int]:
    """Where each such unit of one span starts, offsets into its part's text."""
    span, tree = found.spans[number], found.trees[number]
    if tree is not None:
        if place.unit not in _RECORDS:
            return []
        return [span.start + child.start for child in _largest(tree).children]
    if place.unit in _RECORDS and found.layouts[number] is not Layout.LOG:
        return []  # what is an item of a story?
    return [span.start + at for at in _counted(span, place)]


def _largest(tree: json_tree.Node) -> json_tree.Node:
    """The list that a count is about: the top one, or the one member that nearly all is."""
    for child in tree.children:
        if child.children and child.end - child.start > 0.9 * (tree.end - tree.start):
            return _largest(child)
    return tree


def _counted(span: OpenSpan, place: Place) -> list[int]:
    body = span.body
    if place.unit in _PARTS:
        number = place.number or r"\d{1,3}"
        rule = _HEADED.format(unit=place.unit, number=number)
        return [hit.start() for hit in re.finditer(rule, body, re.IGNORECASE | re.MULTILINE)][:1]
    if place.unit in _TALK:
        return [hit.start() for hit in turns(body)] or [h.start() for h in SPEAKER.finditer(body)]
    if place.unit == "paragraph":
        return [hit.start() for hit in _PARAGRAPH.finditer(body)]
    if place.unit in ("line", "row"):
        return [0, *(hit.end() for hit in re.finditer(r"\n", body))]
    if place.unit in _RECORDS:
        return [hit.start() for hit in _LINE.finditer(body)]
    return [hit.start() for hit in _ANNOUNCED.finditer(body)]

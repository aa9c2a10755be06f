"""Cutting a text into the units that an extract keeps or drops whole.

Prose becomes sentences, hard-wrapped lines joined; code, logs, tables and lists become
lines. A unit is a span of the original text, so what is kept is kept byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

LONG_BYTES = 480  # a longer unit is cut at a comma or a blank
SHORT_LINE = 45  # a shorter line was broken on purpose

_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)|[。！？]+[\"”’」』）]*")
_ABBREVIATED = re.compile(
    r"(?:\b(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|cf|Fig|Eq|No|Nos|pp|vol|ed|eds|al|approx"
    r"|Inc|Ltd|Co|Corp|Gen|Sen|Rep|Gov|e\.g|i\.e|etc|z\.B|bzw|ca|Nr))\.$"
)
_MARKED = re.compile(r"\s*(?:[-*+•>#|]|\d{1,3}[.)]|\[|\{|\}|```|~~~)")
_SYMBOLS = re.compile(r"[{}()\[\]<>=;|\\/_$%&*#@^~`]")
_STAMPED = re.compile(r"\W{0,2}\d{2,4}[-/:.]\d{2}[-/:.T ]\d{2}|\W{0,2}(?:[A-Z]{4,8}|E|W|I)\b[ :\]]")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_BREAK = re.compile(r"[,;:，、；：]\s*|\s+")


@dataclass(frozen=True, slots=True)
class Unit:
    """Characters ``start`` to ``end`` of a text, no blanks at either end."""

    start: int
    end: int


def split_units(text: str) -> list[Unit]:
    """The units of ``text``, in order, disjoint; between them only blank space.

    No unit is longer than 480 UTF-8 bytes unless it has no place to be cut.
    """
    units: list[Unit] = []
    for start, end in _blocks(text):
        units.extend(_bounded(text, start, end))
    return units


def is_lines(text: str) -> bool:
    """Whether ``text`` is code, a log or a table: something whose lines stand alone."""
    lines = [line for line in text[:20_000].splitlines() if line.strip()][:200]
    if len(lines) < 3:
        return False
    odd = sum(
        line[:2].isspace()
        or _STAMPED.match(line) is not None
        or len(_SYMBOLS.findall(line)) * 12 > len(line)
        for line in lines
    )
    return odd * 2 > len(lines)


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Sentences of the prose and lines of the rest, as spans with blanks at their ends."""
    alone = is_lines(text)
    fenced = False
    prose: tuple[int, int] | None = None
    for start, end in _lines(text):
        line = text[start:end]
        fence = _FENCE.match(line) is not None
        by_itself = alone or fenced or fence or not line.strip() or _MARKED.match(line) is not None
        if fence:
            fenced = not fenced
        if prose is not None and (by_itself or not _runs_on(text, prose, start)):
            yield from _sentences(text, *prose)
            prose = None
        if by_itself and (alone or fenced or fence or not line.strip()):
            yield start, end
        else:
            prose = (prose[0] if prose is not None else start, end)
    if prose is not None:
        yield from _sentences(text, *prose)


def _lines(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        at = text.find("\n", start)
        end = len(text) if at < 0 else at
        yield start, end
        start = end + 1


def _runs_on(text: str, prose: tuple[int, int], start: int) -> bool:
    """Whether the line at ``start`` goes on with the hard-wrapped paragraph before it."""
    last = text[text.rfind("\n", prose[0], prose[1]) + 1 : prose[1]].rstrip()
    following = text[start : start + 80].lstrip()
    if len(last) < SHORT_LINE or not following:
        return False
    if following[0].islower():
        return True
    return len(last) <= 120 and last[-1] not in ".!?:。！？|"


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for match in _END.finditer(text, start, end):
        stop = match.end()
        if match.group()[0] == "." and _ABBREVIATED.search(text[max(start, stop - 12) : stop]):
            continue
        following = text[stop : stop + 4].lstrip()
        if match.group()[0] == "." and following[:1].islower():
            continue
        yield start, stop
        start = stop
    yield start, end


def _bounded(text: str, start: int, end: int) -> Iterator[Unit]:
    """One span without its blanks, cut where it is too long."""
    while start < end:
        piece = text[start:end]
        start += len(piece) - len(piece.lstrip())
        piece = piece.strip()
        if not piece:
            return
        stop = start + len(piece)
        if len(piece) * 4 > LONG_BYTES:
            stop = start + _fitting(piece)
        yield Unit(start, start + len(text[start:stop].rstrip()))
        start = stop


def _fitting(piece: str) -> int:
    """How many characters of ``piece`` make one unit."""
    head = piece[:LONG_BYTES]
    size = len(head.encode("utf-8", "surrogatepass"))
    if len(piece) <= LONG_BYTES and size <= LONG_BYTES:
        return len(piece)
    limit = len(head) if size <= LONG_BYTES else LONG_BYTES * len(head) // size
    cut = 0
    for match in _BREAK.finditer(piece, limit // 2, limit):
        if match.end() > cut and (match.group()[0] in ",;:，、；：" or cut < limit * 3 // 4):
            cut = match.end()
    return cut or limit

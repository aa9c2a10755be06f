"""Splitting a huge human turn into its document and the instruction about it.

A gateway user pastes a document and asks about it in one message: the question after
the document, before it, or at both ends. The instruction is never cut and is what the
document is searched with; the document may be trimmed.
Only the head and the tail of a text are looked at, so the cost does not grow with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

QUESTION_CHARS = 4_000
SMALL_CHARS = 1_600  # a turn below it is all instruction
SHORT_CHARS = 600  # a block that may be the instruction though it does not ask
BLOCK_CHARS = 1_500  # a longer block is document, whatever it says
LINE_CHARS = 400  # a longer line is document, unless a blank line sets it apart
WINDOW_CHARS = 6_000  # how much of each end is searched for an instruction

_LABEL = re.compile(
    r"^\W{0,4}(?:question|query|task|instructions?|request|prompt|user|q|frage|aufgabe)\s*\d*\s*[:.)\]>]",
    re.IGNORECASE,
)
_DOCUMENT_LABEL = re.compile(
    r"^\W{0,4}(?:context|document|documents|text|passage|article|transcript|source|input|data|logs?"
    r"|file|code|contents?)\s*(?:\[?\d+\]?)?\s*[:>\]]",
    re.IGNORECASE,
)
_ASKING = re.compile(
    r"^\W{0,4}(?:(?:please|pls|now|then|and|so|ok|okay|hi|hello|hey)\W+){0,2}"
    r"(?:who|whom|whose|what|when|where|which|why|how|is|are|was|were|do|does|did|can|could|would"
    r"|will|should|has|have|had|in\s+wh\w+|at\s+wh\w+|on\s+wh\w+|from\s+wh\w+|under\s+wh\w+"
    r"|summari[sz]e|explain|describe|list|find|identify|extract|give|tell|name|state|show|write"
    r"|answer|compare|translate|classify|analy[sz]e|determine|decide|check|review|fix|rewrite"
    r"|count|calculate|compute|report|return|provide|outline|discuss|use|using|based\s+on"
    r"|according\s+to|given|read|look|you\s+(?:are|will|have|must|should)|your\s+task|i\s+(?:need|want)"
    r"|help|generate|create|make|convert|quote|locate|refer|consider|below|above|here\s+(?:is|are)"
    r"|the\s+(?:following|text|document)\s+(?:is|are|below|above))\b",
    re.IGNORECASE,
)
_POINTING = re.compile(
    r"\b(?:above|below|following|(?:this|the|these|my|attached)\s+(?:document|text|passage|article"
    r"|transcript|file|log|logs|code|report|paper|contract|meeting|conversation|data|json|story|book)s?)\b",
    re.IGNORECASE,
)
_CLOSING = re.compile(r"(?:```|~~~|</\w{1,20}>)\s*$")
_BLANK = re.compile(r"\n[ \t]*\n\s*")
_CODE = re.compile(
    r"[{}<>=;]{2}|^\s*(?:def|class|import|from|return|#include|func|var|let|const)\b|\|"
)


@dataclass(frozen=True, slots=True)
class Span:
    """Characters ``start`` to ``end`` of text number ``text``."""

    text: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Split:
    """A turn told apart: ``instruction`` and ``documents``, each in order, disjoint.

    Together they cover every text, but for the blank space between them.
    """

    instruction: tuple[Span, ...]
    documents: tuple[Span, ...]

    def question(self, texts: Sequence[str]) -> str:
        """The instruction's words, at most 4,000 characters, the last ones if it is longer."""
        said = "\n".join(texts[span.text][span.start : span.end] for span in self.instruction)
        return said.strip()[-QUESTION_CHARS:]


def split_turn(texts: Sequence[str]) -> Split:
    """Tell the instruction of a human turn from its document.

    A turn always has an instruction unless it is blank: where nothing asks, its last
    block does. A turn below 1,600 characters is all instruction.
    """
    if sum(len(text) for text in texts) <= SMALL_CHARS:
        return Split(tuple(Span(n, 0, len(text)) for n, text in enumerate(texts) if text), ())
    instruction: list[Span] = []
    documents: list[Span] = []
    small = [len(text) <= SMALL_CHARS and bool(text.strip()) for text in texts]
    asked_apart = any(small[n] and _asks(text) >= 2 for n, text in enumerate(texts))
    for number, text in enumerate(texts):
        if not text.strip():
            continue
        if small[number]:
            instruction.append(Span(number, 0, len(text)))
            continue
        head, tail = _ends(text, must_ask=asked_apart)
        if head > 0:
            instruction.append(Span(number, 0, head))
        body = text[head:tail]
        if body.strip():
            start = tail - len(body.lstrip())
            documents.append(Span(number, start, head + len(body.rstrip())))
        if tail < len(text):
            instruction.append(Span(number, tail, len(text)))
    return Split(tuple(instruction), tuple(documents))


def _ends(text: str, *, must_ask: bool) -> tuple[int, int]:
    """Where the document starts and ends within ``text``.

    With ``must_ask`` an end is an instruction only if it plainly is one.
    """
    heads = _head_blocks(text)
    tails = _tail_blocks(text)
    tail = _tail_start(text, tails)
    head = _head_end(text, heads)
    head = min(head, tail)
    if head == 0 and tail == len(text) and not must_ask:
        return _lines_apart(text) or _fallback(text, heads, tails)
    return head, tail


def _lines_apart(text: str) -> tuple[int, int] | None:
    """The document where only a line at one of its ends asks, with no blank line between.

    A line that plainly asks goes before one that may: one that begins or ends as a question.
    """
    head, tail = _first_line(text), _last_line(text)
    for least in (3, 2):
        if tail < len(text) and _line_asks(text[tail:], least):
            return 0, tail
        if head and _line_asks(text[:head], least):
            return head, len(text)
    return None


def _line_asks(line: str, least: int) -> bool:
    """Whether a line by itself asks; a line of a dialogue asks somebody else."""
    line = line.strip()
    if not line or len(line) > LINE_CHARS or _DOCUMENT_LABEL.match(line):
        return False
    speaks = ":" in line[:24] or line[0] in "<["
    return _LABEL.match(line) is not None or (not speaks and _asks(line) >= least)


def _head_blocks(text: str) -> list[tuple[int, int]]:
    """The blocks, split at blank lines, of the text's first characters, in order."""
    blocks, start = [], 0
    for gap in _BLANK.finditer(text, 0, WINDOW_CHARS):
        if gap.start() > start:
            blocks.append((start, gap.start()))
        start = gap.end()
    return blocks


def _tail_blocks(text: str) -> list[tuple[int, int]]:
    """The blocks of the text's last characters, last first, each whole."""
    end = len(text.rstrip())
    floor = max(0, end - WINDOW_CHARS)
    gaps = [gap.span() for gap in _BLANK.finditer(text, floor, end)]
    blocks = []
    for gap_start, gap_end in reversed(gaps):
        if gap_end < end:
            blocks.append((gap_end, end))
        end = gap_start
    return blocks


def _tail_start(text: str, blocks: list[tuple[int, int]]) -> int:
    """Where the instruction at the end starts; the text's length when there is none."""
    start = len(text)
    scores = [_asks(text[first:last]) for first, last in blocks]
    for number, (first, last) in enumerate(blocks):
        if number == 0 and scores[0] < 2:
            # "Question: ... / Answer:" and the like: the last block only closes the one before
            closes = last - first <= BLOCK_CHARS and len(blocks) > 1 and scores[1] >= 3
            if not closes:
                break
        elif number > 0 and scores[number] < 3:
            break
        start = first
        if _LABEL.match(text[first:last]):
            break
    if start < len(text):
        return start
    last = _last_line(text)  # with no blank line before it
    return last if last < len(text) and _line_asks(text[last:], 3) else len(text)


def _last_line(text: str) -> int:
    """Where the last line starts; the text's length where it is the only one, or long."""
    end = len(text.rstrip())
    at = text.rfind("\n", max(0, end - BLOCK_CHARS), end)
    return len(text) if at < 0 else at + 1


def _first_line(text: str) -> int:
    """Where the first line ends; 0 where it is the only one, or long."""
    start = len(text) - len(text.lstrip())
    return text.find("\n", start, start + BLOCK_CHARS) + 1


def _head_end(text: str, blocks: list[tuple[int, int]]) -> int:
    """Where the instruction at the head ends; 0 when there is none."""
    end = 0
    for number, (first, last) in enumerate(blocks):
        block = text[first:last]
        if _DOCUMENT_LABEL.match(block) or _asks(block) < (2 if number == 0 else 3):
            break
        end = last
    return end


def _fallback(
    text: str, heads: list[tuple[int, int]], tails: list[tuple[int, int]]
) -> tuple[int, int]:
    """The last block where it is short, for nothing asks plainly; else the whole is document.

    Where the last block plainly is document (a closed fence, a numbered passage), the first
    one is taken if it is none.
    """
    if not tails or tails[0][1] - tails[0][0] > SHORT_CHARS:
        return 0, len(text)
    first, last = tails[0]
    closes = _CLOSING.search(text, first, last) or _DOCUMENT_LABEL.match(text[first:last])
    if closes and heads and heads[0][1] <= SHORT_CHARS:
        head = text[: heads[0][1]]
        if not (_DOCUMENT_LABEL.match(head) or _CLOSING.match(head)):
            return heads[0][1], len(text)
    return 0, first


def _asks(block: str) -> int:
    """How plainly a block is an instruction: 0 not at all, 2 likely, 3 plainly."""
    block = block.strip()
    if not block or len(block) > BLOCK_CHARS:
        return 0
    if _LABEL.match(block):
        return 4
    score = 0
    if block.endswith(("?", '?"', "?)", "？")):
        score += 2
    if _ASKING.match(block):
        score += 2
    if _POINTING.search(block):
        score += 1
    if len(block) > 700:
        score -= 1
    if _CODE.search(block):
        score -= 1
    return score

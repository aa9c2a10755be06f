"""What a prompt holds that its reader would not see: hidden characters, hidden markup, padding.

The rule: the whole original is looked at, before anything is cut, and nothing is blocked or
changed. What is found stands on the receipt and in explain, for a person to judge; every
kind also has innocent uses (a Persian text needs joiners, a web page hides its menus).
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from compressor.conversation import Conversation, Path

LONG_RUN = 200  # characters of the same kind in a row
STEP = LONG_RUN // 2  # any such run holds a whole block of this many, counted from the start
SAMPLE, SAMPLE_SHARE = 65_536, 0.1  # characters and share of a text that are deflated first
MANY_LINES = 20  # the same line so often, and together
LINE_SHARE = 0.3  # so much of the text, is padding
REPEATED_CHARS = 8_000  # a text of that length
REPEATED_RATIO = 0.02  # that deflates below this says the same again and again
SLICE, OVERLAP = 16_384, 2_100  # characters looked at in one go, and those beyond its end
MOST_SHOWN = 64  # places remembered of one kind in one text

_ZERO_WIDTH = re.compile(
    "[\u200b\u2060\u2061-\u2064\u180e\u115f\u1160\u3164\uffa0]+"
    "|(?<=[A-Za-z])[\u200c\u200d]+(?=[A-Za-z])|(?<!^)\ufeff+"
)
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]+")
_TAGS = re.compile("(?<![\U0001f3f4\U000e0000-\U000e007f])[\U000e0000-\U000e007f]+")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{3,}")
# Latin words with a letter that only looks Latin; a lone Greek letter (a unit) is none.
_LIKE_LATIN = "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0410\u0412\u0415"
_LIKE_LATIN += "\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u03bf\u039f\u0391\u0395\u03a1"
_HOMOGLYPH = re.compile(rf"[A-Za-z]{{2,}}[{_LIKE_LATIN}]+[A-Za-z]*|[{_LIKE_LATIN}]+[A-Za-z]{{2,}}")
_BLANK = " \t\r\n\u00a0\u2800\u3000"
_BLANKS = re.compile(rf"[{_BLANK}]{{{LONG_RUN},}}")
_SAME = re.compile(rf"([^\s\-=*_#.~])\1{{{LONG_RUN},}}")
_STYLE = re.compile(
    r"(?:display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![\d.])|opacity\s*:\s*0(?![\d.])"
    r"|(?<![-\w])color\s*:\s*(?:#fff(?:fff)?\b|white\b|transparent\b))",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"<!--.{0,2000}?-->|^\[//\]: # .*$", re.DOTALL | re.MULTILINE)
_ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,60}\b(?:instruct|previous|above|rules?|prompt)"
    r"|\bsystem prompt\b|\byou (?:are|must) now\b",
    re.IGNORECASE | re.DOTALL,
)
_Spans = Iterator[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of hidden content in one text.

    ``count`` places with ``chars`` characters together (at most 64 places are counted);
    ``start`` is the first one's offset. ``path`` as in the body, None where nothing can be
    replaced.
    """

    kind: str
    message: int
    path: Path | None
    start: int
    count: int
    chars: int


def scan(conversation: Conversation) -> tuple[Finding, ...]:
    """Everything found in the whole conversation, in order; () for nearly every prompt."""
    found: list[Finding] = []
    for number, message in enumerate(conversation.messages):
        for part in message.parts:
            if part.text:
                found.extend(
                    Finding(kind, number, part.path, *place) for kind, place in _in(part.text)
                )
    return tuple(found)


def summary(findings: tuple[Finding, ...]) -> dict[str, int]:
    """How many places of each kind."""
    totals: Counter[str] = Counter()
    for finding in findings:
        totals[finding.kind] += finding.count
    return dict(sorted(totals.items()))


def _in(text: str) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """(kind, (first offset, places, characters)) of one text."""
    for kind, applies, spans in _CHECKS:
        if not applies(text):
            continue
        start, count, chars = -1, 0, 0
        for low, high in spans(text):
            start = low if count == 0 else start
            count, chars = count + 1, chars + high - low
            if count == MOST_SHOWN:
                break
        if count:
            yield kind, (start, count, chars)


def _matches(pattern: re.Pattern[str]) -> Callable[[str], _Spans]:
    return lambda text: (match.span() for match in _sliced(pattern, text))


def _sliced(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """The matches of ``pattern``, looked for slice by slice.

    One search holds the interpreter from its start to its end, so that a search through a
    million characters would make everybody else wait.
    """
    low = 0
    while low < len(text):
        high = low + SLICE
        end = high
        for match in pattern.finditer(text, low, high + OVERLAP):
            if match.start() >= high:
                break
            yield match
            end = max(end, match.end())
        low = end


def _orders(text: str) -> _Spans:
    """Comments that speak to who reads them."""
    return (m.span() for m in _sliced(_COMMENT, text) if _ORDERS.search(m.group()))


def _repeats(text: str) -> _Spans:
    """One line again and again, or a text that says the same all over."""
    if len(text) >= REPEATED_CHARS and _says_the_same(text):
        yield 0, len(text)
        return
    lines: Counter[str] = Counter()
    every = text.split("\n")
    for at in range(0, len(every), SLICE):
        lines.update(every[at : at + SLICE])
    line, times = max(lines.items(), key=lambda item: len(item[0]) * item[1])
    if times >= MANY_LINES and len(line) * times >= LINE_SHARE * len(text):
        yield text.index(line), text.index(line) + len(line) * times


def _says_the_same(text: str) -> bool:
    """Whether a text deflates to next to nothing; most are told by their beginning, which
    deflates to no more than the whole does.
    """
    most = REPEATED_RATIO * len(text)
    part = max(SAMPLE, int(SAMPLE_SHARE * len(text)))
    return all(
        len(zlib.compress(some.encode("utf-8", "surrogatepass"), 1)) < most
        for some in ((text[:part], text) if part < len(text) else (text,))
    )


def _odd(text: str) -> bool:
    return not text.isascii()


def _long(text: str) -> bool:
    return len(text) >= LONG_RUN


def _blank_block(text: str) -> bool:
    """Whether any block is blank: without one there is no long run, and no need to search."""
    return any(
        low in _BLANK and high in _BLANK and not text[at * STEP : at * STEP + STEP].strip(_BLANK)
        for at, (low, high) in enumerate(_block_ends(text))
    )


def _block_ends(text: str) -> Iterator[tuple[str, str]]:
    """The first and the last character of each whole block: two slices for all of them.

    Nearly every block is told by these; a look into each takes three times as long.
    """
    return zip(text[::STEP], text[STEP - 1 :: STEP], strict=False)


def _same_block(text: str) -> bool:
    """The same for one character again and again."""
    return any(
        low == high and text.count(low, at * STEP, at * STEP + STEP) == STEP
        for at, (low, high) in enumerate(_block_ends(text))
    )


def _commented(text: str) -> bool:
    return "<!--" in text or "[//]: #" in text


def _styled(text: str) -> bool:
    return "<" in text and ":" in text


_CHECKS: tuple[tuple[str, Callable[[str], bool], Callable[[str], _Spans]], ...] = (
    ("zero_width", _odd, _matches(_ZERO_WIDTH)),
    ("bidi_override", _odd, _matches(_BIDI)),
    ("tag_characters", _odd, _matches(_TAGS)),
    ("variation_selectors", _odd, _matches(_SELECTORS)),
    ("homoglyphs", _odd, _matches(_HOMOGLYPH)),
    ("blank_padding", _blank_block, _matches(_BLANKS)),
    ("repeated_character", _same_block, _matches(_SAME)),
    ("repeated_text", _long, _repeats),
    ("hidden_style", _styled, _matches(_STYLE)),
    ("hidden_instruction", _commented, _orders),
)

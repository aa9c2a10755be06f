"""Cutting a text at its structure: documents, headings, functions, paragraphs, log lines,
utterances, sentences; never inside one where it can be helped.

Chunks of a text touch each other and cover it, so any choice of them, in order, is the
text with gaps. JSON has a tree of its own (compressor/json_tree.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

CHUNK_TOKENS = 256
DIALOGUE_TOKENS = 128
LOG_TOKENS = 64
SAMPLE_CHARS = 40_000
HEADER_CHARS = 160  # header lines of one document stand this close

ALWAYS, SECTION, PARAGRAPH, LINE, SENTENCE = 4, 3, 2, 1, 0
# a border of that strength ends a chunk once it is filled to this share
FILLED = {ALWAYS: 0.0, SECTION: 0.25, PARAGRAPH: 0.6, LINE: 1.0, SENTENCE: 1.0}


class Layout(StrEnum):
    """What a text is made of."""

    PROSE = "prose"
    CODE = "code"
    DIALOGUE = "dialogue"
    TRACE = "trace"  # the turns of a chat or an agent in one text
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Characters ``start`` to ``end``; ``title`` what stands above it (path, heading).

    ``group`` numbers the document within the text: neighbours help each other only there.
    """

    start: int
    end: int
    title: str = ""
    group: int = 0


@dataclass(frozen=True, slots=True)
class _Border:
    """A line that starts something; ``title`` is what to call it, ``level`` its depth."""

    strength: int
    title: str
    level: int


# Runs are bounded and blanks never cross a line: a hostile text must not cost quadratic time.
_DOCUMENT = re.compile(
    r"^(?=[<#/*%;=\-]|Doc|Passage|Source|Article|Context|[Ff]ile|[Pp]ath|FILE|PEP|URL|Title|diff)"
    r"(?:(?:Document|Passage|Source|Doc|Article|Context)\s?\[?\d{1,6}\]?.{0,200}"
    r"|[#/*%;-]{0,4} ?={3,12} ?\S.{0,150}\S ?={3,12}"
    r"|<(?:document|doc|file|source|article|page|item)\b[^>\n]{0,200}>"
    r"|(?:[Ff]ile|[Pp]ath|FILE|[Ff]ilename|PEP|URL|Title): ?\S.{0,150}"
    r"|diff --git .+|-{3,12} ?\w.{0,120}\w ?-{3,12})[ \t]*$",
    re.MULTILINE,
)
_DOCUMENT_LINE = re.compile(
    r"^(?:Document|Passage|Doc) ?\[?\d{1,6}\]? ?(?:\([^)\n]{0,200}\))?", re.MULTILINE
)
_HEADING = re.compile(
    r"^(?:(#{1,6})[ \t]+\S.{0,150}|<H[1-6]>.{1,150}|(?:\d{1,3}\.){1,4}\d{0,3} +[A-Z].{2,80})$",
    re.MULTILINE,
)
_UNDERLINED = re.compile(r"^(\S.{1,100})\n([=\-~^]{4,})[ \t]*$", re.MULTILINE)
_DEFINITION = re.compile(
    r"^([ \t]*)(?:@\w[\w.]*(?:\(.*\))?|(?:(?:export|default|public|private|protected|static|final"
    r"|abstract|async|pub|inline|virtual|override|suspend|internal|open) )*"
    r"(?:def|class|function|func|fn|interface|struct|enum|trait|impl|module|namespace|object|fun) "
    r"[\w$<~(&*].*|(?:[\w:<>,*&\[\]]{1,80} ){1,3}[\w:~]{1,80}\([^;\n]*\) ?(?:const ?)?\{)[ \t]*$",
    re.MULTILINE,
)
SPEAKER = re.compile(
    r"^(?:\[?\d{1,2}:\d\d(?::\d\d)?\]?[ \t]*)?(?:<[^>\n]{1,40}>"
    r"|[A-Z][\w.'\-]{0,30}(?: [A-Z\d][\w.'\-]{0,30}){0,3} ?:(?=\s)"
    r"|(?:user|assistant|system|human|bot) ?:)",
    re.MULTILINE,
)
_TURN = re.compile(
    r"^(?:<\|(?:im_start\|>)?(?P<mark>[a-z_]{2,20})(?:\|>)?|\[(?P<square>[A-Za-z_ ]{2,20})\]"
    r"|(?:#{1,4} |\*\*)?(?P<word>user|human|assistant|system|tool(?: (?:result|output|call))?"
    r"|observation|action|function)(?:\*\*)?:?(?:\*\*)?)[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_ROLES = frozenset({"user", "human", "assistant", "system", "developer", "environment"}) | {
    "tool",
    "observation",
    "action",
    "function",
}
_ANSWERS = ("tool", "observation", "function", "environment")
TRACE_TURNS = 4
CALL_CHARS = 160
_LOGGED = re.compile(
    r"^[ \t]*(?:\[?\d{4}[-/]\d\d[-/]\d\d[T ]|\[?\d\d:\d\d:\d\d|[A-Z][a-z]{2} [ \d]\d \d\d:"
    r"|(?:DEBUG|INFO|WARN(?:ING)?|ERROR|FATAL|TRACE)\b|=== RUN|--- (?:PASS|FAIL|SKIP)"
    r"|(?:PASSED|FAILED|ok|not ok|FAIL|PASS)\b|\S{1,200} (?:PASSED|FAILED|SKIPPED|ERROR)\b"
    r"|\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3} |\w{1,40}\[\d+\]:)",
    re.MULTILINE,
)
_CODE_LINE = re.compile(
    r"^[ \t]*(?:def |class |import |from \S+ import|return\b|if .*:$|for .*:$|#include|public "
    r"|private |const |let |var |func |fn |\}|\{|//|self\.|@\w)",
    re.MULTILINE,
)
_SENTENCE_END = re.compile(r"[.!?][\"')\]]{0,2}\s+|[。！？]|</(?:P|Li|Tr|Table|Ul|H\d)> ")


def layout(text: str) -> Layout:
    """What the text mostly is, judged by its first, middle and last lines."""
    third = SAMPLE_CHARS // 3
    middle = max(0, len(text) // 2 - third // 2)
    sample = text
    if len(text) > SAMPLE_CHARS:
        sample = "\n".join((text[:third], text[middle : middle + third], text[-third:]))
    lines = max(1, sum(1 for line in sample.split("\n") if line.strip()))
    shares = {
        Layout.LOG: len(_LOGGED.findall(sample)) / lines,
        Layout.DIALOGUE: len(SPEAKER.findall(sample)) / lines,
        Layout.CODE: 2 * len(_CODE_LINE.findall(sample)) / lines,
    }
    kind = max(shares, key=lambda key: shares[key])
    if shares[kind] >= 0.4:
        return kind
    return Layout.TRACE if sum(1 for _ in turns(sample)) >= TRACE_TURNS else Layout.PROSE


def documents(text: str) -> int:
    """How many documents a text plainly is put together from, by their first lines."""
    return sum(1 for _ in _DOCUMENT_LINE.finditer(text))


def chunk_tokens(kind: Layout) -> int:
    """The size a chunk of that kind aims at, tokens."""
    return {Layout.DIALOGUE: DIALOGUE_TOKENS, Layout.LOG: LOG_TOKENS}.get(kind, CHUNK_TOKENS)


def cut(
    text: str, chars_a_token: float = 4.0, kind: Layout | None = None, share: float = 1.0
) -> list[Chunk]:
    """Chunks that touch each other and cover ``text``; [] for an empty one.

    Args:
        chars_a_token: how long a token of this text is; the aim is in tokens.
        kind: what the text is; found out when not given.
        share: of the usual size of a chunk, where the room is too small for that.
    """
    if not text:
        return []
    kind = kind or layout(text)
    aim = max(80, int(share * chunk_tokens(kind) * chars_a_token))
    return list(_pack(text, aim, _borders(text, kind)))


def _pack(text: str, aim: int, borders: dict[int, _Border]) -> Iterator[Chunk]:
    start, group = 0, 0
    titles: dict[int, str] = {}
    title = ""
    opened = -HEADER_CHARS  # where the newest document started
    for at, end, found in _units(text, aim, borders):
        strength, border = found, borders.get(at)
        size = at - start
        if strength == ALWAYS:
            if at - opened < HEADER_CHARS and titles.get(0):
                strength = LINE  # a second line of the same header
                title = titles[0] = f"{titles[0]} {borders[at].title}"[:300]
                border = None
            opened = at
        over = size + (end - at) > 1.3 * aim
        if size and (over or size >= FILLED[strength] * aim):
            yield Chunk(start, at, title, group)
            start = at
        if border is not None:
            group += border.strength == ALWAYS
            titles = {level: name for level, name in titles.items() if level < border.level}
            titles[border.level] = border.title
        if start == at:
            title = " / ".join(titles[level] for level in sorted(titles))
    yield Chunk(start, len(text), title, group)


def _units(text: str, aim: int, borders: dict[int, _Border]) -> Iterator[tuple[int, int, int]]:
    """Pieces that are not cut further: (start, end, strength of the border before)."""
    at, blank = 0, False
    for line in text.splitlines(keepends=True):
        end = at + len(line)
        border = borders.get(at)
        plain = PARAGRAPH if blank else LINE
        strength = plain if border is None else border.strength
        if len(line) > aim:
            yield from _sentences(text, (at, end), aim, strength)
        else:
            yield at, end, strength
        blank = not line.strip()
        at = end


def _sentences(
    text: str, span: tuple[int, int], aim: int, strength: int
) -> Iterator[tuple[int, int, int]]:
    """A long line as sentences, joined to about a third of a chunk; hard cuts where none end."""
    start, end = span
    least, at = aim // 4, start
    for gap in _SENTENCE_END.finditer(text, start, end):
        if gap.end() - at >= least:
            yield from _hard(text, (at, gap.end()), aim, strength)
            at, strength = gap.end(), SENTENCE
    if at < end:
        yield from _hard(text, (at, end), aim, strength)


def _hard(
    text: str, span: tuple[int, int], aim: int, strength: int
) -> Iterator[tuple[int, int, int]]:
    """A stretch without sentence ends, cut at blanks where there are some."""
    at, end = span
    while end - at > 1.3 * aim:
        space = text.rfind(" ", at + aim // 2, at + aim)
        to = space + 1 if space > 0 else at + aim
        yield at, to, strength
        at, strength = to, SENTENCE
    yield at, end, strength


def _borders(text: str, kind: Layout) -> dict[int, _Border]:
    """Where something new starts, by the offset of its line."""
    borders: dict[int, _Border] = {}
    if kind is Layout.LOG:
        return borders
    borders.update(_definitions(text) if kind is Layout.CODE else _headings(text))
    for found in _DOCUMENT.finditer(text):
        borders[found.start()] = _Border(ALWAYS, found[0].strip("# =-\t")[:160], 0)
    for found in _DOCUMENT_LINE.finditer(text):
        borders[found.start()] = _Border(ALWAYS, found[0][:160], 0)
    if kind is Layout.TRACE:
        for found in turns(text):
            borders[found.start()] = _Border(SECTION, _call_before(text, found), 0)
    return borders


def _definitions(text: str) -> Iterator[tuple[int, _Border]]:
    """Classes and functions, but not what is defined deep within them."""
    for found in _DEFINITION.finditer(text):
        depth = len(found[1].expandtabs(4)) // 2
        name = "" if found[0].lstrip().startswith("@") else found[0].strip()[:120]
        if depth <= 2:
            yield found.start(), _Border(SECTION, name, 3 + depth)


def _headings(text: str) -> Iterator[tuple[int, _Border]]:
    for found in _HEADING.finditer(text):
        level = len(found[1]) if found[1] else 2
        if not (found[0][0].isdigit() and _in_list(text, found)):
            yield found.start(), _Border(SECTION, found[0].strip("# \t")[:120], level)
    for found in _UNDERLINED.finditer(text):
        yield found.start(), _Border(SECTION, found[1].strip()[:120], 2)


def _in_list(text: str, found: re.Match[str]) -> bool:
    """Whether a numbered line is an item of a list and no heading."""
    before = text[max(0, found.start() - 2) : found.start()]
    return before not in ("", "\n", "\n\n") or found[0].rstrip()[-1] in ".,;:!?"


def turns(text: str) -> Iterator[re.Match[str]]:
    """The lines that say whose turn begins."""
    for found in _TURN.finditer(text):
        role = (found["mark"] or found["square"] or found["word"]).lower()
        if role.split("_")[0].split(" ")[0] in _ROLES:
            yield found


def _call_before(text: str, turn: re.Match[str]) -> str:
    """What to call a turn: for a tool's answer the end of what was said before, the call."""
    if not any(name in turn[0].lower() for name in _ANSWERS):
        return ""
    before = text[max(0, turn.start() - 2 * CALL_CHARS) : turn.start()]
    return " ".join(before.strip("`\n \t").splitlines()[-4:])[-CALL_CHARS:]

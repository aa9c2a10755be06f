"""Which part of a prompt is its question: options, what asks, and what carries figures.

Without options, the sentence before belongs to it if it speaks of the same. All else is
context and does not count, so what is merely added (filler, praise, the same sentence again,
a quoted instruction) hardly moves the score. Letters that only look Latin are read as Latin,
invisible ones not at all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

HEAD_CHARS = 1_800
TAIL_CHARS = 1_200
CORE_CHARS = 1_600
CUE_LINES = 40
LONG_WORD_CHARS = 40
LOOSE_SHARE = 0.12  # of small words: below it a long sentence may hold loose words
MOST_SENTENCES = 80
MOST_OPTIONS = 16
LONG_SENTENCE_WORDS = 24  # a shorter one is no padding
LAST_OPTION_CHARS = 8  # by so much the last option may be longer than the others

_OPTION_LETTERS = frozenset("ABCDEFGHIJKLMNOPabcdefghijklmnop")
_OPTION_SIGNS = frozenset(".):")
_FIGURE = re.compile(r"[0-9\\$(=]").search
_CUE = "answer:"
_EDGES = ",:;(\"'*-#>"
_ASKING = frozenset(
    [
        "who", "whom", "whose", "what", "which", "when", "where", "why", "how", "is", "are", "was",
        "were", "do", "does", "did", "can", "could", "should", "would", "will", "has", "have",
        "had", "find", "calculate", "compute", "determine", "evaluate", "solve", "simplify",
        "prove", "show", "write", "compose", "draft", "describe", "explain", "discuss", "create",
        "give", "name", "list", "translate", "summarize", "summarise", "identify", "state",
        "define", "compare", "classify", "choose", "select", "complete", "fill", "implement",
        "design", "return", "generate", "tell", "suggest", "provide", "convert", "express", "let",
        "given", "suppose", "if",
    ]
)  # fmt: skip
# Words that do a figure's work: a sentence with one is a step of the question, too.
_AMOUNTS = frozenset(
    [
        "twice", "half", "third", "quarter", "double", "triple", "dozen", "two", "three", "four",
        "five", "six", "seven", "eight", "nine", "ten", "times", "each", "per", "percent",
    ]
)  # fmt: skip
# Cyrillic and Greek letters with a Latin twin, full-width forms by their distance.
_TWINS = dict(
    zip(
        map(ord, "аеорсухіјѕһԁԛԝАВЕКМНОРСТУХІЈЅαορνικτυΑΒΕΖΗΙΚΜΝΟΡΤΥΧ"),
        "aeopcyxijshdqwABEKMHOPCTYXIJSaopvikruABEZHIKMNOPTYX",
        strict=True,
    )
)
_TWINS |= {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_UNSEEN: dict[int, str] = dict.fromkeys((0xAD, *range(0x200B, 0x2010), 0x2060, 0xFEFF), "")
_UNSEEN[0xA0] = " "
_SUBJECT = re.compile(r"[a-z]{4,}")
_REPEATED = re.compile(r"(\S)\1{7,}")
_SMALL_WORDS = frozenset(
    [
        "the", "of", "a", "an", "to", "in", "is", "are", "was", "were", "and", "or", "for", "on",
        "at", "by", "with", "from", "as", "that", "this", "it", "be", "has", "have", "had", "if",
        "when", "which", "who", "what", "how", "each", "he", "she", "his", "her", "they", "you",
        "i", "my", "we", "all",
    ]
)  # fmt: skip
_NO_SUBJECT = _SMALL_WORDS | _ASKING | {
    "many", "much", "there", "their", "them", "been", "than", "then", "into"
}  # fmt: skip
# A dozen words on end without any that holds a sentence together or begins a question.
_LOOSE = re.compile(
    r"(?i)(?:(?!(?:"
    + "|".join(sorted(_SMALL_WORDS | _ASKING))
    + r")\b)[A-Za-z']+ ){12,}(?:[A-Za-z']+$)?"
)
# A question typed in small letters ends where a sentence begins as sentences do.
_RUN_ON = re.compile(
    r"\A[^A-Z.?!\n]{12,} (?=(?:The|This|That|These|It|An?|In|On|There|He|She|We|They|You|I|My)"
    r" [a-z])"
)
_ECHO = re.compile(r"\b(\S{1,12}(?: \S{1,12})?)(?: \1\b){3,}")
_NOT_ASCII_WORD = re.compile(r"[^\x00-\x7f]")
_Sentence = tuple[str, list[str], bool]  # as it stands, its words, whether it asks
_LATIN_WORD = re.compile(r"[A-Za-z]{2,}")


class Reading(NamedTuple):
    """What of a prompt counts.

    ``stem`` the sentences that ask or carry figures; ``asking`` how many of them ask, and
    ``asking_words`` their words; ``options`` the texts of lettered options; ``cued``
    whether an answer is to be filled in behind them.
    """

    stem: str
    asking: int
    asking_words: int
    options: Sequence[str]
    cued: bool

    @property
    def core(self) -> str:
        """Stem and options as one text."""
        return "\n".join((self.stem, *self.options)) if self.options else self.stem


def clip(question: str) -> str:
    """Head and tail of a long question."""
    if len(question) <= HEAD_CHARS + TAIL_CHARS:
        return question
    return question[:HEAD_CHARS] + "\n" + question[-TAIL_CHARS:]


def plain_letters(text: str) -> str:
    """``text`` without invisible signs, Latin look-alikes as Latin, not all in capitals."""
    if text.isupper():
        text = text.lower()
    if text.isascii():
        return text
    text = text.translate(_UNSEEN)
    if len(_LATIN_WORD.findall(text)) * 3 < len(_NOT_ASCII_WORD.findall(text)):
        return text  # another script, whose letters are its own
    return text.translate(_TWINS)


def is_option(line: str) -> bool:
    """Whether a line starts like a lettered option: ``A. yes``, ``(B) no``."""
    start = line[:4].lstrip(" (")
    return len(start) > 1 and start[0] in _OPTION_LETTERS and start[1] in _OPTION_SIGNS


def options_of(text: str) -> list[str]:
    """The texts of lettered options, one a line, at most 16."""
    return [line[3:].strip() for line in text.split("\n") if is_option(line)][:MOST_OPTIONS]


def read(question: str) -> Reading:
    """The part of ``question`` that counts, within fixed lengths; linear time."""
    text = plain_letters(clip(question))
    lines = text.split("\n")
    marks = [number for number, line in enumerate(lines) if is_option(line)][:MOST_OPTIONS]
    options: list[str] = []
    cued = False
    if len(marks) > 1:
        lines, after = lines[: marks[0]], lines[marks[0] :]
        cued = any(line[:8].lower().startswith(_CUE) for line in after[-CUE_LINES:])
        options = [_joined(after[number - marks[0]][3:].split()) for number in marks]
        options[-1] = _cut(options[-1], options[:-1])
    found = _sentences(lines)
    if found and (options or not any(asks for _, _, asks in found)):
        # What stands before the options asks, whatever its form.
        found[-1] = (*found[-1][:2], True)
        if not options:
            found[0] = (*found[0][:2], True)
    stem: list[str] = []
    asking = asking_words = 0
    for number, (text, words, asks) in enumerate(found):
        if asks:
            asking += 1
            asking_words += len(words)
        elif not (_figures(text, words) or (not asking and not options and _leads(found, number))):
            continue
        stem.append(_joined(words))
    return Reading("\n".join(stem)[:CORE_CHARS], asking, asking_words, options, cued)


def _figures(text: str, words: Sequence[str]) -> bool:
    """Whether a sentence carries a figure, or a word that stands for one."""
    return bool(_FIGURE(text)) or not _AMOUNTS.isdisjoint(words)


def _leads(found: Sequence[_Sentence], number: int) -> bool:
    """Whether the next sentence is the first that asks, and of the same subject."""
    _, words, asks = found[number + 1]
    return asks and _same_subject(found[number][1], words)


def _sentences(lines: Sequence[str]) -> list[_Sentence]:
    """Each sentence and line once, in order; of many the first and the last."""
    body = "\n".join(lines).replace(". ", ".\n").replace("? ", "?\n").replace("! ", "!\n")
    if body[:1].islower():
        body = _RUN_ON.sub("\\g<0>\n", body, count=1)
    found: list[_Sentence] = []
    for text in dict.fromkeys(body.split("\n")):
        words = text.split()
        if len(words) > LONG_SENTENCE_WORDS:
            words = _without_padding(words)
        if words:
            asks = "?" in text or "__" in text or words[0].strip(_EDGES).lower() in _ASKING
            found.append((text, words, asks))
    if len(found) > MOST_SENTENCES:
        half = MOST_SENTENCES // 2
        return found[:half] + found[-half:]
    return found


def _without_padding(words: list[str]) -> list[str]:
    """A long sentence's words without runs of loose ones and without echoes of one or two."""
    if max(map(len, words)) > LONG_WORD_CHARS:
        words = _joined(words).split()
    kinds = set(words)
    if len(kinds) * 2 < len(words):
        words = _ECHO.sub(r"\1", " ".join(words)).split()
    if len(kinds & _SMALL_WORDS) >= LOOSE_SHARE * len(words):
        return words
    if sum([word in _SMALL_WORDS for word in words]) < LOOSE_SHARE * len(words):
        words = _LOOSE.sub("", " ".join(words)).split()
    return words


def _joined(words: Sequence[str]) -> str:
    """Words with one blank between them; of a sign repeated on and on two."""
    text = " ".join(words)
    if len(text) > LONG_WORD_CHARS and max(map(len, words)) > LONG_WORD_CHARS:
        return _REPEATED.sub(r"\1\1", text)
    return text


def _cut(last: str, others: Sequence[str]) -> str:
    """The last option without what was written behind it, as the others tell."""
    if ". " in last and not any(". " in other for other in others):
        last = last.partition(". ")[0] + "."
    limit = LAST_OPTION_CHARS + max(map(len, others))
    return last if len(last) <= limit else last[:limit].rpartition(" ")[0] or last[:limit]


def _same_subject(words: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two sentences share a word of four letters and more that carries a meaning."""
    one = set(_SUBJECT.findall(" ".join(words).lower()))
    return not _NO_SUBJECT.issuperset(one.intersection(_SUBJECT.findall(" ".join(others).lower())))

"""What a question looks like, as numbers: one pass, linear time, every figure bounded.

Only what asks, its options and its figures count (router.reading). Words count by presence,
sentences once, sizes on a log scale with a cap: nothing that is added to a prompt moves a
feature without bound. Each word is looked up once; what it tells stands packed in one number
(router.words), so that a question costs a few passes over its words and none over its letters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from math import log1p, sqrt
from typing import NamedTuple

import re2

from router.cues import WHOLE_WORD_CHARS, Cues
from router.reading import Reading, read
from router.words import (
    CUE,
    FIELDS,
    HIGHEST,
    LONG_CHARS,
    MOST_WORDS,
    NEUTRAL,
    TOPICS,
    fields_of,
)

LEXICON_CAP = 4
MOST_NUMBERS = 200
TOPIC_FLOOR = 20.0  # of the length of a sum: a word or two of no subject point nowhere

_LETTERS, _DIGITS, _SPACE, _MATHS, _PUNCTUATION, _OTHER, _SIGN = b"abcdefg"
_NUMBER_SIGNS = frozenset("0123456789-$+")
_FROM = ("which", "what")
_OF = [
    f"{which} of {the}{those}"
    for which in ("all", "none", "both", "neither")
    for the in ("", "the ")
    for those in ("above", "these", "them")
]
# Forms told by words: presence of any of these, whole.
_WORDED: dict[str, Sequence[str]] = {
    "asks_who": ["who", "whose", "whom"],
    "asks_what": ["what"],
    "asks_which": ["which"],
    "asks_when": ["when"],
    "asks_where": ["where"],
    "asks_why": ["why"],
    "asks_how_many": ["how many", "how much"],
    "asks_how": ["how"],
    "negated": ["except", "incorrect", "false", "least likely", "is not", "are not"],
    "statements": [
        "ii", *(f"{a} {b}" for a in ("statement", "scenario", "assertion") for b in ("1", "2", "i"))
    ],
    "person": ["he", "she", "his", "her", "they", "their"],
    "second_person": ["you", "your", "i", "my", "me"],
    "if_then": ["if", "suppose", "assume", "given", "let", "consider"],
    "best": ["best", "most", "primarily", "primary", "main"],
    "following": [f"{a} of {b}" for a in _FROM for b in ("the following", "these")],
    "all_above": _OF,
    "correct": ["correct", "correctly", "true"],
    "approximate": ["approximately", "closest", "nearest", "in terms of", "expressed"],
    "chance": ["probability", "expected value", "expected number", "random", "randomly"],
    "passage": ["according to", "passage", "excerpt", "author"],
    "rate": [
        "each", "every",
        *(f"per {a}" for a in ("day", "week", "hour", "month", "year", "minute", "second")),
    ],
    "percent_word": ["percent", "percentage"],
    "tests": ["assert", "write a function", "write a python function"],
    "word_list": ["words"],
    "imperative": [
        "find", "calculate", "compute", "determine", "evaluate", "solve", "simplify", "prove"
    ],
    "asks_text": ["write", "compose", "draft", "describe", "explain", "discuss", "create"],
}  # fmt: skip
# Forms told by signs and figures, searched only where there are some.
_SIGNED = {
    "blank": r"_{2,}|\s_\s|\.{3,}|…",
    "latex": r"\\[a-z]{2,}|\$[^$\n]{1,80}\$",
    "code": r"```|\bdef \w+\(|\breturn\b.*[;:]|[{};]\s*\n|\w+\(\w*\)",
    "formula": r"[a-zA-Z]\s?[=^]\s?[-\d(a-zA-Z\\]|\d\s?[-+*/^=]\s?\d|[A-Z][a-z]?\d(?:[A-Z]|\b)",
    "units": r"\d\s?(?:cm|mm|km|kg|mg|ml|mol|kj|°|%|ft|lb|hz|v|w|m/s|m|s|g|l|k|j|n|pa)\b",
    "year": r"\b(?:1[0-9]|20)\d\d\b",
    "money": r"\$\s?\d",
    "quote": r"[\"“][^\"”\n]{12,}[\"”]",
    "decimal": r"\d\.\d",
    "percent": r"\d\s?%",
    "fraction": r"\d\s?/\s?\d",
}
_NUMBER = re.compile(r"\d[\d,]*\.?\d*")
_PARTS = re.compile(r"[a-z]+")

NUMERIC = (
    "size", "chars", "words", "sentences", "asking_words", "asking", "word_chars", "long_words",
    "distinct", "numbers", "distinct_numbers", "largest_number", "counting", "clauses", "digits",
    "maths_signs", "commas", "other_script", "rare", "rarest", "unknown", "small_words",
    "ends_question", "ends_colon", "answer_cue", "asks",
)  # fmt: skip
OPTIONS = (
    "options", "option_words", "option_spread", "option_numeric", "option_overlap",
    "option_in_stem", "option_sentences", "option_rare",
)  # fmt: skip


class _Known(NamedTuple):
    """What is known of a text's different words: which are cues, which are strange, and the sum
    of the others' numbers.
    """

    kinds: set[str]
    telling: list[str]
    strange: list[str]
    total: int

    def and_(self, other: _Known) -> _Known:
        """Of two texts together; a word in both counts in both."""
        return _Known(
            self.kinds | other.kinds,
            self.telling + other.telling,
            self.strange + other.strange,
            self.total + other.total,
        )


class FeatureExtractor:
    """Turns a question into a list of numbers; holds the cues and what is known of words.

    ``words`` are numbers as ``router.words`` packs them. ``names`` are the list's entries in
    order. Safe between threads: nothing changes after construction.
    """

    def __init__(self, lexicon: Mapping[str, Sequence[str]], words: Mapping[str, int]) -> None:
        patterns: list[str] = []
        fields: list[int] = []
        for number, entries in enumerate(_WORDED.values()):
            patterns += [f" {entry} " for entry in entries]
            fields += [number] * len(entries)
        for number, entries in enumerate(lexicon.values()):
            for entry in entries:
                plain = plain_words(entry)
                patterns.append(plain if len(plain.strip()) <= WHOLE_WORD_CHARS else plain[:-1])
                fields.append(len(_WORDED) + number)
        self._fields = fields
        self._adds = [LEXICON_CAP if one < len(_WORDED) else 1 for one in fields]
        self._field_count = len(_WORDED) + len(lexicon)
        self._cues = Cues(patterns, words)
        self._signs = re2.Set.SearchSet()
        for pattern in _SIGNED.values():
            self._signs.Add(pattern)
        self._signs.Compile()
        self._words = {
            word: number + CUE if word in self._cues.words else number
            for word, number in words.items()
        }
        for word in self._cues.words:
            self._words.setdefault(word, CUE)
        self.names = (
            *NUMERIC,
            *OPTIONS,
            *_SIGNED,
            *_WORDED,
            *(f"about_{name}" for name in lexicon),
            *(f"topic_{number}" for number in range(TOPICS)),
        )

    def extract(self, question: str) -> list[float]:
        """The features of ``question``, one a name, each bounded."""
        reading = read(question)
        raw = reading.stem.encode("utf-8", "replace")
        classes = raw.translate(_CLASS_OF)
        text = _words_of(raw)
        stem = self._looked_up(text)
        values = _of_stem(reading, text, stem, classes)
        if not reading.options:
            return values + _NO_OPTIONS + self._told(raw, classes, text, stem)
        below = "\n".join(reading.options).encode("utf-8", "replace")
        options = _words_of(below)
        answers = self._looked_up(options)
        values += _of_options(reading.options, options, stem, answers)
        raw = b"%b\n%b" % (raw, below)
        return values + self._told(
            raw, raw.translate(_CLASS_OF), text + options, stem.and_(answers)
        )

    def _looked_up(self, words: list[str]) -> _Known:
        """What is known of ``words``, each looked up once."""
        kinds = set(words)
        telling: list[str] = []
        strange: list[str] = []
        total = 0
        find = self._words.get
        for word in kinds:
            number = find(word, 0)
            if number >= CUE:
                telling.append(word)
            if not number & 1:
                strange.append(word)
            total += number
        return _Known(kinds, telling, strange, total)

    def _told(self, raw: bytes, classes: bytes, words: list[str], known: _Known) -> list[float]:
        """Forms told by signs and by words, subjects and topics."""
        return [*self._signed(raw, classes), *self._about(known, words), *_topics(known.total)]

    def words(self, question: str) -> list[str]:
        """The different words of what counts of ``question``, those of the options once more."""
        reading = read(question)
        parts = (reading.stem, "\n".join(reading.options))
        return [w for part in parts for w in set(_words_of(part.encode("utf-8", "replace")))]

    def _signed(self, raw: bytes, classes: bytes) -> list[float]:
        """Which forms told by signs occur; searched only where there is any sign or figure."""
        found = [0.0] * len(_SIGNED)
        if _PLAIN_ONLY(classes) is None or b"..." in raw:
            for number in self._signs.Match(raw) or ():
                found[number] = 1.0
        return found

    def _about(self, known: _Known, words: list[str]) -> list[float]:
        """Forms told by words, and how many entries of each field occur, up to a cap; 0 to 1."""
        telling = known.telling
        compound = [word for word in known.strange if not word.isalpha()] if known.strange else []
        if compound:
            parts = set(_PARTS.findall(" ".join(compound)))
            telling = telling + [part for part in parts if part in self._cues.words]
        found = self._cues.find(telling, known.strange, f" {' '.join(words)} ")
        counts = [0] * self._field_count
        for number in found:
            counts[self._fields[number]] += self._adds[number]
        return [_SHARE[count] if count < LEXICON_CAP else 1.0 for count in counts]


def _topics(total: int) -> list[float]:
    """Where the sum of the different known words' topics points; zeros without any."""
    known = fields_of(total)
    zero = known[0] * NEUTRAL
    axes = [one - zero for one in known[7:FIELDS]]
    length = sqrt(sum([one * one for one in axes])) + TOPIC_FLOOR
    return [one / length for one in axes]


def _of_stem(reading: Reading, words: list[str], found: _Known, classes: bytes) -> list[float]:
    """The entries of ``NUMERIC``, in order, each between 0 and about 1."""
    text, kinds = reading.stem, found.kinds
    known = fields_of(found.total)
    size, total, different = max(1, len(classes)), max(1, len(words)), max(1, len(kinds))
    long_words, strange = known[4], 0
    for word in found.strange:
        if len(word) > 1 and word.isalpha():
            strange += 1
            long_words += len(word) >= LONG_CHARS
    digits = classes.count(_DIGITS)
    numbers: list[str] = _NUMBER.findall(text)[:MOST_NUMBERS] if digits else []
    chars, ending = len(text), text[-1:]
    return [
        log1p(chars + sum(map(len, reading.options))) / 8,
        log1p(chars) / 8,
        log1p(len(words)) / 6,
        log1p(text.count("\n")) / 4,
        min(log1p(reading.asking_words) / 5, 1.2),
        min(log1p(reading.asking) / 2, 1.2),
        min((classes.count(_LETTERS) + digits) / total, 12.0) / 12,
        long_words / different,
        len(kinds) / total,
        log1p(len(numbers)) / 4,
        log1p(len(set(numbers))) / 4,
        log1p(min(max(map(_value, numbers)), 3e6)) / 15 if numbers else 0.0,
        log1p(known[2]) / 3,
        log1p(known[3]) / 3,
        digits / size,
        classes.count(_MATHS) / size,
        min(text.count(",") / size * 10, 1.0),
        classes.count(_OTHER) / size,
        (known[5] / HIGHEST + strange) / max(1, known[0] + strange),
        (known[6] + strange) / different,
        strange / different,
        known[1] / different,
        float(ending == "?"),
        float(ending == ":"),
        float(reading.cued),
        float("?" in text),
    ]


def _of_options(
    options: Sequence[str], words: list[str], stem: _Known, answers: _Known
) -> list[float]:
    """What the lettered options look like: the entries of ``OPTIONS``."""
    count, lengths = len(options), list(map(len, options))
    known = fields_of(answers.total)
    different = max(1, len(answers.kinds))
    return [
        min(count, 10) / 10,
        min(log1p(len(words) / count) / 4, 1.2),
        min(log1p(max(lengths) - min(lengths)) / 5, 1.2),
        sum([one[:1] in _NUMBER_SIGNS or one[1:2].isdigit() for one in options if one]) / count,
        1 - different / max(1, len(words)),
        len(answers.kinds & stem.kinds) / different,
        sum([one.endswith(".") for one in options]) / count,
        (known[5] / HIGHEST + len(answers.strange)) / different,
    ]


def _blanks() -> bytes:
    """Capitals as small letters, ASCII punctuation but hyphen and apostrophe as blanks."""
    table = bytearray(range(256))
    for sign in b'\t\n\r.,;:!?()[]{}"<>|/\\*~`#=+^%&@':
        table[sign] = 32
    for letter in range(ord("A"), ord("Z") + 1):
        table[letter] = letter + 32
    return bytes(table)


_TO_BLANK = _blanks()


def _words_of(raw: bytes) -> list[str]:
    """The words of a text in UTF-8, lower case, without punctuation; at most ``MOST_WORDS``."""
    text = raw.translate(_TO_BLANK).decode("utf-8", "replace")
    words = text.split() if text.isascii() else text.lower().split()
    return words if len(words) <= MOST_WORDS else words[:MOST_WORDS]


def plain_words(text: str) -> str:
    """The words of ``text`` with one blank between them and on either side."""
    return f" {' '.join(_words_of(text.encode('utf-8', 'replace')))} "


def _classes() -> bytes:
    table = bytearray([_SIGN]) * 256
    table[ord("a") : ord("z") + 1] = bytes([_LETTERS]) * 26
    table[ord("A") : ord("Z") + 1] = bytes([_LETTERS]) * 26
    table[ord("0") : ord("9") + 1] = bytes([_DIGITS]) * 10
    for kind, signs in (
        (_SPACE, " \t\n\r"), (_PUNCTUATION, ".,?!:;'-"), (_MATHS, "+*/=<>^\\$|~%")
    ):  # fmt: skip
        for sign in signs.encode():
            table[sign] = kind
    table[128:] = bytes([_OTHER]) * 128
    return bytes(table)


_CLASS_OF = _classes()
_PLAIN_ONLY = re.compile(b"[%c%c%c]*" % (_LETTERS, _SPACE, _PUNCTUATION)).fullmatch
_SHARE = [count / LEXICON_CAP for count in range(LEXICON_CAP)]
_NO_OPTIONS = [0.0] * len(OPTIONS)


def _value(number: str) -> float:
    return float(number.replace(",", "")) if len(number) < 16 else 1e16


def parse_lexicon(text: str) -> dict[str, list[str]]:
    """Fields and their entries, from JSON."""
    return {
        str(name): [str(entry) for entry in entries] for name, entries in json.loads(text).items()
    }


def bundled_lexicon() -> dict[str, list[str]]:
    """The lexicon shipped with the package."""
    folder = resources.files("router").joinpath("data")
    return parse_lexicon(folder.joinpath("lexicon.json").read_text(encoding="utf-8"))

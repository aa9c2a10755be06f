"""What a question looks like, as numbers: one pass, linear time, every figure bounded.

Only what asks, its options and its figures count (router.reading). Words count by presence,
sentences once, sizes on a log scale with a cap: nothing that is added to a prompt moves a
feature without bound.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from math import log1p
from typing import NamedTuple

import ahocorasick_rs
import numpy as np
import numpy.typing as npt
import re2

from router.reading import Reading, read

Vector = npt.NDArray[np.float32]

LEXICON_CAP = 4
WHOLE_WORD_CHARS = 4  # shorter entries match whole words only, longer ones as a stem
RANK_STEPS = 255  # how rare a word is, in one byte

_LETTERS, _DIGITS, _SPACE, _MATHS, _PUNCTUATION, _OTHER = range(6)
_NUMBER_SIGNS = frozenset("0123456789-$+")
_ASKS = {
    "who": r"\bwho(?:se|m)?\b",
    "what": r"\bwhat\b",
    "which": r"\bwhich\b",
    "when": r"\bwhen\b",
    "where": r"\bwhere\b",
    "why": r"\bwhy\b",
    "how_many": r"\bhow (?:many|much)\b",
    "how": r"\bhow\b",
}
_FORMS = {
    "negated": r"(?i)\b(?:except|incorrect|false|least likely|(?:is|are) not)\b",
    "statements": r"(?i)\b(?:statement|scenario|assertion) (?:1|2|i|ii)\b|\bI and II\b|\bII\b",
    "true_false": r"(?i)\btrue\b.*\bfalse\b|\bfalse\b.*\btrue\b|\bcorrect\b.*\bincorrect\b",
    "blank": r"_{2,}|\s_\s|\.{3,}|…",
    "latex": r"\\[a-z]{2,}|\$[^$\n]{1,80}\$",
    "code": r"```|\bdef \w+\(|\bassert \w+|\breturn\b.*[;:]|\bimport \w+|[{};]\s*\n|\w+\(\w*\)",
    "formula": r"[a-zA-Z]\s?[=^]\s?[-\d(a-zA-Z\\]|\d\s?[-+*/^=]\s?\d|[A-Z][a-z]?\d(?:[A-Z]|\b)",
    "units": r"\d\s?(?:cm|mm|km|kg|mg|ml|mol|kj|°|%|ft|lb|hz|v|w|m/s|m|s|g|l|k|j|n|pa)\b",
    "year": r"\b(?:1[0-9]|20)\d\d\b",
    "money": r"\$\s?\d",
    "quote": r"[\"“][^\"”\n]{12,}[\"”]",
    "imperative": (
        r"(?i)(?:^|[.!?\n]\s*)"
        r"(?:find|calculate|compute|determine|evaluate|solve|simplify|prove)\b"
    ),
    "asks_text": (
        r"(?i)(?:^|[.!?\n]\s*)(?:please )?"
        r"(?:write|compose|draft|describe|explain|discuss|create)\b"
    ),
    "if_then": r"(?i)\b(?:if|suppose|assume|given|let|consider)\b",
    "best": r"(?i)\b(?:best|most likely|most|primarily|primary|main)\b",
    "following": r"(?i)\b(?:which|what) of (?:the following|these)\b",
    "person": r"(?i)\b(?:he|she|his|her|they|their)\b",
    "second_person": r"(?i)\b(?:you|your|i|my|me)\b",
    "list_of": r"(?:\w+, ){4,}",
    "asks": r"\?",
    "all_above": r"(?i)\b(?:all|none|both|neither) of (?:the )?(?:above|these|them)\b",
    "correct": r"(?i)\b(?:correct(?:ly)?|true)\b",
    "approximate": r"(?i)\b(?:approximately|closest|nearest|in terms of|expressed)\b",
    "chance": r"(?i)\b(?:probability|expected (?:value|number)|random(?:ly)?)\b",
    "passage": r"(?i)\b(?:according to|passage|excerpt|author)\b",
    "decimal": r"\d\.\d",
    "percent": r"(?i)\d\s?%|\bpercent",
    "fraction": r"\d\s?/\s?\d",
    "rate": r"(?i)\bper (?:day|week|hour|month|year|minute|second)\b|\b(?:each|every)\b",
    "tests": r"(?i)\bassert\b|\bwrite a (?:python )?function\b",
    "word_list": r"(?i)\bwords: ",
}
_CLAUSES = frozenset(
    [
        "if", "when", "while", "because", "that", "which", "who", "whose", "whereas",
        "although", "unless", "until", "after", "before", "since", "so",
    ]
)  # fmt: skip
_COUNTING = frozenset(
    [
        "twice", "half", "third", "quarter", "double", "triple", "dozen", "two", "three",
        "four", "five", "six", "seven", "eight", "nine", "ten", "times", "each", "every",
        "per", "percent", "more", "less", "fewer", "total", "remaining", "left", "rest",
        "altogether",
    ]
)  # fmt: skip
_SMALL_WORDS = frozenset(
    [
        "the", "of", "a", "an", "to", "in", "is", "are", "was", "were", "and", "or",
        "for", "on", "at", "by", "with", "from", "as", "that", "this", "it", "be", "has",
        "have", "had", "not", "he", "she", "his", "her", "they", "you", "i", "your", "my",
        "we",
    ]
)  # fmt: skip
_NUMBER = re.compile(r"\d[\d,]*\.?\d*")


NUMERIC = (
    "size", "chars", "words", "asking_words", "asking", "word_chars", "long_words", "distinct",
    "numbers", "distinct_numbers", "largest_number", "counting", "clauses", "digits",
    "maths_signs", "commas", "other_script", "options", "option_words", "option_spread",
    "option_numeric", "option_overlap", "option_in_stem", "option_sentences", "option_rare",
    "rare", "rarest", "unknown", "small_words", "ends_question", "ends_colon", "answer_cue",
)  # fmt: skip


class WordVectors(NamedTuple):
    """Known words: the row of each in ``vectors``, ``(n_words, dim) float32``, and in
    ``rare``, ``(n_words,) float32``: 0 for the most common word, 1 for the rarest.
    """

    rows: Mapping[str, int]
    vectors: Vector
    rare: Sequence[float] = ()


class FeatureExtractor:
    """Turns a question into a vector; holds the automaton and the word vectors.

    ``names`` are the vector's entries in order. Safe between threads: nothing changes
    after construction.
    """

    def __init__(
        self, lexicon: Mapping[str, Sequence[str]], words: WordVectors | None = None
    ) -> None:
        patterns: list[str] = []
        fields: list[int] = []
        for number, entries in enumerate(lexicon.values()):
            for entry in entries:
                plain = plain_words(entry)
                patterns.append(plain if len(plain.strip()) <= WHOLE_WORD_CHARS else plain[:-1])
                fields.append(number)
        self._automaton = ahocorasick_rs.AhoCorasick(patterns)
        self._fields = fields
        self._field_count = len(lexicon)
        self._forms = re2.Set.SearchSet()
        for pattern in (*("(?i)" + asks for asks in _ASKS.values()), *_FORMS.values()):
            self._forms.Add(pattern)
        self._forms.Compile()
        self._words = words or WordVectors({}, np.zeros((0, 0), dtype=np.float32))
        self._dim = self._words.vectors.shape[1]
        self.names = (
            *NUMERIC,
            *(f"asks_{name}" for name in _ASKS),
            *_FORMS,
            *(f"about_{name}" for name in lexicon),
            *(f"topic_{number}" for number in range(self._dim)),
        )

    def extract(self, question: str) -> Vector:
        """The features of ``question``, ``(len(names),) float32``, each bounded."""
        reading = read(question)
        core = reading.core
        plain = plain_words(core)
        form = [0.0] * (len(_ASKS) + len(_FORMS))
        for number in self._forms.Match(core.encode("utf-8", "replace")) or ():
            form[number] = 1.0
        stem, options = _known_words(reading, plain, self._words)
        values = [*_numeric(reading, stem, options), *form, *self._about(plain)]
        vector = np.asarray(values, dtype=np.float32)
        if not self._dim:
            return vector
        return np.concatenate([vector, self._topic({*stem.rows, *options.rows})])

    def _about(self, plain: str) -> list[float]:
        """How many different entries of each field occur, up to ``LEXICON_CAP``, 0 to 1."""
        matches = self._automaton.find_matches_as_indexes(plain, overlapping=True)
        counts = [0] * self._field_count
        for pattern in {match[0] for match in matches}:
            counts[self._fields[pattern]] += 1
        return [min(count, LEXICON_CAP) / LEXICON_CAP for count in counts]

    def _topic(self, rows: set[int]) -> Vector:
        """Direction of the sum of the different known words' vectors; zero without any."""
        if not rows:
            return np.zeros(self._dim, dtype=np.float32)
        total: Vector = np.add.reduce(self._words.vectors.take(sorted(rows), axis=0))
        total /= np.float32(max(1e-6, float(total.dot(total)) ** 0.5))
        return total


class _Words(NamedTuple):
    """The words of a text; of the known ones the rows, and how rare each word of letters is."""

    words: Sequence[str]
    rows: Sequence[int]
    rare: Sequence[float]


def _known_words(reading: Reading, plain: str, known: WordVectors) -> tuple[_Words, _Words]:
    """The words of the stem and of the options."""
    words = plain.split()
    if not reading.options:
        return _look_up(words, known), _Words((), (), ())
    count = len(plain_words(reading.stem).split())
    return _look_up(words[:count], known), _look_up(words[count:], known)


def _look_up(words: Sequence[str], known: WordVectors) -> _Words:
    found = list(map(known.rows.get, words))
    rows = [row for row in found if row is not None]
    rare = list(map(known.rare.__getitem__, rows)) if known.rare else []
    if len(rows) < len(words):
        for word, row in zip(words, found, strict=True):
            if row is None and len(word) > 1 and word.isalpha():
                rare.append(1.0)
    return _Words(words, rows, rare)


def _blanks() -> bytes:
    table = bytearray(range(256))
    for sign in b'\t\n\r.,;:!?()[]{}"<>|/\\*~`#=+^%&@':
        table[sign] = 32
    return bytes(table)


_TO_BLANK = _blanks()


def plain_words(text: str) -> str:
    """Lower case, ASCII punctuation as blanks, one blank before and after."""
    raw = text.lower().encode("utf-8", "replace").translate(_TO_BLANK)
    return " " + " ".join(raw.decode("utf-8", "replace").split()) + " "


def _classes() -> bytes:
    table = bytearray([_PUNCTUATION]) * 256
    table[ord("a") : ord("z") + 1] = bytes([_LETTERS]) * 26
    table[ord("A") : ord("Z") + 1] = bytes([_LETTERS]) * 26
    table[ord("0") : ord("9") + 1] = bytes([_DIGITS]) * 10
    for kind, signs in ((_SPACE, " \t\n\r"), (_MATHS, "+-*/=<>^\\$|~%")):
        for sign in signs.encode():
            table[sign] = kind
    table[128:] = bytes([_OTHER]) * 128
    return bytes(table)


_CLASS_OF = _classes()


def _numeric(reading: Reading, stem: _Words, options: _Words) -> list[float]:
    """The entries of ``NUMERIC``, in order, each between 0 and about 1."""
    text, words = reading.stem, stem.words
    raw = text.encode("utf-8", "replace")
    classes = raw.translate(_CLASS_OF)
    size, total = max(1, len(raw)), max(1, len(words))
    sizes = list(map(len, words))
    kinds = set(words)
    numbers = _NUMBER.findall(text)
    rare = sorted(stem.rare)
    ending = text[-1:]
    return [
        log1p(len(text) + sum(map(len, reading.options))) / 8,
        log1p(len(text)) / 8,
        log1p(len(words)) / 6,
        min(log1p(reading.asking_words) / 5, 1.2),
        min(log1p(reading.asking) / 2, 1.2),
        min(sum(sizes) / total, 12) / 12,
        sum([one >= 9 for one in sizes]) / total,
        len(kinds) / total,
        log1p(len(numbers)) / 4,
        log1p(len(set(numbers))) / 4,
        log1p(min(max(map(_value, numbers), default=0.0), 3e6)) / 15,
        log1p(sum(map(_COUNTING.__contains__, words))) / 3,
        log1p(sum(map(_CLAUSES.__contains__, words))) / 3,
        classes.count(_DIGITS) / size,
        classes.count(_MATHS) / size,
        min(text.count(",") / size * 10, 1.0),
        classes.count(_OTHER) / size,
        *_of_options(reading.options, options, kinds),
        sum(rare) / max(1, len(rare)),
        rare[len(rare) * 9 // 10] if rare else 0.0,
        rare.count(1.0) / total,
        sum(map(_SMALL_WORDS.__contains__, words)) / total,
        float(ending == "?"),
        float(ending == ":"),
        float(reading.cued),
    ]


def _of_options(options: Sequence[str], words: _Words, stem: set[str]) -> list[float]:
    """What the lettered options look like; zeros without any."""
    if not options:
        return [0.0] * 8
    count, lengths = len(options), list(map(len, options))
    kinds = set(words.words)
    return [
        min(count, 10) / 10,
        log1p(len(words.words) / count) / 4,
        log1p(max(lengths) - min(lengths)) / 5,
        sum([one[:1] in _NUMBER_SIGNS or one[1:2].isdigit() for one in options if one]) / count,
        1 - len(kinds) / max(1, len(words.words)),
        len(kinds & stem) / max(1, len(kinds)),
        sum([one.endswith(".") for one in options]) / count,
        sum(words.rare) / max(1, len(words.rare)),
    ]


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

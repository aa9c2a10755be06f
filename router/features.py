"""What a question looks like, as numbers: one pass, linear time, every figure bounded.

Only the question counts (the instruction of the last human turn), and of a long one only
its head and tail. Words count by presence, repeated sentences once, sizes on a log scale
with a cap: nothing that is added to a prompt moves a feature without bound.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from math import log1p
from typing import NamedTuple

import ahocorasick_rs
import numpy as np
import numpy.typing as npt
import re2

Vector = npt.NDArray[np.float32]

HEAD_CHARS = 1_800
TAIL_CHARS = 1_200
LEXICON_CAP = 4
WHOLE_WORD_CHARS = 4  # shorter entries match whole words only, longer ones as a stem

_LETTERS, _DIGITS, _UPPER, _SPACE, _MATHS, _PUNCTUATION, _STOP, _OTHER = range(8)
_OPTION_LETTERS = frozenset("ABCDEFGHIJKLMNOP")
_OPTION_SIGNS = frozenset(".):")
_NUMBER_SIGNS = frozenset("0123456789-$")
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
    "negated": r"\b(?:NOT|LEAST)\b|(?i:\b(?:except|incorrect|false|least likely)\b)",
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
    "lower_start": r"^[a-z]",
    "asks": r"\?",
    "asks_last": r"\?\W*(?:Answer:?\s*)?$",
}

NUMERIC = (
    "chars", "words", "stem_words", "word_chars", "long_words", "distinct", "sentences",
    "sentence_words", "digits", "maths_signs", "upper", "punctuation", "other_script", "lines",
    "numbers", "distinct_numbers", "longest_number", "options", "option_words", "option_spread",
    "option_numeric", "option_share", "names",
)  # fmt: skip


def clip(question: str) -> str:
    """Head and tail of a long question, with every sentence kept once."""
    text = question
    if len(text) > HEAD_CHARS + TAIL_CHARS:
        text = text[:HEAD_CHARS] + "\n" + text[-TAIL_CHARS:]
    sentences = text.split(". ")
    once = dict.fromkeys(sentences)
    return text if len(once) == len(sentences) else ". ".join(once)


class WordVectors(NamedTuple):
    """Known words: the row of each in ``vectors``, ``(n_words, dim) float32``."""

    rows: Mapping[str, int]
    vectors: Vector


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
                plain = _plain(entry)
                patterns.append(plain if len(plain.strip()) <= WHOLE_WORD_CHARS else plain[:-1])
                fields.append(number)
        self._automaton = ahocorasick_rs.AhoCorasick(patterns)
        self._fields = fields
        self._field_count = len(lexicon)
        self._forms = re2.Set.SearchSet()
        for pattern in (*("(?i)" + asks for asks in _ASKS.values()), *_FORMS.values()):
            self._forms.Add(pattern)
        self._forms.Compile()
        self._rows: Mapping[str, int] = words.rows if words else {}
        self._vectors = words.vectors if words else np.zeros((0, 0), dtype=np.float32)
        self._dim = self._vectors.shape[1]
        self.names = (
            *NUMERIC,
            *(f"asks_{name}" for name in _ASKS),
            *_FORMS,
            *(f"about_{name}" for name in lexicon),
            *(f"topic_{number}" for number in range(self._dim)),
        )

    def extract(self, question: str) -> Vector:
        """The features of ``question``, ``(len(names),) float32``, each bounded."""
        text = clip(question)
        raw = text.encode("utf-8", "replace")
        plain = _plain(text)
        words = plain.split()
        form = [0.0] * (len(_ASKS) + len(_FORMS))
        for number in self._forms.Match(raw) or ():
            form[number] = 1.0
        values = [*_numeric(text, raw, words), *form, *self._about(plain)]
        vector = np.asarray(values, dtype=np.float32)
        return np.concatenate([vector, self._topic(words)]) if self._dim else vector

    def _about(self, plain: str) -> list[float]:
        """How many different entries of each field occur, up to ``LEXICON_CAP``, 0 to 1."""
        matches = self._automaton.find_matches_as_indexes(plain, overlapping=True)
        found = {match[0] for match in matches}
        counts = [0] * self._field_count
        for pattern in found:
            counts[self._fields[pattern]] += 1
        return [min(count, LEXICON_CAP) / LEXICON_CAP for count in counts]

    def _topic(self, words: Sequence[str]) -> Vector:
        """Mean of the vectors of the different known words; zero without any."""
        rows = map(self._rows.get, dict.fromkeys(words))
        known = [row for row in rows if row is not None]
        if not known:
            return np.zeros(self._dim, dtype=np.float32)
        total: Vector = np.add.reduce(self._vectors.take(known, axis=0))
        return total / max(1.0, float(np.sqrt(total.dot(total))))


def _blanks() -> bytes:
    table = bytearray(range(256))
    for sign in b'\t\n\r.,;:!?()[]{}"<>|/\\*~`#=+^%&@':
        table[sign] = 32
    return bytes(table)


_TO_BLANK = _blanks()


def _plain(text: str) -> str:
    """Lower case, ASCII punctuation as blanks, one blank before and after."""
    raw = text.lower().encode("utf-8", "replace").translate(_TO_BLANK)
    return " " + " ".join(raw.decode("utf-8", "replace").split()) + " "


def _classes() -> bytes:
    table = bytearray([_PUNCTUATION]) * 256
    table[ord("a") : ord("z") + 1] = bytes([_LETTERS]) * 26
    table[ord("A") : ord("Z") + 1] = bytes([_UPPER]) * 26
    table[ord("0") : ord("9") + 1] = bytes([_DIGITS]) * 10
    for kind, signs in ((_SPACE, " \t\n\r"), (_MATHS, "+-*/=<>^\\$|~%"), (_STOP, ".!?")):
        for sign in signs.encode():
            table[sign] = kind
    table[128:] = bytes([_OTHER]) * 128
    return bytes(table)


_CLASS_OF = _classes()
_STOP_SPACE = bytes([_STOP, _SPACE])
_SPACE_UPPER = bytes([_SPACE, _UPPER])


def options_of(text: str) -> list[str]:
    """The texts of lettered options, one a line (``A. yes``), at most 16."""
    found = []
    for line in text.split("\n"):
        start = line[:4].lstrip(" (")
        if start[:1] in _OPTION_LETTERS and start[1:2] in _OPTION_SIGNS and len(start) > 1:
            found.append(line[3:].strip())
    return found[:16]


def _numeric(text: str, raw: bytes, words: Sequence[str]) -> list[float]:
    """The entries of ``NUMERIC``, in order, each between 0 and about 1."""
    classes = raw.translate(_CLASS_OF)
    size = max(1, len(raw))
    total = max(1, len(words))
    numbers = [word for word in words if word[0] in "0123456789"]
    sentences = 1 + classes.count(_STOP_SPACE)
    sizes = list(map(len, words))
    letters = sum(sizes)
    options = options_of(text)
    lengths = [len(option) for option in options]
    optional = sum(lengths)
    return [
        log1p(len(text)) / 8,
        log1p(len(words)) / 6,
        log1p(max(0.0, len(words) - optional / 6)) / 6,
        min(letters / total, 12) / 12,
        sum([one >= 9 for one in sizes]) / total,
        len(set(words)) / total,
        log1p(sentences) / 4,
        log1p(len(words) / sentences) / 4,
        classes.count(_DIGITS) / size,
        classes.count(_MATHS) / size,
        classes.count(_UPPER) / size,
        (classes.count(_PUNCTUATION) + classes.count(_STOP)) / size,
        classes.count(_OTHER) / size,
        log1p(text.count("\n")) / 4,
        log1p(len(numbers)) / 4,
        log1p(len(set(numbers))) / 4,
        min(max(map(len, numbers), default=0), 8) / 8,
        min(len(options), 10) / 10,
        log1p(optional / max(1, len(options))) / 5,
        log1p(max(lengths, default=0) - min(lengths, default=0)) / 5,
        sum(1 for option in options if option[:1] in _NUMBER_SIGNS) / max(1, len(options)),
        optional / max(1, len(text)),
        classes.count(_SPACE_UPPER) / total,
    ]


def parse_lexicon(text: str) -> dict[str, list[str]]:
    """Fields and their entries, from JSON."""
    return {
        str(name): [str(entry) for entry in entries] for name, entries in json.loads(text).items()
    }


def bundled_lexicon() -> dict[str, list[str]]:
    """The lexicon shipped with the package."""
    folder = resources.files("router").joinpath("data")
    return parse_lexicon(folder.joinpath("lexicon.json").read_text(encoding="utf-8"))

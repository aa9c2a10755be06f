"""Words of a text as search terms: identifiers taken apart, stems, CJK bigrams.

Pure functions of the text; what a word becomes does not depend on its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import Stemmer

WORD = re.compile(r"[^\W_]+(?:[_.\-/:@'’][^\W_]+)*")
# The same in a text of ASCII alone, where it is faster.
_ASCII_WORD = re.compile(r"[0-9A-Za-z]+(?:[_.\-/:@'][0-9A-Za-z]+)*", re.ASCII)
_PART = re.compile(r"[^\W_]+")
_HUMP = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\dA-Za-z_]+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")

_STOP_WORDS = """
    a about above after again all also am an and any are aren as at be because been before being
    below between both but by can could couldn d did didn do does doesn doing don down during each
    few for from further had hadn has hasn have haven having he her here hers herself him himself
    his how i if in into is isn it its itself just ll m me more most my myself no nor not now o of
    off on once only or other our ours ourselves out over own please re s same shall she should
    shouldn so some such t than that the their theirs them themselves then there these they this
    those through to too under until up upon ve very was wasn we were weren what when where which
    while who whom whose why will with won would wouldn you your yours yourself yourselves
    tell give according document text passage question answer following based context using
    der die das und ist ein eine einer wie was wer wo wann warum welche im in den dem des zu von mit
    le la les un une des et est que qui dans pour sur du au aux quel quelle comment pourquoi
    el los las una unos del y es por para con cual como cuando donde quien
"""
STOP = frozenset(_STOP_WORDS.split())

# Words that say how to answer rather than what about; in quotation marks they count in full.
_FRAME_WORDS = """
    summarize summarise summary discuss discussed discussing discussion discussions think thinks
    thought said say says mention mentioned talk talked talking explain explained describe
    described describes opinion opinions view views idea ideas group team meeting people person
    function method code file class does use used using name list find identify state provide
    mean means refer kind type example happen happened reason make made paper article author
    authors character man woman conclude conclusion decide decided decision
"""
FRAME = frozenset(_FRAME_WORDS.split())
FRAME_WEIGHT = 0.25
_QUOTED = re.compile(r'"([^"\n]{3,})"')


def words_of(text: str) -> list[str]:
    """The words of a text, in order, as ``WORD`` finds them."""
    found: list[str] = (_ASCII_WORD if text.isascii() else WORD).findall(text)
    return found


class Words:
    """Turns words into terms and remembers them for the life of one fit."""

    def __init__(self, language: str = "english") -> None:
        self._stem = Stemmer.Stemmer(language).stemWord
        self._known: dict[str, tuple[str, ...]] = {}

    def terms(self, word: str) -> tuple[str, ...]:
        """The terms of one word, without repeats, the whole word first.

        ``getUserName`` -> getusernam, get, user, name; ``a.b_c`` -> itself, a, b, c;
        a CJK run -> its bigrams.
        """
        known = self._known.get(word)
        if known is None:
            known = self._known[word] = tuple(dict.fromkeys(self._split(word)))
        return known

    def query(self, text: str) -> dict[str, float]:
        """Terms to search with and their weights; stop words only if there is nothing else."""
        weights: dict[str, float] = {}
        spare: dict[str, float] = {}
        quoted = {word for said in _QUOTED.findall(text) for word in WORD.findall(said)}
        for word in WORD.findall(text):
            terms = self.terms(word)
            share = FRAME_WEIGHT if word.lower() in FRAME and word not in quoted else 1.0
            for number, term in enumerate(terms):
                weight = share * (1.0 if number == 0 or len(terms) == 1 else 0.7)
                into = spare if term in STOP or (len(term) < 2 and not term.isdigit()) else weights
                into[term] = max(into.get(term, 0.0), weight)
        return weights or spare

    def _split(self, word: str) -> Iterable[str]:
        parts = _PART.findall(word)
        if len(parts) > 1 and not _is_possessive(parts):
            yield word.lower()
        for part in parts:
            if _CJK.search(part):
                yield from bigrams(part.lower())
                continue
            low = part.lower()
            yield self._stem(low) if low.isalpha() and low not in STOP else low
            if len(part) > 3 and not (part.islower() or part.isdigit()):
                humps = _HUMP.findall(part)
                if len(humps) > 1:
                    yield from (self._stem(hump.lower()) for hump in humps)


def bigrams(run: str) -> list[str]:
    """Overlapping pairs of characters; a single character stands for itself."""
    if len(run) < 2:
        return [run]
    return [run[at : at + 2] for at in range(len(run) - 1)]


def prefixes(terms: Iterable[str]) -> tuple[str, ...]:
    """Strings of which the lower-cased form of every word that yields a term has one.

    Stemming may change the last letters of a word, so only the front of a term counts.
    """
    return tuple(sorted({front for term in terms if term for front in _fronts(term)}))


# The stemmer knows these by heart: dying -> die. No front of the stem is in the word.
_BY_HEART = {"die": "dying", "lie": "lying", "tie": "tying", "sky": "ski"}


def _fronts(term: str) -> tuple[str, ...]:
    if not term.isalpha():
        return (term,)
    # fly -> fli and using -> use: even a stem of three letters may differ in its last.
    front = term[: max(2 if len(term) <= 3 else 3, len(term) - 2)]
    return (front, _BY_HEART[term]) if term in _BY_HEART else (front,)


def _is_possessive(parts: Sequence[str]) -> bool:
    return len(parts) == 2 and parts[1].lower() in {"s", "t", "re", "ve", "ll", "d", "m"}

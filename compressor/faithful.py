"""What a summary claims that its source does not say.

The rule: every exact thing of a summary (number, date, URL, path, identifier, quoted
string, name) must stand in the source, whole. Wording may change, facts may not. The
check errs towards "unsupported": then an extract is used instead, which cannot invent.

Small abstractive models invent most of their numbers (46 of 58 in our measurements), so
nothing that a model has written leaves this package without passing here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

ATOM = re.compile(r"\S+")
QUOTED = re.compile(
    r"\"([^\"\n]{2,400})\"|“([^”\n]{2,400})”|`([^`\n]{1,400})`|«([^»\n]{2,400})»|「([^」\n]{1,400})」"
)
THOUSANDS = re.compile(r"(?<=\d)[,\u2019](?=\d{3}(?!\d))")
PERCENT = re.compile(r"(?<=\d) ?(?:percent\b|per cent\b|%)")
MIXED_CASE = re.compile(r"[a-z][A-Z]|[A-Z]{2}")
INNER_DOT = re.compile(r"\w\.\w")
DECORATION = "\"'`“”‘’«»「」()[]{}<>*,;:!?…。、，；：！？"
CURRENCIES = "$€£¥₹"
PUNCTUATION_OF_EXACT = "_/\\@#=~"
NUMBER_WORDS = {
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12",
    "thirteen": "13", "fourteen": "14", "fifteen": "15", "sixteen": "16",
    "seventeen": "17", "eighteen": "18", "nineteen": "19", "twenty": "20", "thirty": "30",
    "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80",
    "ninety": "90", "hundred": "100", "thousand": "1000", "million": "1000000",
    "billion": "1000000000", "half": "1/2", "twice": "2", "dozen": "12",
}  # fmt: skip


def unsupported(summary: str, source: str) -> list[str]:
    """Every exact thing of ``summary`` that is not in ``source``, once each, in order.

    Numbers match whole ("12" is not in "2012" or "12.5"), with their currency or percent
    sign, thousands separators apart; number words also match their digits. Paths, URLs
    and identifiers match by case; quoted strings and names do not mind it.
    """
    found = _Source(source)
    missing: dict[str, None] = {}
    text = _normal(summary)
    for match in QUOTED.finditer(text):
        quote = next(group for group in match.groups() if group is not None)
        if not found.has_phrase(quote):
            missing[quote] = None
    for atom, opens_sentence in _atoms(text):
        if not _supported(atom, found, opens_sentence=opens_sentence):
            missing[atom] = None
    return list(missing)


def exact_things(text: str) -> list[str]:
    """Every number, path, identifier, URL and name of ``text``, once each, in order."""
    nothing = _Source("")
    return list(
        dict.fromkeys(
            atom
            for atom, opens in _atoms(_normal(text))
            if not _supported(atom, nothing, opens_sentence=opens)
        )
    )


def kept_exact(summary: str, source: str) -> float:
    """The share of the source's exact things that ``summary`` still has, 0 to 1."""
    things = exact_things(source)
    if not things:
        return 1.0
    found = _Source(summary)
    return sum(found.has(thing) for thing in things) / len(things)


class _Source:
    """A source made ready for whole-word look-ups."""

    def __init__(self, text: str) -> None:
        self._exact = _normal(text)
        self._folded = self._exact.casefold()
        self._spaced = " ".join(self._folded.split())

    def has(self, atom: str) -> bool:
        """Whether ``atom`` stands there as it is, not as a piece of something longer."""
        return _whole(atom, self._exact)

    def has_folded(self, atom: str) -> bool:
        """As ``has``, upper and lower case alike."""
        return _whole(atom.casefold(), self._folded)

    def has_phrase(self, phrase: str) -> bool:
        """Whether the words of ``phrase`` follow each other there."""
        return " ".join(phrase.casefold().split()).strip(".,;:!?") in self._spaced


def _normal(text: str) -> str:
    """``text`` in one spelling: NFKC, plain minus, no thousands separators, one percent sign."""
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-")
    return PERCENT.sub("%", THOUSANDS.sub("", text))


def _atoms(text: str) -> Iterator[tuple[str, bool]]:
    """Each run of non-blank characters without its decoration, and whether it opens a sentence."""
    for line in text.splitlines():
        opens = True
        for match in ATOM.finditer(line):
            raw = match.group()
            atom = raw.strip(DECORATION).rstrip(".").removesuffix("'s").removesuffix("’s")
            atom = atom.strip(DECORATION)
            if any(char.isalnum() for char in atom):
                yield atom, opens
                opens = False
            opens = opens or raw.rstrip("\"'”’)*")[-1:] in tuple(".!?:;。！？") or not atom


def _supported(atom: str, found: _Source, *, opens_sentence: bool) -> bool:
    if any(char.isdigit() for char in atom):
        return found.has(atom) or _parts_supported(atom, found)
    digits = NUMBER_WORDS.get(atom.casefold())
    if digits is not None:
        return found.has_folded(atom) or found.has(digits)
    if any(char in PUNCTUATION_OF_EXACT for char in atom) or INNER_DOT.search(atom):
        return found.has(atom) or _parts_supported(atom, found)
    if MIXED_CASE.search(atom):
        return found.has(atom)
    if atom[0].isupper() and not opens_sentence:
        return found.has_folded(atom) or all(
            found.has_folded(piece) for piece in re.split(r"[-'’]", atom) if len(piece) > 1
        )
    return "-" not in atom or all(
        NUMBER_WORDS.get(piece.casefold()) is None or found.has_folded(piece)
        for piece in atom.split("-")
    )


def _parts_supported(atom: str, found: _Source) -> bool:
    """Whether ``atom`` is a plain joining ("40-50", "either/or", "key=3") of things in the source.

    A path or URL of three pieces or more is one thing and is never split.
    """
    if "://" in atom or atom.count("/") > 1 or "\\" in atom or "_" in atom or "@" in atom:
        return False
    pieces = [piece for piece in re.split(r"[-–—/=:(),+~]+", atom) if piece]
    return len(pieces) > 1 and all(found.has(piece) for piece in pieces)


def _whole(atom: str, text: str) -> bool:
    """Whether ``atom`` is in ``text`` with no letter, digit or digit-joining sign at its ends."""
    at = text.find(atom)
    while at >= 0:
        before, after = text[max(0, at - 2) : at], text[at + len(atom) : at + len(atom) + 2]
        if not _runs_on(atom[0], before[::-1]) and not _runs_on(atom[-1], after):
            return True
        at = text.find(atom, at + 1)
    return False


def _runs_on(edge: str, beyond: str) -> bool:
    """Whether ``edge`` and what lies ``beyond`` it, read outwards, belong to one word or number."""
    if not beyond or not edge.isalnum():
        return False
    if edge.isdigit() and beyond[0] in ".,:" and beyond[1:2].isdigit():
        return True
    if edge.isdigit() and beyond[0].isalpha() and not beyond[0].isascii():
        return False  # 3年, 5万: a unit in another script
    return beyond[0].isalnum() or beyond[0] == "_"

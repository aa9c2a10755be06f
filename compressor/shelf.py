"""What has been read of a conversation's texts, kept for its next turns.

A growing history is mostly the text of the turn before: cutting it into units and stemming its
words again each turn costs more than all the rest of a fit. Here a text is read once; a later
question only looks up its few words. The rule: what is found is a pure function of the texts
and the words asked for, so forgetting is never wrong, only slow. A shelf belongs to one
conversation of one team and is bounded in bytes, and so are all shelves together.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from compressor.text import WORD, Words
from compressor.units import split_units

SHELF_BYTES = 16 * 2**20
TOTAL_BYTES = 64 * 2**20
_TEXT_BYTES = 600  # what a read text costs beside its arrays
_TERM_BYTES = 150  # and a new word

Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Read:
    """One text: ``bounds`` (n_units, 2) are offsets; each pair of ``terms`` and ``units`` (n,)
    says that a unit holds a term.
    """

    bounds: Numbers
    terms: Numbers
    units: Numbers

    @property
    def size(self) -> int:
        return _TEXT_BYTES + self.bounds.nbytes + self.terms.nbytes + self.units.nbytes


@dataclass(frozen=True, slots=True)
class Units:
    """The units of some texts, numbered through: which text each is of, and its offsets there.

    ``holders`` maps each word asked for to the units that hold it, in order.
    """

    text: Sequence[int]
    bounds: Sequence[tuple[int, int]]
    holders: dict[str, list[int]]


@dataclass(slots=True)
class Shelf:
    """The texts of one conversation; safe between threads."""

    limit_bytes: int = SHELF_BYTES
    size: int = 0
    _words: Words = field(default_factory=Words)
    _numbers: dict[str, int] = field(default_factory=dict)
    _texts: dict[bytes, _Read] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def units(self, texts: Sequence[str], wanted: Iterable[str]) -> Units:
        """The units of ``texts`` and which of them hold which term of ``wanted``."""
        with self._lock:
            if self.size > self.limit_bytes:
                self._clear()
            reads = [self._read(text) for text in texts]
            asked = {term: self._numbers.get(term, -1) for term in wanted}
        if not reads:
            return Units((), (), {term: [] for term in asked})
        counts = [len(read.bounds) for read in reads]
        first = np.cumsum([0, *counts[:-1]])
        terms = np.concatenate([read.terms for read in reads])
        units = np.concatenate([read.units for read in reads])
        units = units + np.repeat(first, [len(read.units) for read in reads])
        bounds = np.concatenate([read.bounds for read in reads]).tolist()
        return Units(
            np.repeat(np.arange(len(reads)), counts).tolist(),
            [(start, end) for start, end in bounds],
            {term: units[terms == number].tolist() for term, number in asked.items()},
        )

    def _read(self, text: str) -> _Read:
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        known = self._texts.get(key)
        if known is None:
            before = len(self._numbers)
            known = self._texts[key] = self._cut(text)
            self.size += known.size + _TERM_BYTES * (len(self._numbers) - before)
        return known

    def _cut(self, text: str) -> _Read:
        bounds: list[tuple[int, int]] = []
        terms: list[int] = []
        holders: list[int] = []
        numbers, split = self._numbers, self._words.terms
        for unit in split_units(text):
            held = {
                term for word in WORD.findall(text, unit.start, unit.end) for term in split(word)
            }
            terms += [numbers.setdefault(term, len(numbers)) for term in held]
            holders += [len(bounds)] * len(held)
            bounds.append((unit.start, unit.end))
        return _Read(
            np.array(bounds, dtype=np.int32).reshape(-1, 2),
            np.array(terms, dtype=np.int32),
            np.array(holders, dtype=np.int32),
        )

    def _clear(self) -> None:
        self._texts.clear()
        self._numbers, self._words, self.size = {}, Words(), 0


class Shelves:
    """The shelves of a process, the least used given up first; safe between threads."""

    def __init__(self, total_bytes: int = TOTAL_BYTES) -> None:
        self._total_bytes = total_bytes
        self._shelves: OrderedDict[tuple[str, str], Shelf] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """About how much all shelves hold."""
        with self._lock:
            return sum(shelf.size for shelf in self._shelves.values())

    def for_team(self, team: str) -> TeamShelves:
        """The shelves of ``team``; no other team reads what lies on them."""
        return TeamShelves(self, team)

    def shelf(self, team: str, session: str) -> Shelf:
        """The shelf of a team's conversation, now the newest used."""
        key = (team, session)
        with self._lock:
            shelf = self._shelves.setdefault(key, Shelf())
            self._shelves.move_to_end(key)
            held = sum(each.size for each in self._shelves.values())
            while held > self._total_bytes and len(self._shelves) > 1:
                held -= self._shelves.popitem(last=False)[1].size
            return shelf


@dataclass(frozen=True, slots=True)
class TeamShelves:
    """One team's view."""

    shelves: Shelves
    team: str

    def shelf(self, session: str) -> Shelf:
        """The shelf of a conversation; one that nobody can name is not kept."""
        return self.shelves.shelf(self.team, session) if session else Shelf()

"""Which words and phrases tell of a form or a subject: found by the words that occur.

A cue is a word, the start of a word, or a phrase. Phrases are looked for only where their
rarest whole word occurs. The words that are known are matched once, at construction; one that is
not, such as a misspelt or a compound one, is searched when it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import ahocorasick_rs

from router.words import rarity

WHOLE_WORD_CHARS = 4  # shorter entries match whole words only, longer ones as a stem


class Phrase(NamedTuple):
    """A pattern of several words, looked for where one of them occurs."""

    number: int
    text: str


class Cues:
    """Finds patterns by number; safe between threads, nothing changes after construction.

    ``words`` tell something, alone or in a phrase. ``patterns`` are plain lower-case texts with
    a blank on either side, the last one left out where the last word may go on. ``known`` are
    words as ``router.words`` packs them.
    """

    def __init__(self, patterns: Sequence[str], known: Mapping[str, int]) -> None:
        single: list[str] = []
        numbers: list[int] = []
        phrases: dict[str, list[Phrase]] = {}
        for number, pattern in enumerate(patterns):
            words = pattern.split()
            if len(words) == 1:
                single.append(pattern)
                numbers.append(number)
                continue
            whole = words if pattern.endswith(" ") else words[:-1]
            rarest = max(whole, key=lambda word: rarity(known, word))
            phrases.setdefault(rarest, []).append(Phrase(number, pattern))
        self._automaton = ahocorasick_rs.AhoCorasick(single or [" \0 "])
        self._numbers = numbers
        self._alone = self._matched([*known, *(word for word in phrases if word not in known)])
        self._phrases = {word: tuple(found) for word, found in phrases.items()}
        self.words = frozenset([*self._alone, *self._phrases])

    def _matched(self, words: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """The patterns that each word matches, for words that match any; one search of all."""
        text = f" {' '.join(words)} "
        found: dict[str, set[int]] = {}
        for number, start, _ in self._automaton.find_matches_as_indexes(text, overlapping=True):
            word = text[start + 1 : text.index(" ", start + 1)]
            found.setdefault(word, set()).add(self._numbers[number])
        return {word: tuple(sorted(numbers)) for word, numbers in found.items()}

    def of_strange(self, words: Iterable[str]) -> list[int]:
        """Patterns of one word that ``words`` match, with repetitions."""
        text = f" {' '.join(words)} "
        found = self._automaton.find_matches_as_indexes(text, overlapping=True)
        return [self._numbers[match[0]] for match in found]

    def find(self, telling: Sequence[str], strange: Sequence[str], text: str) -> set[int]:
        """The patterns that occur in a plain ``text``.

        ``telling``: those of its words that are in ``words``; ``strange`` those not known.
        """
        found: set[int] = set()
        for word in telling:
            found.update(self._alone.get(word, ()))
            for number, phrase in self._phrases.get(word, ()):
                if phrase in text:
                    found.add(number)
        if strange:
            found.update(self.of_strange(strange))
        return found

"""What is known of each word, packed into one whole number, so that one addition counts all.

A word's number holds 16-bit fields, lowest first: 1 (it is known), small word, counting word,
opens a clause, nine letters or more, how rare (0 to 63), very rare, then one field a topic
(0 to 63, 32 is neutral); on top of all stands a mark on words that are cues (router.cues).
The sum over the words of a question has the sum of each in its field; no
field overflows up to twice ``MOST_WORDS`` words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct

import numpy as np
import numpy.typing as npt

TOPICS = 8
NEUTRAL = 32
HIGHEST = 63
MOST_WORDS = 500
VERY_RARE = 48  # of 63
LONG_CHARS = 9
FIELDS = 7 + TOPICS
CUE = 1 << (16 * FIELDS)  # a word's number is as large as this, or larger, if it is a cue
_BYTES = 2 * (FIELDS + 1)
_FIELDS = Struct(f"<{FIELDS + 1}H")

COUNTING = frozenset(
    [
        "twice", "half", "third", "quarter", "double", "triple", "dozen", "two", "three",
        "four", "five", "six", "seven", "eight", "nine", "ten", "times", "each", "every",
        "per", "percent", "more", "less", "fewer", "total", "remaining", "left", "rest",
        "altogether",
    ]
)  # fmt: skip
CLAUSES = frozenset(
    [
        "if", "when", "while", "because", "that", "which", "who", "whose", "whereas",
        "although", "unless", "until", "after", "before", "since", "so",
    ]
)  # fmt: skip
SMALL_WORDS = frozenset(
    [
        "the", "of", "a", "an", "to", "in", "is", "are", "was", "were", "and", "or",
        "for", "on", "at", "by", "with", "from", "as", "that", "this", "it", "be", "has",
        "have", "had", "not", "he", "she", "his", "her", "they", "you", "i", "your", "my",
        "we",
    ]
)  # fmt: skip


def packed(
    words: Sequence[str], rare: npt.NDArray[np.uint8], topics: npt.NDArray[np.uint8]
) -> dict[str, int]:
    """The number of each word; ``rare (n,)`` and ``topics (n, TOPICS)`` from 0 to 63."""
    fields = np.zeros((len(words), FIELDS + 1), dtype="<u2")
    fields[:, 0] = 1
    for column, kinds in ((1, SMALL_WORDS), (2, COUNTING), (3, CLAUSES)):
        fields[:, column] = [word in kinds for word in words]
    fields[:, 4] = [len(word) >= LONG_CHARS for word in words]
    fields[:, 5] = rare
    fields[:, 6] = rare >= VERY_RARE
    fields[:, 7:FIELDS] = topics
    raw = fields.tobytes()
    return {
        word: int.from_bytes(raw[number * _BYTES : (number + 1) * _BYTES], "little")
        for number, word in enumerate(words)
    }


def fields_of(total: int) -> tuple[int, ...]:
    """The fields of a sum of words' numbers."""
    found: tuple[int, ...] = _FIELDS.unpack(total.to_bytes(_BYTES, "little"))
    return found


def rarity(numbers: Mapping[str, int], word: str) -> int:
    """How rare a word is: 0 to 63 where it is known, single letters 0, others 64."""
    if word not in numbers:
        return 0 if len(word) == 1 and word.isalpha() else HIGHEST + 1
    return (numbers[word] >> (16 * 5)) & HIGHEST

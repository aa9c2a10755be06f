"""What a probe asks: a long text of our own making, facts hidden in it, a question.

Three kinds, one for each length of a card. *Literal*: the question names the fact in its own
words, and similar facts stand around it. *Semantic*: question and fact share no telling
word; who reads must know what the fact means. *Multi*: four facts of many alike must all be
found, and no other. A task is a pure function of its arguments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib import resources
from typing import Any

from compressor.tokens import TokenCounter

NEEDLES_OF_MULTI = 4
DISTRACTORS = 5
GOLDEN = 0.6180339887  # depths follow its multiples: spread evenly, however many there are
_HEAD = "Read these notes. A question about them follows.\n\n"
_TAIL = "\n\nQuestion: {question}\nAnswer from the notes alone, in a few words."
_SLOT = re.compile(r"\{(\w+)\}")
_MASK = 2**64 - 1


class Kind(StrEnum):
    """A kind of reading, as on a model's card."""

    LITERAL = "literal"
    SEMANTIC = "semantic"
    MULTI = "multi"


@dataclass(frozen=True, slots=True)
class Trial:
    """One question to be asked: prompt length in the model's tokens, and its number there."""

    kind: Kind
    tokens: int
    number: int

    @property
    def depth(self) -> float:
        """Where the (first) fact stands, 0 start to 1 end."""
        return (0.5 + self.number * GOLDEN) % 1.0


@dataclass(frozen=True, slots=True)
class Task:
    """A prompt, what a right answer names, and what it must not name."""

    prompt: str
    expected: tuple[str, ...]
    wrong: tuple[str, ...]

    def right(self, answer: str) -> bool:
        """Whether ``answer`` names all that is expected and nothing that is wrong."""
        said = answer.casefold()
        return all(_names(said, word) for word in self.expected) and not any(
            _names(said, word) for word in self.wrong
        )


def _names(said: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", said) is not None


class _Dice:
    """Numbers that look random and are the same for the same seed, on every machine."""

    def __init__(self, *seed: object) -> None:
        self._state = 0xCBF29CE484222325
        for byte in repr(seed).encode():
            self._state = ((self._state ^ byte) * 0x100000001B3) & _MASK

    def below(self, limit: int) -> int:
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & _MASK
        return (self._state >> 33) % limit

    def pick(self, items: Sequence[str]) -> str:
        return items[self.below(len(items))]

    def some(self, items: Sequence[str], count: int) -> list[str]:
        """``count`` different ones."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(min(count, len(left)))]


@lru_cache(maxsize=1)
def _texts() -> Mapping[str, Any]:
    folder = resources.files("router").joinpath("data")
    found: Mapping[str, Any] = json.loads(folder.joinpath("probe.json").read_text("utf-8"))
    return found


def semantic_pairs() -> tuple[tuple[str, str], ...]:
    """(fact with a ``{name}``, question) of every semantic task."""
    return tuple((fact, question) for fact, question in _texts()["semantic"])


def people() -> tuple[str, ...]:
    """The names that facts are told of."""
    return tuple(_texts()["people"])


def make_task(trial: Trial, seed: int, counter: TokenCounter, scale: float) -> Task:
    """The task of ``trial``, its prompt as long as it says, to within a sentence.

    Args:
        scale: the model's tokens for one of ``counter``'s, > 0.
    """
    dice = _Dice(seed, trial.kind.value, trial.tokens, trial.number)
    facts, question, expected, wrong = _MAKERS[trial.kind](dice, trial.number)
    tail = _TAIL.format(question=question)
    room = int(trial.tokens / scale) - counter.count(_HEAD + tail)
    sentences = _filler(dice, room - sum(counter.count_many(facts)) - len(facts), counter)
    depths = [trial.depth] + [dice.below(10_000) / 10_000 for _ in facts[1:]]
    if trial.kind is Kind.MULTI:  # the facts asked for stand apart, whatever the first one's depth
        depths[: len(expected)] = [
            (trial.depth + n / len(expected)) % 1.0 for n in range(len(expected))
        ]
    return Task(_HEAD + _woven(sentences, facts, depths) + tail, expected, wrong)


def _woven(sentences: Sequence[str], facts: Sequence[str], depths: Sequence[float]) -> str:
    """The filler in paragraphs, with each fact at its depth between two sentences."""
    at: dict[int, list[str]] = {}
    for fact, depth in zip(facts, depths, strict=True):
        at.setdefault(int(depth * len(sentences)), []).append(fact)
    out: list[str] = []
    for number, sentence in enumerate([*sentences, ""]):
        if number and number % 8 == 0 and out:
            out[-1] += "\n\n"
        out += [f"{fact} " for fact in at.get(number, ())]
        out.append(f"{sentence} " if sentence else "")
    return "".join(out).replace(" \n", "\n").rstrip()


def _filler(dice: _Dice, tokens: int, counter: TokenCounter) -> list[str]:
    """Sentences of about ``tokens`` tokens together, never more."""
    texts = _texts()
    sentences: list[str] = []
    left = tokens
    while left > 0:
        batch = [_filled(dice, texts) for _ in range(max(4, left // 40))]
        counts = counter.count_many([f" {sentence}" for sentence in batch])
        for sentence, count in zip(batch, counts, strict=True):
            if count > left:
                return sentences
            sentences.append(sentence)
            left -= count
    return sentences


def _filled(dice: _Dice, texts: Mapping[str, Any]) -> str:
    form = dice.pick(texts["filler"])
    return _SLOT.sub(lambda slot: dice.pick(texts[slot.group(1)]), form)


_Facts = tuple[list[str], str, tuple[str, ...], tuple[str, ...]]


def _literal(dice: _Dice, number: int) -> _Facts:
    texts = _texts()
    places = dice.some(texts["places"], DISTRACTORS + 1)
    stores = [dice.pick(texts["stores"]) for _ in places]
    codes = [str(1_000_000 + dice.below(9_000_000)) for _ in places]
    facts = [
        texts["literal"].format(store=s, place=p, code=c)
        for s, p, c in zip(stores, places, codes, strict=True)
    ]
    question = texts["literal_question"].format(store=stores[0], place=places[0])
    return facts, question, (codes[0],), tuple(codes[1:])


def _semantic(dice: _Dice, number: int) -> _Facts:
    texts = _texts()
    pairs = texts["semantic"]
    fact, question = pairs[(number + dice.below(len(pairs))) % len(pairs)]
    names = dice.some(texts["people"], DISTRACTORS + 1)
    noise = [form.format(name=n) for form, n in zip(texts["noise"], names[1:], strict=False)]
    return [fact.format(name=names[0]), *noise], question, (names[0],), tuple(names[1:])


def _multi(dice: _Dice, number: int) -> _Facts:
    texts = _texts()
    places = dice.some(texts["places"], NEEDLES_OF_MULTI + DISTRACTORS)
    goods = dice.some(texts["goods"], 1 + DISTRACTORS)
    wanted, others = places[:NEEDLES_OF_MULTI], places[NEEDLES_OF_MULTI:]
    facts = [texts["multi"].format(place=place, goods=goods[0]) for place in wanted]
    facts += [
        texts["multi"].format(place=place, goods=other)
        for place, other in zip(others, goods[1:], strict=True)
    ]
    question = texts["multi_question"].format(goods=goods[0])
    return facts, question, tuple(wanted), tuple(others)


_MAKERS = {Kind.LITERAL: _literal, Kind.SEMANTIC: _semantic, Kind.MULTI: _multi}

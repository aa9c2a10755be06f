"""How far a model reads well: which lengths to try next, and what the answers so far prove.

Lengths double from a short one until answers get worse, then the gap is halved until it is
narrow. A length *holds* when the lower bound of its accuracy (Wilson, one-sided 95 %) is at
least ``keep`` of the accuracy at the shortest length; what cannot be shown within ``most``
questions does not hold. So a card's figure errs low.

Pure: the same answers give the same questions, which is how a probe goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log, log2, sqrt

from router.probe_tasks import Kind, Trial

Z = 1.6449  # one-sided 95 %
BATCH = 8
ABLE = 0.5  # who is right less often at the shortest length cannot do the task at all
LIKELY = 16  # questions that a length takes where all answers are right


@dataclass(frozen=True, slots=True)
class Range:
    """What a probe covers: lengths in the model's tokens.

    Args:
        shortest, longest: first and last length tried.
        keep: share of the accuracy at ``shortest`` that a length must keep.
        tolerance: how far apart the last length that holds and the first that does not may lie.
        most: questions asked at one length at most.
        curve: questions asked at every doubling for the picture, also beyond what holds.
    """

    shortest: int = 1024
    longest: int = 131_072
    keep: float = 0.85
    tolerance: float = 0.08
    most: int = 64
    curve: int = 0

    def doublings(self) -> list[int]:
        """The lengths tried first, the longest always among them."""
        found = [self.shortest]
        while found[-1] < self.longest:
            found.append(min(found[-1] * 2, self.longest))
        return found


@dataclass(frozen=True, slots=True)
class Point:
    """The answers at one length: ``right`` of ``asked``; bounds by Wilson's interval."""

    tokens: int
    right: int
    asked: int

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.right / self.asked if self.asked else 0.0

    @property
    def low(self) -> float:
        """Lower bound of the accuracy."""
        return _wilson(self.right, self.asked, -1)

    @property
    def high(self) -> float:
        """Upper bound of the accuracy."""
        return _wilson(self.right, self.asked, 1)


def _wilson(right: int, asked: int, side: int) -> float:
    if not asked:
        return 0.0 if side < 0 else 1.0
    share, square = right / asked, Z * Z
    spread = sqrt(share * (1 - share) / asked + square / (4 * asked * asked))
    value = (share + square / (2 * asked) + side * Z * spread) / (1 + square / asked)
    return min(1.0, max(0.0, value))


@dataclass(frozen=True, slots=True)
class Reach:
    """What was found for one kind.

    ``tokens`` is the longest length that holds; 0 where not even the shortest does.
    ``at_least``: every length tried holds. ``depths`` is the accuracy in the first, middle
    and last third of the text, None where nothing was asked.
    """

    kind: Kind
    tokens: int
    at_least: bool
    finished: bool
    points: tuple[Point, ...]
    depths: tuple[float | None, float | None, float | None]


class Search:
    """One kind's search. Ask ``wanted``, answer with ``record``, until nothing is wanted."""

    def __init__(self, kind: Kind, over: Range) -> None:
        self.kind, self._over = kind, over
        self._right: dict[Trial, bool] = {}

    def wanted(self) -> list[Trial]:
        """The questions to be asked next, all at one length; [] when the search is over."""
        length = self._walk()[2]
        if length is None:
            return self._for_the_curve()
        asked = self.point(length).asked
        first = length == self._over.shortest
        upto = self._over.most if first else min(self._over.most, asked // BATCH * BATCH + BATCH)
        return self._missing(length, upto)

    def _for_the_curve(self) -> list[Trial]:
        """What the picture still lacks at the first doubling that lacks anything."""
        upto = min(self._over.curve, self._over.most)
        missing = (self._missing(length, upto) for length in self._over.doublings())
        return next(filter(None, missing), [])

    def _missing(self, length: int, upto: int) -> list[Trial]:
        trials = [Trial(self.kind, length, number) for number in range(upto)]
        return [trial for trial in trials if trial not in self._right]

    def record(self, trial: Trial, right: bool) -> None:
        """Note one answer."""
        self._right[trial] = right

    def point(self, length: int) -> Point:
        """The answers at ``length`` so far."""
        found = [right for trial, right in self._right.items() if trial.tokens == length]
        return Point(length, sum(found), len(found))

    def reach(self) -> Reach:
        """What the answers so far show."""
        low, high, pending = self._walk()
        lengths = sorted({trial.tokens for trial in self._right})
        return Reach(
            kind=self.kind,
            tokens=low,
            at_least=high is None and pending is None,
            finished=pending is None,
            points=tuple(self.point(length) for length in lengths),
            depths=self._depths(),
        )

    def _walk(self) -> tuple[int, int | None, int | None]:
        """(longest that holds, shortest that does not, the one to be asked about next)."""
        over = self._over
        base = self.point(over.shortest)
        if base.asked < over.most:
            return 0, None, over.shortest
        if base.accuracy < ABLE:
            return 0, over.shortest, None
        low, high = over.shortest, None
        for length in over.doublings()[1:]:
            holds = self._holds(length)
            if holds is None:
                return low, high, length
            if not holds:
                high = length
                break
            low = length
        while high is not None and high > low * (1 + over.tolerance) and high - low > 1:
            middle = round(sqrt(low * high))
            holds = self._holds(middle)
            if holds is None:
                return low, high, middle
            low, high = (middle, high) if holds else (low, middle)
        return low, high, None

    def _holds(self, length: int) -> bool | None:
        """Whether the accuracy at ``length`` is good enough; None: not known yet."""
        floor = self._over.keep * self.point(self._over.shortest).accuracy
        point = self.point(length)
        if point.low >= floor:
            return True
        if point.high < floor or point.asked >= self._over.most:
            return False
        return None

    def _depths(self) -> tuple[float | None, float | None, float | None]:
        thirds: list[list[bool]] = [[], [], []]
        for trial, right in self._right.items():
            thirds[min(2, int(trial.depth * 3))].append(right)
        first, middle, last = (sum(t) / len(t) if t else None for t in thirds)
        return first, middle, last


def planned(over: Range, kinds: Sequence[Kind]) -> Iterator[tuple[int, int, int]]:
    """(length, questions likely, questions at most) of a probe that is as dear as they come.

    Every length holds but the longest, so that the gap below it is halved until it is narrow.
    What breaks earlier costs less; at most: every length takes all questions it may.
    """
    steps = ceil(log2(log(2) / log(1 + over.tolerance)))
    for _ in kinds:
        for length in over.doublings():
            usual = min(max(LIKELY, over.curve), over.most)
            likely = over.most if length == over.shortest else usual
            yield length, likely, over.most
        yield over.longest * 3 // 4, steps * min(LIKELY + BATCH, over.most), steps * over.most

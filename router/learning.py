"""What labels teach: how well small and larger models do on each task, and when that drifts.

In production the system prompt is the task, so labels are kept for each (task, size), fading,
and shrunk to what the score says. A key counts for at most half of a task that others use,
too. A CUSUM over small models' labels raises an alarm when they do worse than was promised;
from then on what was learned is set aside for a while. Pure: instants are arguments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from billing.record import record

FADES = 0.998  # a label's weight after each further one of its task
SHRINK = 10.0  # labels that the score's own word weighs
ALONE = 20.0  # labels of one key before its share of a task is looked at
MOST_OF_TASK = 0.5
SLACK = 0.05  # of quality, below the promise, that is no drift
ALARM = 8.0  # labels' worth of quality lost beyond the slack
SET_ASIDE_MS = 24 * 3_600_000
SMALL, LARGE = "small", "large"

# What a signal weighs against a judged label, and what it says of the answer.
SIGNALS: Mapping[str, tuple[float, float]] = {
    "judged_good": (1.0, 1.0),
    "judged_bad": (0.0, 1.0),
    "accepted": (1.0, 1.0),
    "rejected": (0.0, 1.0),
    "regenerated": (0.0, 0.7),
    "asked_again": (0.0, 0.5),
    "schema_failed": (0.0, 0.8),
    "cut_short": (0.0, 0.3),
    "escalated": (0.0, 0.6),
    "went_on": (1.0, 0.1),
}


@record(frozen=True, slots=True)
class Label:
    """One word on one answer: ``signal`` of ``SIGNALS``, ``promised`` P(good) when it was sent.

    ``task`` as ``task_of`` names it, ``size`` small or large, ``key`` whose request it was.
    """

    task: str
    size: str
    signal: str
    key: str
    promised: float
    at_ms: int


@dataclass(slots=True)
class _Mean:
    count: float = 0.0
    good: float = 0.0
    by_key: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Cusum:
    """A one-sided sum of how much worse answers are than promised; ``until_ms`` of an alarm."""

    level: float = 0.0
    until_ms: int = 0

    def note(self, promised: float, good: float, weight: float, at_ms: int) -> bool:
        """A label is counted; whether the alarm goes off with it."""
        self.level = max(0.0, self.level + weight * (promised - good - SLACK))
        if self.level <= ALARM:
            return False
        self.level = 0.0
        self.until_ms = at_ms + SET_ASIDE_MS
        return True


class TaskBook:
    """Labels by task and size; the task that was quiet longest is forgotten first."""

    def __init__(self, limit: int = 8_192) -> None:
        self._limit = limit
        self._means: dict[tuple[str, str], _Mean] = {}
        self.drift = Cusum()

    def note(self, label: Label) -> bool:
        """A label is counted, as far as its key may; whether it raises the drift alarm."""
        good, weight = SIGNALS[label.signal]
        mean = self._means.pop((label.task, label.size), None) or _Mean()
        self._means[label.task, label.size] = mean
        while len(self._means) > self._limit:
            del self._means[next(iter(self._means))]
        own = mean.by_key.get(label.key, 0.0)
        alone = len(mean.by_key) <= (1 if own else 0)
        if own >= ALONE and not alone and own + weight > MOST_OF_TASK * (mean.count + weight):
            return False
        mean.count = mean.count * FADES + weight
        mean.good = mean.good * FADES + weight * good
        for key in mean.by_key:
            mean.by_key[key] *= FADES
        mean.by_key[label.key] = own * FADES + weight
        if label.size != SMALL:
            return False
        if not self.drift.note(label.promised, good, weight, label.at_ms):
            return False
        for one in [name for name in self._means if name[1] == SMALL]:
            del self._means[one]  # rolled back to the score
        return True

    def share(self, task: str, size: str, prior: float) -> tuple[float, float]:
        """(labels, share of good ones shrunk to ``prior``) of a task."""
        mean = self._means.get((task, size))
        if mean is None:
            return 0.0, 0.0
        return mean.count, (mean.good + SHRINK * prior) / (mean.count + SHRINK)

    def drifting(self, at_ms: int) -> bool:
        """Whether an alarm is in force."""
        return at_ms < self.drift.until_ms


def task_of(team: str, system: str, need: str) -> str:
    """A task's name: whose it is, its system prompt's hash and the kind of reading."""
    digest = hashlib.blake2b(system.encode("utf-8", "surrogatepass"), digest_size=6)
    return f"{team}/{digest.hexdigest()}/{need}"


def alike(first: str, second: str) -> float:
    """How much two questions share of their words, 0 to 1 (Jaccard)."""
    one, two = set(first.lower().split()), set(second.lower().split())
    return len(one & two) / len(one | two) if one and two else 0.0


@dataclass(slots=True)
class _Spent:
    day: int = -1
    nano: int = 0


class Escalations:
    """What each key has spent on going up under ``auto`` on one UTC day, nano-USD."""

    def __init__(self, limit: int = 4_096) -> None:
        self._limit = limit
        self._keys: dict[str, _Spent] = {}

    def note(self, key: str, nano: int, at_ms: int) -> None:
        """A key went up and it cost so much more than the cheapest model that would do."""
        day = at_ms // 86_400_000
        known = self._keys.pop(key, None)
        if known is None or known.day != day:
            known = _Spent(day)
        known.nano += max(0, nano)
        self._keys[key] = known
        while len(self._keys) > self._limit:
            del self._keys[next(iter(self._keys))]

    def spent_nano(self, key: str, at_ms: int) -> int:
        """What a key has spent today."""
        known = self._keys.get(key)
        return known.nano if known is not None and known.day == at_ms // 86_400_000 else 0

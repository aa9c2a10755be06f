"""How long conversations go on, and how quickly: what a later turn is worth today.

Learned for each key from the requests of its conversations, beginning with a prior under
which a conversation that has lasted will last: of those that reached request ``t``, the
share ``(t / k)^2`` reaches request ``k``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

LONGEST = 64
PRIOR = 8.0  # conversations that the prior weighs
FADES = 0.999
QUICK_PRIOR, QUICK_TRIALS = 0.7, 6.0
UP_PRIOR, UP_TRIALS = 0.25, 10.0  # of turns after one of a small model, those that need more
QUICK_MS = 300_000  # a next request within it finds most caches alive


@dataclass(slots=True)
class _Key:
    """Requests seen by their number in a conversation, and how many came quickly.

    ``furthest`` is the highest number seen: beyond it nothing is to be summed.
    """

    reached: list[float] = field(default_factory=lambda: [0.0] * (LONGEST + 1))
    furthest: int = 0
    quick: float = 0.0
    gaps: float = 0.0
    ups: float = 0.0
    afters: float = 0.0


class Pace:
    """The pace of each key's conversations; the key that was quiet longest is forgotten."""

    def __init__(self, limit: int = 4_096) -> None:
        self._limit = limit
        self._keys: dict[str, _Key] = {}

    def note(
        self, key: str, number: int, gap_ms: int | None, *, went_up: bool | None = None
    ) -> None:
        """A conversation of ``key`` has reached request ``number`` (from 1).

        ``went_up``: whether it left the small model that answered before; None: none did.
        """
        known = self._keys.pop(key, None) or _Key()
        self._keys[key] = known
        while len(self._keys) > self._limit:
            del self._keys[next(iter(self._keys))]
        at = min(max(1, number), LONGEST)
        known.reached[at] = known.reached[at] * FADES + 1
        known.furthest = max(known.furthest, at)
        if gap_ms is not None:
            known.gaps = known.gaps * FADES + 1
            known.quick = known.quick * FADES + (gap_ms < QUICK_MS)
        if went_up is not None:
            known.afters = known.afters * FADES + 1
            known.ups = known.ups * FADES + went_up

    def turns_left(self, key: str, number: int) -> float:
        """Requests that a conversation at ``number`` is expected to have yet, this one included."""
        at = min(max(1, number), LONGEST)
        known = self._keys.get(key)
        if known is None:
            return 1 + _prior_left(at)
        base = known.reached[at]
        later = sum(min(count, base) for count in known.reached[at + 1 : known.furthest + 1])
        return 1 + (later + PRIOR * _prior_left(at)) / (base + PRIOR)

    def ups(self, key: str) -> float:
        """The share of requests after a small model's answer that need a larger one."""
        known = self._keys.get(key)
        if known is None:
            return UP_PRIOR
        return (known.ups + UP_TRIALS * UP_PRIOR) / (known.afters + UP_TRIALS)

    def quick(self, key: str) -> float:
        """The share of next requests that come while most caches live."""
        known = self._keys.get(key)
        if known is None:
            return QUICK_PRIOR
        return (known.quick + QUICK_TRIALS * QUICK_PRIOR) / (known.gaps + QUICK_TRIALS)


@lru_cache(maxsize=LONGEST + 1)
def _prior_left(at: int) -> float:
    return sum((at / later) ** 2 for later in range(at + 1, LONGEST + 1))

"""Which prefix is warm where, and how far a provider keeps its word about it.

A provider's cache belongs to an account (an upstream) and a model. What was sent there is
remembered by the hashes of its prefixes; whether it is still there is learned from the
``cached_tokens`` that the provider reports, by age, beginning with what its model card says.
Bounded; no clock: the instant is an argument. Reads may come from any thread, writes from
one at a time.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from billing.record import record
from billing.shadow_cache import Prefix
from router.catalog import ModelCard

DAY_MS = 86_400_000
AGES_MS = (60_000, 300_000, 600_000, 1_800_000, 3_600_000, 14_400_000, DAY_MS)
ALIVE = 0.9  # of a warm prefix that a provider finds within its own promise
PRIOR_TRIALS = 4.0  # a card weighs as much as so many reports
FADES = 0.98  # a report's weight after each further one: providers change
LEAST_TOKENS = 1_024  # cached where nobody says otherwise
EXPLICIT = "anthropic"  # caches what the client marks, nothing else
WRITE = "cache_write_5m"

Owner = tuple[str, str]
"""Account (upstream) and model, as a provider keeps caches apart."""


@record(frozen=True, slots=True)
class CacheTerms:
    """What a model card says of a provider's cache; ``ttl_ms`` 0: nothing is known of one.

    ``explicit``: only what the client marks is cached; ``marked`` whether it marks anything.
    """

    ttl_ms: int
    minimum_tokens: int = LEAST_TOKENS
    explicit: bool = False
    marked: bool = False


def cache_terms(card: ModelCard, provider: str, *, marked: bool) -> CacheTerms:
    """The terms of a model: its card, and whether its provider waits for marks."""
    known = card.cache_ttl_s is not None and card.cache_min_tokens is not None
    ttl = (card.cache_ttl_s or 0) * 1_000 if known else 0
    return CacheTerms(ttl, card.cache_min_tokens or LEAST_TOKENS, provider == EXPLICIT, marked)


@record(frozen=True, slots=True)
class Found:
    """The longest prefix of a prompt that was sent before: its tokens, and how long ago."""

    tokens: int = 0
    age_ms: int = 0


NOTHING = Found()


@dataclass(slots=True)
class Habit:
    """What one provider's cache has done, by age of the prefix; all figures fade.

    ``least`` is the shortest prefix with a reported hit, 0 for none. ``written`` of
    ``fresh`` new tokens were billed as a cache write.
    """

    trials: list[float] = field(default_factory=lambda: [0.0] * len(AGES_MS))
    hits: list[float] = field(default_factory=lambda: [0.0] * len(AGES_MS))
    least: int = 0
    fresh: float = 0.0
    written: float = 0.0


@record(frozen=True, slots=True)
class CacheReport:
    """What one answered request says of its provider's cache, in the provider's tokens.

    ``found`` is what was thought to be warm, in counted tokens of a prompt of
    ``counted_tokens``; the rest is as metered.
    """

    found: Found
    counted_tokens: int
    prompt_tokens: int
    cached_tokens: int
    written_tokens: int


class WarmBook:
    """Prefixes by account and model with their last use, and each cache's habits."""

    def __init__(self, limit: int = 100_000, owners: int = 4_096) -> None:
        self._limit, self._owners = limit, owners
        self._used: OrderedDict[int, int] = OrderedDict()
        self._habits: dict[Owner, Habit] = {}

    def __len__(self) -> int:
        return len(self._used)

    def find(self, owner: Owner, prompt: Sequence[Prefix], at_ms: int) -> Found:
        """The longest prefix of ``prompt`` (shortest first) that ``owner`` got within a day."""
        seed, used = _seed(owner), self._used
        if not used:
            return NOTHING
        for prefix in reversed(prompt):
            last = used.get(_name(seed, prefix.digest))
            if last is not None and at_ms - last < DAY_MS:
                return Found(prefix.tokens, max(0, at_ms - last))
        return NOTHING

    def expected(self, owner: Owner, found: Found, terms: CacheTerms) -> int:
        """How many tokens of a prefix are to be expected in the cache: length times chance."""
        habit = self._habits.get(owner)
        least = terms.minimum_tokens
        if habit is not None and habit.least:
            least = min(least, habit.least)
        if found.tokens < least:
            return 0
        return int(found.tokens * self.chance(owner, found.age_ms, terms))

    def chance(self, owner: Owner, age_ms: int, terms: CacheTerms) -> float:
        """How likely a prefix of this age is still there, from the card and the reports."""
        bucket = bisect_left(AGES_MS, age_ms)
        if bucket == len(AGES_MS):
            return 0.0
        promised = age_ms < terms.ttl_ms and (terms.marked or not terms.explicit)
        prior = ALIVE if promised else 0.0
        habit = self._habits.get(owner)
        if habit is None:
            return prior
        seen = habit.trials[bucket] + PRIOR_TRIALS
        return (habit.hits[bucket] + PRIOR_TRIALS * prior) / seen

    def writes(self, owner: Owner, terms: CacheTerms) -> str | None:
        """The component that new tokens are billed as where the provider charges for writing."""
        if terms.explicit:
            return WRITE if terms.marked else None
        habit = self._habits.get(owner)
        if habit is None or habit.fresh <= 0:
            return None
        return WRITE if habit.written > habit.fresh / 2 else None

    def note(self, owner: Owner, prompt: Iterable[Prefix], at_ms: int) -> tuple[int, ...]:
        """These prefixes were sent; the names under which they are known."""
        names = names_of(owner, prompt)
        self.note_names(names, at_ms)
        return names

    def note_names(self, names: Iterable[int], at_ms: int) -> None:
        """The same for prefixes that are known by name; the longest unused go first."""
        used = self._used
        for name in names:
            if used.get(name, -1) < at_ms:
                used[name] = at_ms
                used.move_to_end(name)
        while len(used) > self._limit:
            used.popitem(last=False)  # a plain dict would search past what it lost

    def learn(self, owner: Owner, report: CacheReport, at_least: int = LEAST_TOKENS) -> None:
        """A report moves what is expected of this cache; one without a prompt does not."""
        if report.prompt_tokens <= 0:
            return
        habit = self._habits.get(owner)
        if habit is None:
            while len(self._habits) >= self._owners:
                del self._habits[next(iter(self._habits))]
            habit = self._habits[owner] = Habit()
        if report.cached_tokens > 0:
            size = report.cached_tokens
            habit.least = min(habit.least, size) if habit.least else size
        new = report.prompt_tokens - report.cached_tokens
        if new >= at_least:
            habit.fresh = habit.fresh * FADES + new
            habit.written = habit.written * FADES + min(new, report.written_tokens)
        found = report.found
        if found.tokens < min(at_least, habit.least or at_least):
            return
        bucket = bisect_left(AGES_MS, found.age_ms)
        if bucket == len(AGES_MS):
            return
        thought = found.tokens / max(found.tokens, report.counted_tokens)
        seen = report.cached_tokens / report.prompt_tokens
        habit.trials[bucket] = habit.trials[bucket] * FADES + 1
        habit.hits[bucket] = habit.hits[bucket] * FADES + min(1.0, seen / thought)

    def habit(self, owner: Owner) -> Habit | None:
        """What was learned of one cache, or None."""
        return self._habits.get(owner)


def names_of(owner: Owner, prompt: Iterable[Prefix]) -> tuple[int, ...]:
    """The names of an owner's prefixes, in their order."""
    seed = _seed(owner)
    return tuple(_name(seed, prefix.digest) for prefix in prompt if prefix.digest)


@lru_cache(maxsize=4_096)
def _seed(owner: Owner) -> int:
    text = "\x00".join(owner).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def _name(seed: int, digest: bytes) -> int:
    """A prefix of one owner in 63 bits, as shared stores take integers."""
    return (int.from_bytes(digest[:8], "big") ^ seed) >> 1

"""This process's slices of shared budgets: claimed when short, given back when idle.

Two locks, always in this order: ``io`` around a conversation with the store, then the
ledger's own around its counters. A counter's ceiling is lowered before the store hears of
it and raised after, so the store's claim is never below what may be held here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from billing.budget import WindowFigures
from billing.counters import Counter, Counters, exhausted
from billing.errors import BudgetExhausted, LedgerUnavailable, Throttled
from billing.shared import Answer, Ask, Others, Shares, Slot, ask_for, slot_of, use

_LOG = logging.getLogger(__name__)
_BREATHER_S = 0.5
"""How long a store that failed is left alone."""
_GATHER_S = 0.2
_HEARD_S = 0.25
"""By then the others have heard that a window is wanted, and said what they use of it."""
_STREAK_S = 2.0
_IDLE_TICKS = 10
_HEARTBEAT_TICKS = 10
_AT_ONCE = 500
_MANY = 10_000


@dataclass(slots=True)
class _Slice:
    """What the store has been told of one window."""

    counter: Counter
    slot: Slot
    told: tuple[int, int, int] | None = None
    idle: int = 0
    wanted: bool = False
    before_nano: int = 0


class Slices:
    """Claims of one process.

    Args:
        rejoin: makes the store know this process again; it calls what it is given once the
            process is known and before base is derived.
        open_s: how long to go on where the store is gone.
    """

    def __init__(
        self,
        shares: Shares,
        member: str,
        lock: threading.Lock,
        rejoin: Callable[[Callable[[], None]], None],
        open_s: float,
    ) -> None:
        self.io = threading.Lock()
        self._shares, self._member = shares, member
        self._rejoin_as = rejoin
        self._lock = lock
        self._open_s = open_s
        self._mine: dict[tuple[str, int], _Slice] = {}
        self._refused: dict[tuple[str, int], tuple[float, float]] = {}
        self._failing_since: float | None = None
        self._not_before = 0.0
        self._ticks = 0

    def widen(self, of: Callable[[], Iterable[Counter]], amount: int, at_ms: int) -> bool:
        """There is room for an amount in every window; False where none was lacking.

        Raises:
            BudgetExhausted: it does not fit, whoever has what.
            Throttled: it would fit if others gave back what they do not use; they will.
            LedgerUnavailable: the store does not answer and the policy is closed.
        """
        with self.io:
            with self._lock:
                short = [c for c in of() if use(c) + amount > c.ceiling_nano]
                asks = [ask_for(c, use(c) + amount, amount) for c in short]
            if not asks:
                return False
            try:
                answer = self._told(lambda: self._shares.claim(self._member, asks, at_ms), at_ms)
            except LedgerUnavailable:
                self._go_on(short, amount, at_ms)
                return True
            with self._lock:
                self._apply(short, asks, answer, at_ms)
                if answer.claims is None:
                    raise self._refusal(short, asks, answer.others, amount, at_ms)
            return True

    def look(self, of: Callable[[], Iterable[Counter]], at_ms: int) -> None:
        """Windows show what others have just now. Raises LedgerUnavailable."""
        with self.io:
            with self._lock:
                counters = list(of())
                asks = [ask_for(c, max(c.ceiling_nano, use(c))) for c in counters]
            if asks:
                self._report(counters, asks, at_ms)

    def tick(self, counters: Counters, at_ms: int) -> None:
        """Others hear of what changed; idle slices are given back, busy ones widened.

        Raises:
            LedgerUnavailable: the store does not answer; nothing is lost.
        """
        self._ticks += 1
        beat = self._ticks % _HEARTBEAT_TICKS == 0
        with self.io:
            with self._lock:
                now = counters.now(at_ms)
                changed = [part for part in self._mine.values() if self._turn(part, now) or beat]
                busy = [part for part in changed if _running_out(part)]
                pairs = [(part.counter, _ask_of(part)) for part in changed]
                pairs += self._listening(counters) if beat else []
                for part in changed:
                    part.before_nano = use(part.counter)
            if not pairs and beat:
                self._told(lambda: self._shares.report(self._member, [], at_ms), at_ms)
            for begin in range(0, len(pairs), _AT_ONCE):
                some = pairs[begin : begin + _AT_ONCE]
                self._report([c for c, _ in some], [ask for _, ask in some], at_ms)
            for part in busy:
                self._refill(part, at_ms)

    def listen(self, counters: Counters, at_ms: int) -> None:
        """Windows that a burn rung looks at have heard of the others. Raises LedgerUnavailable."""
        with self.io:
            with self._lock:
                pairs = self._listening(counters)
            for begin in range(0, len(pairs), _AT_ONCE):
                some = pairs[begin : begin + _AT_ONCE]
                self._report([c for c, _ in some], [ask for _, ask in some], at_ms)

    def rebase(self, counters: Counters, at_ms: int) -> None:
        """New counters are claimed for as far as they are used; the caller has ``io``."""
        with self._lock:
            gone = {key: part.slot for key, part in self._mine.items()}
            self._mine = {}
            kept = []
            for counter in counters.all():
                if use(counter) > 0:
                    counter.ceiling_nano = use(counter)
                    part = self._part(counter)
                    kept.append((counter, _ask_of(part)))
                    gone.pop((part.slot.budget, part.slot.start_ms), None)
        asks = [ask for _, ask in kept] + [Ask(slot, 0, 0, 0, 0) for slot in gone.values()]
        if asks:
            self._told(lambda: self._shares.report(self._member, asks, at_ms), at_ms)

    def _listening(self, counters: Counters) -> list[tuple[Counter, Ask]]:
        """Windows that only others spend from just now, and that a burn rung looks at."""
        found = []
        for counter in counters.all():
            slot = slot_of(counter)
            known = (slot.budget, slot.start_ms) in self._mine
            if counter.burn_ms and counter.user is None and counter.window.end_ms and not known:
                found.append((counter, ask_for(counter, max(counter.ceiling_nano, use(counter)))))
        return found

    def _turn(self, part: _Slice, now: int) -> bool:
        """A slice is what it should be now; whether the store has to hear of it."""
        counter = part.counter
        counter.roll(now)
        if slot_of(counter).start_ms != part.slot.start_ms:
            return True
        part.idle = 0 if counter.touched else part.idle + 1
        counter.touched = False
        used = use(counter)
        if part.wanted or part.idle >= _IDLE_TICKS:
            counter.ceiling_nano = used
        counter.ceiling_nano = max(counter.ceiling_nano, used)
        if counter.ceiling_nano > used:  # others may want what is spare
            return True
        return part.told != (counter.ceiling_nano, counter.spent_nano, counter.held_nano)

    def _refill(self, part: _Slice, at_ms: int) -> None:
        """A busy window has more room before a request has to ask for it."""
        with self._lock:
            ask = ask_for(part.counter, max(part.counter.ceiling_nano, use(part.counter)))
            ended = ask.slot.start_ms != part.slot.start_ms
        if not ended:
            answer = self._told(lambda: self._shares.claim(self._member, [ask], at_ms), at_ms)
            with self._lock:
                self._apply([part.counter], [ask], answer, at_ms)

    def _report(self, counters: list[Counter], asks: list[Ask], at_ms: int) -> None:
        answer = self._told(lambda: self._shares.report(self._member, asks, at_ms), at_ms)
        with self._lock:
            self._apply(counters, asks, answer, at_ms)

    def _apply(self, counters: list[Counter], asks: list[Ask], answer: Answer, at_ms: int) -> None:
        """Counters are what the store said, as far as their windows are still open."""
        claims = answer.claims or (None,) * len(asks)
        for counter, ask, claim, others in zip(counters, asks, claims, answer.others, strict=True):
            slot = ask.slot
            if slot_of(counter).start_ms != slot.start_ms:
                self._mine.pop((slot.budget, slot.start_ms), None)
                continue
            counter.hear(others.spent_nano, others.held_nano, at_ms)
            part = self._part(counter)
            part.wanted = others.wanted
            if claim is None:
                continue
            counter.ceiling_nano = claim
            part.told = (claim, ask.spent_nano, ask.held_nano)
            if part.told == (0, 0, 0):
                del self._mine[slot.budget, slot.start_ms]

    def _part(self, counter: Counter) -> _Slice:
        slot = slot_of(counter)
        key = (slot.budget, slot.start_ms)
        if key not in self._mine:
            self._mine[key] = _Slice(counter, slot)
        return self._mine[key]

    def _told(self, talk: Callable[[], Answer], at_ms: int) -> Answer:
        """The store's answer; a store that has forgotten this process is told all again.

        Raises:
            LedgerUnavailable: it does not answer, or did not a moment ago.
        """
        if time.monotonic() < self._not_before:
            raise LedgerUnavailable("the shared budgets cannot be reached")
        try:
            answer = talk()
            if not answer.known:
                self._rejoin(at_ms)
                answer = talk()
        except LedgerUnavailable as error:
            self._not_before = time.monotonic() + _BREATHER_S
            if self._failing_since is None:
                self._failing_since = time.monotonic()
                _LOG.error("%s", error)
            raise
        if self._failing_since is not None:
            self._failing_since = None
            _LOG.warning("budgets are shared again")
        if not answer.known:
            raise LedgerUnavailable("the shared budgets do not know this process")
        return answer

    def _refusal(
        self,
        short: list[Counter],
        asks: list[Ask],
        others: tuple[Others, ...],
        amount: int,
        at: int,
    ) -> BudgetExhausted | Throttled:
        """Why a claim failed: the money is gone, or others hold what they may give back."""
        gone = []
        for counter, ask, other in zip(short, asks, others, strict=True):
            left = ask.limit_nano - ask.need_nano - other.spent_nano
            if left < 0 or (left < other.held_nano and self._refused_long(ask.slot)):
                gone.append(counter.figures(at))
        if gone:
            return exhausted(min(gone, key=WindowFigures.tightness), amount)
        return Throttled("the rest of this budget is being gathered; try again", _GATHER_S)

    def _refused_long(self, slot: Slot) -> bool:
        """Whether claims were refused for so long that what others hold is in use."""
        now, key = time.monotonic(), (slot.budget, slot.start_ms)
        begun, last = self._refused.get(key, (now, now))
        if now - last > _STREAK_S:
            begun = now
        if len(self._refused) > _MANY:
            self._refused.clear()
        self._refused[key] = (begun, now)
        return now - begun >= _HEARD_S

    def _rejoin(self, at_ms: int) -> None:
        with self._lock:
            asks = [_ask_of(part) for part in self._mine.values()]
        _LOG.warning("the shared budgets had forgotten this process; it says its claims again")

        def say_claims() -> None:
            self._shares.report(self._member, asks, at_ms, joining=True)

        self._rejoin_as(say_claims)

    def _go_on(self, short: list[Counter], amount: int, at_ms: int) -> None:
        """Room by the figures last heard, for as long as the policy is open.

        Raises:
            LedgerUnavailable: it is closed, or has been open for long enough.
            BudgetExhausted: it does not fit by those figures either.
        """
        since = self._failing_since
        if since is None or time.monotonic() - since >= self._open_s:
            raise LedgerUnavailable(
                "the shared budgets cannot be reached, and this request does not fit in what "
                "this process has claimed of them; try again"
            )
        with self._lock:
            for counter in short:
                others = counter.others_spent_nano + counter.others_held_nano
                need = use(counter) + amount
                if need + others > counter.budget.limit_nano:
                    raise exhausted(counter.figures(at_ms), amount)
                counter.ceiling_nano = max(counter.ceiling_nano, need)
                self._part(counter)


def _running_out(part: _Slice) -> bool:
    """Whether a window at its present rate needs a wider slice before the next ticks."""
    counter = part.counter
    grown = use(counter) - part.before_nano
    return grown > 0 and not part.wanted and counter.ceiling_nano - use(counter) < 3 * grown


def _ask_of(part: _Slice) -> Ask:
    """What the store is told of a slice; nothing is left of one whose window has ended."""
    counter = part.counter
    if slot_of(counter).start_ms != part.slot.start_ms:
        return Ask(part.slot, 0, 0, 0, 0)
    return ask_for(counter, max(counter.ceiling_nano, use(counter)))

"""Spend and holds of every open budget window, in memory.

A counter is only a cache of ledger rows: it is derived from them on start and thrown away
when its window ends. The clock of a counter never runs backwards, so a closed window is not
opened again. Callers hold one lock around every call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from billing.accounts import ORGANISATION, Accounts, Node
from billing.budget import Budget, Span, Window, WindowFigures, local_minute, window_at
from billing.errors import BudgetExhausted
from billing.ladder import Burn, Reading
from billing.money import nano, usd
from billing.record import record

_MINUTE_MS = 60_000
_MANY_USERS = 100_000


@record(frozen=True, slots=True)
class Spend:
    """A sum of ledger rows: who, when (start of a bucket), nano-USD."""

    path: tuple[str, ...]
    user: str | None
    at_ms: int
    amount_nano: int


@dataclass(slots=True)
class Counter:
    """One budget of one node (and user), in its current window.

    ``ceiling_nano`` is what this process may spend and hold: the limit, or what it has
    claimed of it where processes share budgets (then 0 in a new window). ``others_...`` is
    what the others have, as last heard.
    """

    node: Node
    budget: Budget
    user: str | None
    burn_ms: int
    shared: bool = False
    ceiling_nano: int = 0
    others_spent_nano: int = 0
    others_held_nano: int = 0
    touched: bool = False
    window: Window = field(default_factory=lambda: Window(0, 0))
    spent_nano: int = 0
    held_nano: int = 0
    buckets: deque[list[int]] = field(default_factory=deque)
    """[start_ms, nano], oldest first: what a rolling window or a burn rung looks back on."""
    others_buckets: deque[list[int]] = field(default_factory=deque)
    """The same of what the others spent, as far as a burn rung looks back."""
    heard_ms: int = 0
    """When the others were last heard of in this window, 0 for not yet."""
    seeded: bool = False
    """Whether what the others spent before is in ``others_buckets`` already."""
    resets: tuple[int, str] = (-1, "")
    """The instant last asked for as local text, and that text."""
    label: str = ""
    """The budget's name with its node's, as figures and errors show it."""

    def __post_init__(self) -> None:
        self.label = f"{self.node.id}/{self.budget.label}"
        self.ceiling_nano = 0 if self.shared else self.budget.limit_nano

    def roll(self, at_ms: int) -> None:
        """The window is the one of this instant; what has left it is forgotten."""
        if self.budget.span is Span.ROLLING:
            self.window = window_at(self.budget, at_ms, self.node.zone)
            while self.buckets and self.buckets[0][0] < self.window.start_ms:
                self.spent_nano -= self.buckets.popleft()[1]
        elif at_ms >= self.window.end_ms:
            self.window = window_at(self.budget, at_ms, self.node.zone)
            self.spent_nano = self.held_nano = 0
            if self.shared:
                self.ceiling_nano = self.others_spent_nano = self.others_held_nano = 0
                self.heard_ms, self.seeded = self.window.start_ms if self.heard_ms else 0, False
        if self.burn_ms:
            if self.budget.span is not Span.ROLLING:
                _drop(self.buckets, at_ms - self.burn_ms - _MINUTE_MS)
            _drop(self.others_buckets, at_ms - self.burn_ms - _MINUTE_MS)

    def add(self, at_ms: int, amount: int) -> None:
        """Spend of an instant inside the window."""
        if self.budget.span is not Span.ROLLING:
            self.spent_nano += amount
            size = _MINUTE_MS if self.burn_ms else 0
        else:
            if at_ms < self.window.start_ms:
                return
            self.spent_nano += amount
            size = self.budget.bucket_ms
        if size:
            start = at_ms // size * size
            if self.buckets and self.buckets[-1][0] >= start:
                self.buckets[-1][1] += amount
            else:
                self.buckets.append([start, amount])

    def recent(self, at_ms: int, span_ms: int) -> int:
        """Spend of the last ``span_ms``, nano-USD, to the bucket."""
        return sum(
            amount
            for buckets in (self.buckets, self.others_buckets)
            for start, amount in buckets
            if start > at_ms - span_ms
        )

    def hear(self, spent_nano: int, held_nano: int, at_ms: int) -> None:
        """What the others have; what it grew by is spread over the time since last heard."""
        grown = spent_nano - self.others_spent_nano
        if self.burn_ms and grown > 0 and not self.seeded:
            begun = self.heard_ms or self.window.start_ms
            since = max(begun, at_ms - self.burn_ms)
            if at_ms > begun:  # only what falls into the look back
                grown = grown * (at_ms - since) // (at_ms - begun)
            self._others(range(since // _MINUTE_MS, at_ms // _MINUTE_MS + 1), grown)
        self.seeded = False
        self.others_spent_nano, self.others_held_nano = spent_nano, held_nano
        self.heard_ms = at_ms

    def seed(self, at_ms: int, amount: int) -> None:
        """What others spent at an instant before this process began to listen."""
        if self.burn_ms:
            self._others(range(at_ms // _MINUTE_MS, at_ms // _MINUTE_MS + 1), amount)
            self.seeded = True

    def _others(self, minutes: range, amount: int) -> None:
        """An amount in equal parts over minutes, the rest in the last one."""
        part = amount // len(minutes)
        for minute in minutes:
            share = amount - part * (len(minutes) - 1) if minute == minutes[-1] else part
            if self.others_buckets and self.others_buckets[-1][0] >= minute * _MINUTE_MS:
                self.others_buckets[-1][1] += share
            else:
                self.others_buckets.append([minute * _MINUTE_MS, share])

    def figures(self, at_ms: int) -> WindowFigures:
        """The window as it stands."""
        return WindowFigures(
            self.node.id,
            self.label,
            self.window,
            self.spent_nano + self.others_spent_nano,
            self.held_nano + self.others_held_nano,
            self.budget.limit_nano,
            self._resets_at(at_ms),
            self.user,
        )

    def _resets_at(self, at_ms: int) -> str:
        """When the window ends, as local text; the calendar is asked once a window."""
        resets_ms = self._resets_ms(at_ms)
        if resets_ms != self.resets[0]:
            self.resets = (resets_ms, local_minute(resets_ms, self.node.zone))
        return self.resets[1]

    def _resets_ms(self, at_ms: int) -> int:
        if self.budget.span is not Span.ROLLING:
            return self.window.end_ms
        oldest = self.buckets[0][0] if self.buckets else at_ms
        return oldest + self.budget.rolling_ms + self.budget.bucket_ms


@record(frozen=True, slots=True)
class Share:
    """A hold in one counter; ``start_ms`` of the window it was made in, None for rolling."""

    counter: Counter
    start_ms: int | None

    @property
    def open(self) -> bool:
        """Whether the window it was made in is still the counter's own."""
        return self.start_ms is None or self.counter.window.start_ms == self.start_ms


class Counters:
    """All open windows of a tree of accounts; ``shared`` with other processes or not."""

    def __init__(self, accounts: Accounts, *, shared: bool = False) -> None:
        self._accounts = accounts
        self._shared = shared
        self._counters: dict[tuple[str, str, str | None], Counter] = {}
        self._paths: dict[tuple[tuple[str, ...], str | None], tuple[Counter, ...]] = {}
        self._ceilings: dict[tuple[str, ...], tuple[str, int, str] | None] = {}
        self._now_ms = 0

    def now(self, at_ms: int) -> int:
        """An instant that never runs backwards."""
        self._now_ms = max(self._now_ms, at_ms)
        return self._now_ms

    def along(self, path: tuple[str, ...], user: str | None, at_ms: int) -> tuple[Counter, ...]:
        """Every counter of a path, rolled to an instant."""
        known = self._paths.get((path, user))
        if known is None:
            self._forget_users(at_ms)
            known = tuple(self._make(path, user))
            self._paths[path, user] = known
        for counter in known:
            counter.roll(at_ms)
        return known

    def check(self, counters: Iterable[Counter], amount: int, at_ms: int) -> None:
        """An amount fits in every window; nothing is changed.

        Raises:
            BudgetExhausted: for the tightest window it does not fit in.
        """
        full = [
            counter
            for counter in counters
            if counter.spent_nano + counter.held_nano + amount > counter.ceiling_nano
        ]
        if full:
            tightest = min((c.figures(at_ms) for c in full), key=WindowFigures.tightness)
            raise exhausted(tightest, amount)

    def check_request(self, path: tuple[str, ...], amount: int, zone: ZoneInfo, at_ms: int) -> None:
        """An amount is within every per-request ceiling of a path. Raises BudgetExhausted."""
        if path in self._ceilings:
            lowest = self._ceilings[path]
        else:
            lowest = self._ceilings[path] = self._lowest_ceiling(path)
        if lowest is None:
            return
        label, limit, node_id = lowest
        if amount > limit:
            window = Window(at_ms, at_ms + 1)
            resets = local_minute(at_ms, zone)
            figures = WindowFigures(node_id, label, window, 0, 0, limit, resets)
            raise exhausted(figures, amount)

    def _lowest_ceiling(self, path: tuple[str, ...]) -> tuple[str, int, str] | None:
        """The lowest per-request ceiling of a path: its label, nano-USD, its node."""
        ceilings = [
            (f"{node.id}/{name}", limit, node.id)
            for node in self._accounts.along(path)
            for name, limit in _request_ceilings(node)
        ]
        return min(ceilings, key=lambda ceiling: ceiling[1], default=None)

    def load(self, spends: Iterable[Spend], at_ms: int) -> None:
        """Past spend is counted in the windows it falls in."""
        for spend in sorted(spends, key=lambda item: item.at_ms):
            for counter in self.along(spend.path, spend.user, at_ms):
                if counter.budget.span is Span.ROLLING or counter.window.holds(spend.at_ms):
                    counter.add(spend.at_ms, spend.amount_nano)

    def seed(self, spends: Iterable[Spend], at_ms: int) -> None:
        """Past spend of other processes is what burn rungs look back on; all of it is known."""
        for key in self._accounts.keys.values():
            for counter in self.along(key.path, None, at_ms):
                counter.seeded = True
        for spend in sorted(spends, key=lambda item: item.at_ms):
            for counter in self.along(spend.path, spend.user, at_ms):
                counter.seed(spend.at_ms, spend.amount_nano)

    @property
    def burn_ms(self) -> int:
        """The longest look back of any burn rung; 0 for none."""
        ladders = (node.ladder for node in self._accounts.nodes.values())
        return max((ladder.burn_span_ms for ladder in ladders if ladder), default=0)

    def all(self) -> list[Counter]:
        """Every counter there is."""
        return list(self._counters.values())

    def earliest(self, at_ms: int) -> int:
        """The start of the longest open window: how far back ``load`` has to look."""
        starts = [at_ms]
        for node in self._accounts.nodes.values():
            burn = node.ladder.burn_span_ms if node.ladder else 0
            starts.append(at_ms - burn)
            starts += [window_at(budget, at_ms, node.zone).start_ms for budget in node.budgets]
        return min(starts)

    def readings(
        self, counters: Iterable[Counter], burns: Iterable[Burn], at_ms: int
    ) -> Iterator[Reading]:
        """Counters as a ladder reads them."""
        spans = {burn.span_ms for burn in burns}
        for counter in counters:
            recent = {span: counter.recent(at_ms, span) for span in spans}
            yield Reading(counter.figures(at_ms), at_ms, recent)

    def _make(self, path: tuple[str, ...], user: str | None) -> Iterator[Counter]:
        burn = self.burn_ms
        for node in self._accounts.along(path):
            for budget in node.budgets:
                if budget.span is Span.REQUEST:
                    continue
                who = user if budget.per_user else None
                key = (node.id, budget.label, who)
                if key not in self._counters:
                    self._counters[key] = Counter(node, budget, who, burn, self._shared)
                yield self._counters[key]

    def _forget_users(self, at_ms: int) -> None:
        """Users whose windows have ended are dropped once there are very many."""
        if len(self._counters) + len(self._paths) < _MANY_USERS:
            return
        self._paths.clear()
        self._counters = {
            key: counter
            for key, counter in self._counters.items()
            if key[2] is None or counter.held_nano or counter.window.end_ms > at_ms
        }


def _drop(buckets: deque[list[int]], until_ms: int) -> None:
    """Buckets that no rung looks back on any more are gone."""
    while buckets and buckets[0][0] <= until_ms:
        buckets.popleft()


def share(counter: Counter, amount: int) -> Share:
    """An amount is held in a counter; where to find it again."""
    counter.held_nano += amount
    counter.touched = True
    rolling = counter.budget.span is Span.ROLLING
    return Share(counter, None if rolling else counter.window.start_ms)


def unshare(held: Share, amount: int) -> bool:
    """A held amount is free again; whether the window it was held in is still open."""
    if held.open:
        held.counter.held_nano -= amount
        return True
    return False


def exhausted(figures: WindowFigures, amount: int) -> BudgetExhausted:
    """The error of a hold that does not fit."""
    message = (
        f"budget {figures.budget} is exhausted: {usd(figures.spent_nano)} USD spent and "
        f"{usd(figures.held_nano)} USD held of {usd(figures.limit_nano)} USD; this request may "
        f"cost {usd(amount)} USD; the budget resets at {figures.resets_at}"
    )
    return BudgetExhausted(message, figures.figures())


def path_of(team: str, project: str | None, key: str) -> tuple[str, ...]:
    """The node ids of a ledger row."""
    if project is None:
        return (ORGANISATION, team, f"{team}/{key}")
    return (ORGANISATION, team, f"{team}/{project}", f"{team}/{project}/{key}")


def _request_ceilings(node: Node) -> Iterator[tuple[str, int]]:
    for budget in node.budgets:
        if budget.span is Span.REQUEST:
            yield budget.label, budget.limit_nano
    if node.limits.max_request is not None:
        yield "max_request", nano(node.limits.max_request)

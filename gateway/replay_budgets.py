"""The budgets of a policy as a replay fills them: spend alone, since nothing is held in it.

Each replayed request adds what it would have cost; the next one is judged by what its
windows hold then, as the gateway would have judged it.
"""

from __future__ import annotations

from collections.abc import Iterable

from billing.accounts import Accounts, VirtualKey
from billing.budget import Span
from billing.counters import Counters, Spend
from billing.errors import BudgetExhausted
from billing.ladder import Brake, Burn
from billing.ladder import brake as brake_of


class ReplayBudgets:
    """Budget windows of one policy, in memory; time only goes forward."""

    def __init__(self, accounts: Accounts, before: Iterable[Spend], at_ms: int) -> None:
        """``before``: what was paid ahead of ``at_ms`` in windows still open then."""
        self._accounts = accounts
        self._counters = Counters(accounts)
        self._counters.load(before, self._counters.now(at_ms))

    def brake(self, key: VirtualKey, user: str | None, at_ms: int) -> Brake:
        """What the nearest ladder asks of a request, less what its key forbids."""
        ladders = [n.ladder for n in self._accounts.along(key.path) if n.ladder is not None]
        if not ladders:
            return Brake()
        now = self._counters.now(at_ms)
        counters = self._counters.along(key.path, user, now)
        burns = [r.threshold for r in ladders[-1].rungs if isinstance(r.threshold, Burn)]
        readings = self._counters.readings(counters, burns, now)
        return brake_of(ladders[-1], readings).without(key.forbid)

    def refusal(self, key: VirtualKey, user: str | None, at_ms: int, most_nano: int) -> str | None:
        """The budget that a request of at most this cost does not fit in, or None."""
        now = self._counters.now(at_ms)
        try:
            self._counters.check_request(key.path, most_nano, self._accounts.zone, now)
            self._counters.check(self._counters.along(key.path, user, now), most_nano, now)
        except BudgetExhausted as error:
            return error.figures.budget
        return None

    def spend(self, key: VirtualKey, user: str | None, at_ms: int, amount_nano: int) -> None:
        """A request was paid for."""
        for counter in self._counters.along(key.path, user, self._counters.now(at_ms)):
            if counter.budget.span is Span.ROLLING or counter.window.holds(at_ms):
                counter.add(at_ms, amount_nano)


def earliest_ms(accounts: Accounts, at_ms: int) -> int:
    """How far back spend counts in a window that is open at an instant."""
    counters = Counters(accounts)
    return counters.earliest(counters.now(at_ms))

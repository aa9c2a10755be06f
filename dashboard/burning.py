"""How fast each budget burns and when it will be used up: the forecast on every window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from billing.accounts import ORGANISATION, Accounts
from billing.budget import WindowFigures
from billing.forecast import HISTORY_DAYS, Exhaustion, used_up
from billing.reports import Scope
from dashboard.data import Source
from dashboard.filters import day_words

_SEED = 20260101  # the same ledger gives the same days to everybody who looks
_CALENDAR = ("day", "week", "month", "quarter", "year")


@dataclass(frozen=True, slots=True)
class Burning:
    """One window with when it is used up; ``found`` None where nothing can be said."""

    window: WindowFigures
    found: Exhaustion | None
    until: date

    @property
    def when(self) -> str:
        """The day in words, or why there is none."""
        if self.window.state == "exhausted":
            return "used up"
        if self.found is None:
            return ""
        if self.found.middle is None:
            return f"not by {day_words(self.until)}"
        return day_words(self.found.middle)

    @property
    def between(self) -> str:
        """The interval of that day, P10 to P90."""
        if self.found is None or self.found.early is None or self.window.state == "exhausted":
            return ""
        late = self.found.late
        end = "after the window" if late is None else day_words(late)
        return f"{day_words(self.found.early)} to {end}"


def burning(source: Source, windows: list[WindowFigures], now: datetime) -> list[Burning]:
    """Every window with its pace: those of the calendar, of nodes and not of single users."""
    today, zone = now.astimezone(source.zone).date(), source.zone
    made = []
    for window in windows:
        until = (
            (datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=window.window.end_ms - 1))
            .astimezone(zone)
            .date()
        )
        found = None
        if source.accounts is not None and _foreseen(window) and until >= today:
            spent = _spent(source, source.accounts, window.node, today)
            rng = np.random.default_rng(_SEED)
            found = used_up(spent, (today, until), window.left_nano, rng)
        made.append(Burning(window, found, until))
    return made


def scope_of(accounts: Accounts, node: str) -> Scope:
    """Whose spend a node's budgets are of."""
    if node == ORGANISATION:
        return Scope()
    team, *rest = node.split("/")
    projects = accounts.config.teams[team].projects if team in accounts.config.teams else {}
    names = ("project", "key") if rest and rest[0] in projects else ("key",)
    return Scope(team=team, also=tuple(zip(names, rest, strict=False)))


def _spent(source: Source, accounts: Accounts, node: str, today: date) -> Mapping[date, int]:
    scope = scope_of(accounts, node)
    first = _midnight(today - timedelta(days=HISTORY_DAYS), source.zone)
    days = source.daily(Scope(first, None, scope.team, scope.also))
    return {day: row.cost_nano for day, row in days}


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def _foreseen(window: WindowFigures) -> bool:
    """Whether a window ends on the calendar and is everybody's of its node."""
    return window.user is None and window.budget.endswith(_CALENDAR)

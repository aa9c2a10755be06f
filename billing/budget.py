"""Budgets and their windows: half-open spans of time computed from the calendar.

A window is ``[start, end)`` in UTC epoch milliseconds. Calendar windows begin at the first
instant of a local date in an IANA zone, so days around a clock change are 23 or 25 hours
long and windows always follow one another without gap or overlap. Nothing is ever reset:
a window is a function of an instant, and spend in it is the sum of ledger rows in it.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from billing.errors import BudgetFigures
from billing.money import nano, usd_cents
from billing.record import record

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_UNITS_MS = {"m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_ROLLING_BUCKETS = 300
_NEAR = 80
_BUDGET = re.compile(
    r"""^\s*(?P<amount>\d[\d_,]*(?:\.\d+)?)\s*(?:usd\s+)?
    (?P<user>per\s+user\s+)?per\s+
    (?:(?P<calendar>day|week|month|quarter|year)
     |rolling\s+(?P<count>\d+)\s*(?P<unit>min|m|h|d|w)
     |(?P<request>request))\s*$""",
    re.VERBOSE | re.IGNORECASE,
)


class Span(StrEnum):
    """What kind of window a budget has."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"
    ROLLING = "rolling"
    REQUEST = "request"


@record(frozen=True, slots=True)
class Budget:
    """A ceiling on spend: ``limit_nano`` in each window of ``span``.

    ``rolling_ms`` is the length of a rolling window, else 0. ``per_user``: each user of
    the node has a window of their own.
    """

    limit_nano: int
    span: Span
    rolling_ms: int = 0
    per_user: bool = False

    @property
    def label(self) -> str:
        """Short name within its node, such as ``month``, ``user/day``, ``rolling-5h``."""
        name = self.span.value
        if self.span is Span.ROLLING:
            name = f"rolling-{_span_text(self.rolling_ms)}"
        return f"user/{name}" if self.per_user else name

    @property
    def bucket_ms(self) -> int:
        """Resolution of a rolling window's start: a 300th of its length, >= 1 ms."""
        return max(self.rolling_ms // _ROLLING_BUCKETS, 1)


@record(frozen=True, slots=True)
class Window:
    """``[start_ms, end_ms)``, UTC epoch milliseconds."""

    start_ms: int
    end_ms: int

    def holds(self, at_ms: int) -> bool:
        """Whether an instant lies in the window."""
        return self.start_ms <= at_ms < self.end_ms


@record(frozen=True, slots=True)
class WindowFigures:
    """One budget window of one node (and user) at one instant; money in nano-USD."""

    node: str
    budget: str
    window: Window
    spent_nano: int
    held_nano: int
    limit_nano: int
    resets_at: str
    user: str | None = None

    @property
    def state(self) -> str:
        """``open``, ``near`` (80% and more, holds included) or ``exhausted``."""
        used = self.spent_nano + self.held_nano
        if used >= self.limit_nano:
            return "exhausted"
        return "near" if used * 100 >= self.limit_nano * _NEAR else "open"

    @property
    def left_nano(self) -> int:
        """What may still be held; never negative."""
        return max(self.limit_nano - self.spent_nano - self.held_nano, 0)

    def tightness(self) -> tuple[int, int]:
        """Sorts windows: the smallest share left first, then the smallest sum left."""
        share = self.left_nano * 1_000_000 // self.limit_nano if self.limit_nano else 0
        return share, self.left_nano

    def figures(self) -> BudgetFigures:
        """The same for an error."""
        return BudgetFigures(
            self.budget, self.spent_nano, self.held_nano, self.limit_nano, self.resets_at
        )

    def header(self) -> str:
        """``support/month 82.4% of 18000.00 USD; resets 2026-12-01T00:00+01:00``."""
        used = self.spent_nano + self.held_nano
        tenths = used * 1000 // self.limit_nano if self.limit_nano else 1000
        return (
            f"{self.budget} {tenths // 10}.{tenths % 10}% of {usd_cents(self.limit_nano)} USD; "
            f"resets {self.resets_at}"
        )


def parse_budget(text: str) -> Budget:
    """A budget from policy text such as ``18000 per month`` or ``60 per user per day``.

    Raises:
        ValueError: not of that form; the message lists what is.
    """
    found = _BUDGET.match(text)
    if found is None:
        raise ValueError(
            f"{text!r} is not a budget; write for example `500 per day`, `18000 per month` (day, "
            f"week, month, quarter, year), `40 per rolling 5h`, `60 per user per day` or "
            f"`2 per request`"
        )
    limit = nano(found["amount"].replace(",", "").replace("_", ""))
    per_user = found["user"] is not None
    if found["request"]:
        return Budget(limit, Span.REQUEST, 0, per_user=False)
    if found["calendar"]:
        return Budget(limit, Span(found["calendar"].lower()), 0, per_user)
    length = int(found["count"]) * _UNITS_MS[found["unit"].lower()]
    if length == 0:
        raise ValueError(f"{text!r}: a rolling window needs a length above zero")
    return Budget(limit, Span.ROLLING, length, per_user)


def window_at(budget: Budget, at_ms: int, zone: ZoneInfo) -> Window:
    """The window of a budget that holds an instant.

    A rolling window is the span that ends now, its start rounded down to the budget's
    resolution, so that it never forgets spend too early. A per-request budget has the
    instant itself.
    """
    if budget.span is Span.REQUEST:
        return Window(at_ms, at_ms + 1)
    if budget.span is Span.ROLLING:
        start = (at_ms - budget.rolling_ms) // budget.bucket_ms * budget.bucket_ms
        return Window(start, at_ms + 1)
    local = (_EPOCH + at_ms * _MS).astimezone(zone).date()
    first = _first_day(budget.span, local)
    return Window(_midnight_ms(first, zone), _midnight_ms(_next_first(budget.span, first), zone))


def local_minute(at_ms: int, zone: ZoneInfo) -> str:
    """An instant as local ISO text with offset, to the minute."""
    return (_EPOCH + at_ms * _MS).astimezone(zone).isoformat(timespec="minutes")


def _first_day(span: Span, day: date) -> date:
    """The first date of the calendar window that a date lies in."""
    match span:
        case Span.WEEK:
            return day - timedelta(days=day.weekday())
        case Span.MONTH:
            return day.replace(day=1)
        case Span.QUARTER:
            return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
        case Span.YEAR:
            return day.replace(month=1, day=1)
        case _:
            return day


def _next_first(span: Span, first: date) -> date:
    """The first date of the window after the one that begins at ``first``."""
    match span:
        case Span.DAY:
            return first + timedelta(days=1)
        case Span.WEEK:
            return first + timedelta(days=7)
        case Span.MONTH:
            return _first_day(Span.MONTH, first + timedelta(days=31))
        case Span.QUARTER:
            return _first_day(Span.QUARTER, first + timedelta(days=95))
        case _:
            return date(first.year + 1, 1, 1)


def _midnight_ms(day: date, zone: ZoneInfo) -> int:
    """The first instant of a local date; where midnight is skipped, the first after it."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone)
    return (local.astimezone(UTC) - _EPOCH) // _MS


def _span_text(length_ms: int) -> str:
    for unit in ("w", "d", "h", "m"):
        if length_ms % _UNITS_MS[unit] == 0:
            return f"{length_ms // _UNITS_MS[unit]}{unit}"
    return f"{length_ms}ms"

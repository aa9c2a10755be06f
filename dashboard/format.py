"""Figures as people read them, in the run's currency; money comes in integer nano-USD. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from zoneinfo import ZoneInfo

from billing.currency import Rate

MINUS = "\u2212"
UNKNOWN = "unknown"
_NANO = Decimal(1_000_000_000)
_MOST_PLACES = 9
_USD = re.compile(r"\$([\d,]+(?:\.\d+)?)")
_COLUMN_PLACES = 6
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


SHOWN: ContextVar[Rate | None] = ContextVar("shown currency", default=None)
"""What this run of the page converts to, None: USD. Set by ``app`` alone, for its own run."""


def money(amount_nano: int | None) -> str:
    """``$1,234.56``; below a dollar two significant digits (``$0.0012``); ``unknown``.

    Converted amounts begin with ``\u2248``: the page says by which day's rate.
    """
    if amount_nano is None:
        return UNKNOWN
    rate = SHOWN.get()
    sign = "$" if rate is None else f"\u2248{rate.sign}"
    value = abs(Decimal(_converted(amount_nano)) / _NANO)
    text = f"{sign}{_rounded(value, places(value)):,f}" if value else f"{sign}0.00"
    return f"{MINUS}{text}" if amount_nano < 0 else text


def code() -> str:
    """The currency of this run."""
    rate = SHOWN.get()
    return "USD" if rate is None else rate.code


def retold(text: str) -> str:
    """A sentence with its dollar amounts as this run shows money."""
    if SHOWN.get() is None:
        return text
    return _USD.sub(lambda found: money(round(Decimal(found[1].replace(",", "")) * _NANO)), text)


def _converted(amount_nano: int) -> int:
    rate = SHOWN.get()
    return amount_nano if rate is None else rate.nano(amount_nano)


def places(value: Decimal) -> int:
    """Decimal places that show two significant digits, at least cents."""
    if not value:
        return 2
    found = min(max(2, 1 - value.adjusted()), _MOST_PLACES)
    # 0.000996 rounds up to 0.0010, which needs a place less.
    return min(max(2, 1 - _rounded(value, found).adjusted()), _MOST_PLACES)


def column_places(amounts_nano: Iterable[int | None]) -> int:
    """Decimal places for a whole column, so that its points stand under one another."""
    found = (places(abs(Decimal(_converted(one))) / _NANO) for one in amounts_nano if one)
    return min(max(found, default=2), _COLUMN_PLACES)


def dollars(amount_nano: int | None) -> float | None:
    """An amount as a number for charts and sortable tables, in the currency of this run:
    display only, never summed."""
    return None if amount_nano is None else float(Decimal(_converted(amount_nano)) / _NANO)


def percent(part: int | Decimal, whole: int | Decimal) -> str:
    """``62.4%`` of a whole; ``0.031%`` keeps two digits; a dash where the whole is nothing."""
    if not whole:
        return "\u2013"
    share = Decimal(part) / Decimal(whole) * 100
    size = abs(share)
    digits = 1 if size >= 1 or not size else min(1 - size.adjusted(), 4)
    sign = MINUS if share < 0 else ""
    return f"{sign}{_rounded(size, digits):,f}%"


def count(number: int, noun: str = "") -> str:
    """``1,234`` or, with a noun, ``1,234 requests`` and ``1 request``."""
    if not noun:
        return f"{number:,}"
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def moment(at_ms: int, zone: ZoneInfo) -> datetime:
    """UTC epoch milliseconds as local wall time without a zone, for tables."""
    local = (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone)
    return local.replace(tzinfo=None)


def age(since: datetime, now: datetime) -> str:
    """``just now``, ``4 min ago``, ``3 h ago`` or ``12 days ago``."""
    seconds = int((now - since).total_seconds())
    if seconds < _MINUTE_S:
        return "just now"
    if seconds < _HOUR_S:
        return f"{seconds // _MINUTE_S} min ago"
    if seconds < 2 * _DAY_S:
        return f"{seconds // _HOUR_S} h ago"
    return f"{seconds // _DAY_S} days ago"


def plain(text: str) -> str:
    """Text that Markdown leaves as it is (dollar signs would start a formula)."""
    for sign in "\\`*_[]<>$~#|:":
        text = text.replace(sign, f"\\{sign}")
    return text


def _rounded(value: Decimal, digits: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN)

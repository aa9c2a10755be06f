"""Figures as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from dashboard.format import age, column_places, count, moment, money, percent, places, plain


@pytest.mark.parametrize(
    ("nano", "said"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (1_240, "$0.0000012"),
        (996_000, "$0.0010"),
        (120_400_000, "$0.12"),
        (1_234_560_000_000, "$1,234.56"),
        (-20_180_000_000, "\u2212$20.18"),
        (None, "unknown"),
    ],
)
def test_small_amounts_keep_two_significant_digits(nano: int | None, said: str) -> None:
    """Cents from a dollar on, two significant digits below, a real minus, never a false zero."""
    assert money(nano) == said


def test_a_column_has_one_number_of_decimals() -> None:
    """The smallest amount decides, between cents and six decimals."""
    assert column_places([5_000_000_000, None, 0]) == 2
    assert column_places([5_000_000_000, 1_240_000]) == 4
    assert column_places([5_000_000_000, 12]) == 6
    assert places(Decimal("0.00031")) == 5


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [
        (624, 1000, "62.4%"),
        (-3, 9, "\u221233.3%"),
        (31, 100_000, "0.031%"),
        (0, 5, "0.0%"),
        (1, 0, "\u2013"),
    ],
)
def test_percent(part: int, whole: int, said: str) -> None:
    """One decimal, more for the very small; a dash where there is no whole."""
    assert percent(part, whole) == said


def test_counts_agree_with_their_noun() -> None:
    """One request, two requests."""
    assert (count(1, "request"), count(2345, "request"), count(9999)) == (
        "1 request",
        "2,345 requests",
        "9,999",
    )


def test_a_moment_is_shown_in_the_zone_of_the_policy() -> None:
    """Noon UTC is eight in the evening in Shanghai."""
    noon = int(datetime(2025, 3, 3, 12, tzinfo=UTC).timestamp() * 1000)
    assert moment(noon, ZoneInfo("Asia/Shanghai")).isoformat() == "2025-03-03T20:00:00"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(5, "just now"), (240, "4 min ago"), (10_900, "3 h ago"), (1_040_000, "12 days ago")],
)
def test_age(seconds: int, said: str) -> None:
    """The age of the data in the largest fitting unit."""
    now = datetime(2025, 3, 3, tzinfo=UTC)
    assert age(now - timedelta(seconds=seconds), now) == said


def test_markdown_shows_what_was_written() -> None:
    """Dollar signs do not start a formula, names with underscores stay whole."""
    assert plain("$5 for a_b") == "\\$5 for a\\_b"

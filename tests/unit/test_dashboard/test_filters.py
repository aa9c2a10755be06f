"""Periods and scopes."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from dashboard.filters import Filters, everything, span_of

_TODAY = date(2025, 3, 10)


@pytest.mark.parametrize(
    ("period", "first", "last"),
    [
        ("Last 7 days", date(2025, 3, 4), _TODAY),
        ("Last 30 days", date(2025, 2, 9), _TODAY),
        ("This month", date(2025, 3, 1), _TODAY),
        ("Last month", date(2025, 2, 1), date(2025, 2, 28)),
        ("All time", None, None),
    ],
)
def test_periods_end_today(period: str, first: date | None, last: date | None) -> None:
    """Today counts as a day of each period; last month is the whole calendar month."""
    assert span_of(period, _TODAY) == (first, last)


def test_an_unknown_period_is_refused() -> None:
    """A word that is none is an error, not all time."""
    with pytest.raises(ValueError, match="not one of"):
        span_of("Last 5 days", _TODAY)


def test_a_day_is_a_local_day_also_where_the_clock_changes() -> None:
    """30 March 2025 has 23 hours in Berlin: both ends of the scope are local midnights."""
    day = date(2025, 3, 30)
    chosen = Filters("Chosen days", day, day, "support", "gpt-6-luna", ZoneInfo("Europe/Berlin"))
    scope = chosen.scope()
    assert scope.start == datetime(2025, 3, 29, 23, tzinfo=UTC)
    assert scope.end == datetime(2025, 3, 30, 22, tzinfo=UTC)
    assert (scope.team, scope.also) == ("support", (("model", "gpt-6-luna"),))
    assert chosen.words == "on 30 Mar 2025"


def test_the_period_before_is_as_long_and_ends_where_this_begins() -> None:
    """Equal days right before, the same team and model; a period without end has none."""
    week = Filters("x", date(2026, 11, 8), date(2026, 11, 14), "t", "m", ZoneInfo("UTC"))
    before = week.previous()
    assert before is not None
    assert (before.first, before.last) == (date(2026, 11, 1), date(2026, 11, 7))
    assert (before.team, before.model) == ("t", "m")
    assert Filters("x", None, None, None, None, ZoneInfo("UTC")).previous() is None


def test_a_file_is_named_after_its_filters() -> None:
    """Days, team, model and the path; what no file system likes is a dash."""
    made = Filters("Chosen days", date(2026, 10, 1), date(2026, 10, 31), "support", "a/b",
                   ZoneInfo("UTC"), (("project", ""), ("key", "x:1")))  # fmt: skip
    assert made.slug == "2026-10-01_2026-10-31_team-support_model-a-b_project-none_key-x-1"
    assert everything(ZoneInfo("UTC")).slug == "all-time"

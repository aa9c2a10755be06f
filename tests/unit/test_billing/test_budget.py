"""Windows: functions of the calendar, without gap or overlap, in any zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.budget import Budget, Span, Window, WindowFigures, parse_budget, window_at

ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
]
CALENDAR = [Span.DAY, Span.WEEK, Span.MONTH, Span.QUARTER, Span.YEAR]
instants = st.integers(
    int(datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1000),
    int(datetime(2040, 1, 1, tzinfo=UTC).timestamp() * 1000),
)
HOUR = 3_600_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@given(instants, st.sampled_from(ZONES), st.sampled_from(CALENDAR))
def test_windows_tile_time(at: int, zone_name: str, span: Span) -> None:
    """Every instant lies in one window, whose end is the start of the next one."""
    zone, budget = ZoneInfo(zone_name), Budget(1, span)
    window = window_at(budget, at, zone)
    assert window.holds(at)
    following = window_at(budget, window.end_ms, zone)
    assert following.start_ms == window.end_ms
    assert window_at(budget, window.end_ms - 1, zone) == window
    assert window_at(budget, window.start_ms, zone) == window


@given(instants, st.sampled_from(ZONES), st.sampled_from(CALENDAR))
def test_a_window_is_the_local_calendar(at: int, zone_name: str, span: Span) -> None:
    """All instants of a window share the local day, week, month, quarter or year."""
    zone = ZoneInfo(zone_name)
    window = window_at(Budget(1, span), at, zone)

    def label(instant: int) -> object:
        day = datetime.fromtimestamp(instant / 1000, zone).date()
        return {
            Span.DAY: day,
            Span.WEEK: day.isocalendar()[:2],
            Span.MONTH: (day.year, day.month),
            Span.QUARTER: (day.year, (day.month - 1) // 3),
            Span.YEAR: day.year,
        }[span]

    assert label(window.start_ms) == label(at) == label(window.end_ms - 1)
    assert label(window.start_ms - 1) != label(at) != label(window.end_ms)


@pytest.mark.parametrize(
    ("zone", "noon", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T12:00+02:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00+01:00", 25),
        ("America/New_York", "2026-11-01T12:00-05:00", 25),
        ("Africa/Cairo", "2026-04-24T12:00+03:00", 23),
        ("Australia/Lord_Howe", "2026-10-04T12:00+11:00", 23.5),
        ("America/Sao_Paulo", "2018-11-04T12:00-02:00", 23),
        ("Asia/Kathmandu", "2026-06-01T12:00+05:45", 24),
    ],
)
def test_days_around_a_clock_change(zone: str, noon: str, hours: float) -> None:
    """A local day is as long as the clocks make it."""
    window = window_at(Budget(1, Span.DAY), ms(noon), ZoneInfo(zone))
    assert window.end_ms - window.start_ms == hours * HOUR


def test_leap_day_and_year_end() -> None:
    """February ends when it does; the year ends at local midnight."""
    zone = ZoneInfo("Europe/Berlin")
    february = window_at(Budget(1, Span.MONTH), ms("2028-02-29T23:59:59+01:00"), zone)
    assert february == Window(ms("2028-02-01T00:00+01:00"), ms("2028-03-01T00:00+01:00"))
    year = window_at(Budget(1, Span.YEAR), ms("2026-12-31T23:30+00:00"), zone)
    assert year.start_ms == ms("2027-01-01T00:00+01:00")


@given(instants, st.integers(1, 60 * 24 * 30))
def test_a_rolling_window_is_never_too_short(at: int, minutes: int) -> None:
    """It ends now and reaches back its whole length, and at most a 300th more."""
    budget = Budget(1, Span.ROLLING, minutes * 60_000)
    window = window_at(budget, at, ZoneInfo("UTC"))
    assert window.holds(at)
    assert budget.rolling_ms <= at - window.start_ms < budget.rolling_ms + budget.bucket_ms


@pytest.mark.parametrize(
    ("text", "budget", "label"),
    [
        ("18000 per month", Budget(18_000 * 10**9, Span.MONTH), "month"),
        ("1,200.50 per day", Budget(1_200_500_000_000, Span.DAY), "day"),
        ("60 per user per day", Budget(60 * 10**9, Span.DAY, 0, per_user=True), "user/day"),
        ("5 USD per rolling 5h", Budget(5 * 10**9, Span.ROLLING, 5 * HOUR), "rolling-5h"),
        ("5 per rolling 90 min", Budget(5 * 10**9, Span.ROLLING, 90 * 60_000), "rolling-90m"),
        ("2 per request", Budget(2 * 10**9, Span.REQUEST), "request"),
        ("0 per quarter", Budget(0, Span.QUARTER), "quarter"),
    ],
)
def test_budgets_as_they_are_written(text: str, budget: Budget, label: str) -> None:
    """Every form of the policy is read."""
    assert parse_budget(text) == budget
    assert budget.label == label


@pytest.mark.parametrize(
    "text",
    ["", "lots", "5", "5 per fortnight", "-5 per day", "5 per rolling", "5 per rolling 0h", "1e9"],
)
def test_other_texts_are_refused_with_examples(text: str) -> None:
    """What is no budget says so and shows some."""
    with pytest.raises(ValueError, match=r"per day|above zero"):
        parse_budget(text)


def test_states_and_header() -> None:
    """open, near from 80%, exhausted at the limit; the header is the contract's."""

    def figures(spent: int, held: int) -> WindowFigures:
        return WindowFigures(
            "support",
            "support/month",
            Window(0, 1),
            spent * 10**9,
            held * 10**9,
            18_000 * 10**9,
            "2026-12-01T00:00+01:00",
        )

    assert figures(14_000, 832).header() == (
        "support/month 82.4% of 18000.00 USD; resets 2026-12-01T00:00+01:00"
    )
    states = [figures(*pair).state for pair in ((0, 0), (14_399, 0), (14_000, 400), (18_000, 0))]
    assert states == ["open", "open", "near", "exhausted"]
    assert figures(18_001, 0).left_nano == 0
    assert figures(100, 50).figures().held_nano == 50 * 10**9
    assert min([figures(5, 0), figures(9, 0)], key=WindowFigures.tightness).spent_nano == (
        9 * 10**9
    )


def test_timedelta_of_a_month_over_a_change() -> None:
    """March in Berlin is an hour short of 31 days."""
    window = window_at(
        Budget(1, Span.MONTH), ms("2026-03-10T00:00+01:00"), ZoneInfo("Europe/Berlin")
    )
    assert timedelta(milliseconds=window.end_ms - window.start_ms) == timedelta(days=31, hours=-1)


def test_a_window_ends_before_its_end() -> None:
    """`[start, end)`: the last instant is inside, the end is the next window's."""
    window = Window(1_000, 2_000)
    assert [window.holds(at) for at in (999, 1_000, 1_999, 2_000)] == [False, True, True, False]

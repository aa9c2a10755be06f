"""The filters above every view. They live in the URL, so a link shows the same figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import streamlit as st

from billing.reports import Scope
from dashboard import path

# These words are what the URL says, too (?period=This+month): links rest on them.
PERIODS = (
    "Last 7 days",
    "Last 30 days",
    "This month",
    "Last month",
    "All time",
    "Chosen days",
)
DEFAULT_PERIOD = "Last 30 days"
ALL_TIME = "All time"
CHOSEN = "Chosen days"
EVERY = {"team": "All teams", "model": "All models", "action": "All actions"}


_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")


@dataclass(frozen=True, slots=True)
class Filters:
    """What is shown: local days ``first`` to ``last``, both included; None is unbounded."""

    period: str
    first: date | None
    last: date | None
    team: str | None
    model: str | None
    zone: ZoneInfo
    within: tuple[tuple[str, str], ...] = ()
    """(group, label) pairs that were drilled down to; "" is no name."""
    filtered: bool = True
    """Whether the view has these filters at all."""

    def scope(self) -> Scope:
        """The same for billing.reports: half-open instants, local midnights."""
        return self.between(self.first, self.last)

    def between(self, first: date | None, last: date | None) -> Scope:
        """The same team, model and path over other local days, both included; None is unbounded."""
        start = None if first is None else _midnight(first, self.zone)
        end = None if last is None else _midnight(last + timedelta(days=1), self.zone)
        also = () if self.model is None else (("model", self.model),)
        return Scope(start, end, self.team, (*also, *self.within))

    def previous(self) -> Filters | None:
        """As many days right before these; None where the period has no beginning."""
        if self.first is None or self.last is None:
            return None
        length = self.last - self.first + timedelta(days=1)
        return replace(self, period=CHOSEN, first=self.first - length, last=self.last - length)

    @property
    def slug(self) -> str:
        """The same for the name of a file: ``2026-10-24_2026-11-22_team-support``."""
        days = [] if self.first is None or self.last is None else [self.first, self.last]
        parts = [day.isoformat() for day in days] or ["all-time"]
        named = [("team", self.team), ("model", self.model), *self.within]
        parts += [f"{group}-{label or 'none'}" for group, label in named if label is not None]
        return "_".join(_UNSAFE.sub("-", part) for part in parts)

    @property
    def words(self) -> str:
        """The period in words."""
        if self.first is None or self.last is None:
            return "over all time"
        if self.first == self.last:
            return f"on {day_words(self.first)}"
        return f"from {day_words(self.first)} to {day_words(self.last)}"


def day_words(day: date) -> str:
    """``21 Nov 2026``."""
    return f"{day.day} {day:%b %Y}"


def span_of(period: str, today: date) -> tuple[date | None, date | None]:
    """First and last day of a named period; (None, None) for all time.

    Raises:
        ValueError: not a named period.
    """
    match period:
        case "Last 7 days":
            return today - timedelta(days=6), today
        case "Last 30 days":
            return today - timedelta(days=29), today
        case "This month":
            return today.replace(day=1), today
        case "Last month":
            last = today.replace(day=1) - timedelta(days=1)
            return last.replace(day=1), last
        case "All time":
            return None, None
        case _:
            raise ValueError(f"{period!r} is not one of {', '.join(PERIODS)}")


def show(
    labels: Callable[[str], Sequence[str]], today: date, zone: ZoneInfo, *, every_team: bool = True
) -> Filters:
    """Draw the filters and give what is chosen.

    Args:
        labels: the names to offer for a group.
        every_team: whether all teams together may be looked at; else it is one at a time.
    """
    boxes = st.columns([2, 2, 2, 2], vertical_alignment="bottom")
    with boxes[0]:
        period = st.selectbox(
            "Period", PERIODS, PERIODS.index(DEFAULT_PERIOD), key="period", bind="query-params",
            help=f"Days begin at midnight in {zone.key}.",
        )  # fmt: skip
    with boxes[1]:
        team = choice("team", "Team", labels("team"), every=every_team)
    with boxes[2]:
        model = choice("model", "Served by", labels("model"))
    first, last = None, None
    if period == CHOSEN:
        with boxes[3]:
            first, last = _days(today)
    else:
        first, last = span_of(period or DEFAULT_PERIOD, today)
    within = path.show()
    return Filters(period or DEFAULT_PERIOD, first, last, team, model, zone, within)


def everything(zone: ZoneInfo) -> Filters:
    """No filter at all, for views that have their own."""
    return Filters(ALL_TIME, None, None, None, None, zone, filtered=False)


def choice(group: str, title: str, names: Sequence[str], *, every: bool = True) -> str | None:
    """Draw one filter; None where nothing in particular is chosen.

    Args:
        every: offer all of them together; else the first is chosen to begin with.
    """
    whole = EVERY[group]
    offered = [whole, *names] if every else list(names)
    chosen = st.selectbox(title, offered, key=group, bind="query-params")
    return None if chosen in (None, whole) else str(chosen)


def widen() -> None:
    """Nothing is filtered any more: the next run shows everything."""
    st.session_state["period"] = ALL_TIME
    for group, every in EVERY.items():
        if group in st.session_state:
            st.session_state[group] = every
    if "q" in st.session_state:
        st.session_state["q"] = ""
    path.leave()


def _days(today: date) -> tuple[date, date]:
    month = (today - timedelta(days=29), today)
    chosen: Any = st.date_input("Days", month, key="days", bind="query-params")
    found = [day for day in (chosen if isinstance(chosen, tuple) else (chosen,)) if day]
    # While a range is being picked there is only its first day.
    return (found[0], found[-1]) if found else month


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """The local midnight that begins a day, as an instant."""
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)

"""Overview: the month so far, where it will end, and what the budget says to that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import streamlit as st

from billing.accounts import ORGANISATION
from billing.budget import WindowFigures
from billing.forecast import FEWEST_DAYS, HISTORY_DAYS, Forecast, month_end, runs_out
from billing.reports import Row
from dashboard import charts_time, data, downloads, states, tables
from dashboard.data import Source
from dashboard.filters import Filters, day_words
from dashboard.format import age, money, percent, plain
from dashboard.shown import shown
from dashboard.tables import Column, Table
from dashboard.theme import lead, legend

_SEED = 20260101  # the same ledger gives the same forecast to everybody who looks
_FORECAST = (
    f"The days that are left, drawn from up to {HISTORY_DAYS} days that were, weekday by weekday. "
    "In eight months of ten the end should lie in the band."
)
_PAID = "All provider lines and all calls that the gateway itself made, this calendar month."
_LAST = "The whole calendar month before."
_COLUMNS = {
    "team": Column("Team"),
    "paid": Column("This month", "money"),
    "before": Column("Last month, same days", "money"),
    "change": Column("Change", "money", "Positive: more was paid than over the same days."),
    "requests": Column("Requests", "count"),
}


@dataclass(frozen=True, slots=True)
class Month:
    """One calendar month up to ``today``; ``spent`` is nano-USD a local day, older days too."""

    today: date
    spent: dict[date, int]

    @property
    def first(self) -> date:
        """The first of the month."""
        return self.today.replace(day=1)

    @property
    def before(self) -> date:
        """The first of the month before."""
        return (self.first - timedelta(days=1)).replace(day=1)

    def paid(self, first: date, last: date) -> int:
        """Nano-USD over local days, both included."""
        return sum(nano for day, nano in self.spent.items() if first <= day <= last)

    @property
    def same_days_before(self) -> tuple[date, date]:
        """As many days of the month before (at most all of it)."""
        end = self.before + (self.today - self.first)
        return self.before, min(end, self.first - timedelta(days=1))


def in_words(month: Month, found: Forecast | None, budget: WindowFigures | None) -> str:
    """The one sentence of the Overview."""
    paid = money(month.paid(month.first, month.today))
    said = f"From {day_words(month.first)} to {day_words(month.today)}, {paid} was paid."
    if found is None:
        return f"{said} With less than {FEWEST_DAYS} whole days of history there is no forecast."
    said += (
        f" The month should end at about {money(found.middle_nano)}, most likely between "
        f"{money(found.low_nano)} and {money(found.high_nano)}"
    )
    if budget is None:
        return f"{said}."
    share = percent(found.middle_nano, budget.limit_nano)
    end = runs_out(found, budget.limit_nano)
    said += f": {share} of the budget of {money(budget.limit_nano)}."
    return said if end is None else f"{said} At this pace it is used up on {day_words(end)}."


def table_of(now: list[Row], before: list[Row]) -> Table:
    """Teams with what changed most first."""
    earlier = {row.label: row.cost_nano for row in before}
    names = {row.label: row for row in now}
    records = [
        {
            "team": label or "(none)",
            "paid": names[label].cost_nano if label in names else 0,
            "before": earlier.get(label, 0),
            "change": (names[label].cost_nano if label in names else 0) - earlier.get(label, 0),
            "requests": names[label].requests if label in names else 0,
        }
        for label in {**names, **earlier}
    ]
    return Table(_COLUMNS, sorted(records, key=lambda one: -abs(int(str(one["change"])))))


def page() -> None:
    """Draw the view."""
    source, chosen = shown()
    now = data.clock()
    said, today = st.empty(), now.astimezone(source.zone).date()
    # The sum is known at once; days, forecast and budget take longer.
    month_so_far = source.overall(chosen.between(today.replace(day=1), today))
    if month_so_far.requests:
        paid = money(month_so_far.cost_nano)
        first = day_words(today.replace(day=1))
        said.html(lead(f"From {first} to {day_words(today)}, {paid} was paid."))
    month = _month(source, chosen, today)
    if not month.spent:
        states.no_match(f"in {month.before:%B} or {month.first:%B %Y}")
        return
    if chosen.period not in ("This month", "Last 30 days"):
        st.caption("This view is of the calendar month, whatever period is chosen.")
    found = month_end(month.spent, month.today, np.random.default_rng(_SEED))
    budget = _budget(source, chosen)
    said.html(lead(in_words(month, found, budget)))
    _figures(source, month, found, budget)
    st.subheader("The month, day by day", help=_FORECAST)
    shown_lines = ["paid", "month before", "forecast"] + (["budget"] if budget else [])
    st.html(legend(*shown_lines))
    st.altair_chart(charts_time.month(month.spent, month.today, found, budget), key="chart-month")
    _changes(source, chosen, month)


def _month(source: Source, chosen: Filters, today: date) -> Month:
    scope = chosen.between(today - timedelta(days=HISTORY_DAYS + 31), today)
    return Month(today, {day: row.cost_nano for day, row in source.daily(scope)})


def _budget(source: Source, chosen: Filters) -> WindowFigures | None:
    """The monthly window of what is shown: the team's, or the organisation's for all."""
    wanted = chosen.team or ORGANISATION
    for window in source.windows(data.clock()):
        if window.user is None and window.budget.endswith("month") and window.node == wanted:
            return window
    return None


def _figures(
    source: Source, month: Month, found: Forecast | None, budget: WindowFigures | None
) -> None:
    paid = month.paid(month.first, month.today)
    before = month.paid(*month.same_days_before)
    boxes = st.columns(4, gap="medium")
    with boxes[0].container(key="figure-paid"):
        st.metric("Paid this month", money(paid), help=_PAID)
        if before:
            less = percent(abs(paid - before), before)
            than = "more" if paid > before else "less"
            st.caption(plain(f"{less} {than} than over the same days of {month.before:%B}"))
    with boxes[1].container(key="figure-forecast"):
        st.metric(
            "Forecast", "\u2013" if found is None else money(found.middle_nano), help=_FORECAST
        )
        if found is not None:
            st.caption(plain(f"{money(found.low_nano)} to {money(found.high_nano)} (P10 to P90)"))
    with boxes[2].container(key="figure-budget"):
        st.metric("Budget", "none" if budget is None else money(budget.limit_nano))
        if budget is not None:
            used = budget.spent_nano + budget.held_nano
            st.caption(plain(f"{percent(used, budget.limit_nano)} used, holds included"))
    with boxes[3].container(key="figure-last"):
        last = month.paid(month.before, month.first - timedelta(days=1))
        st.metric(f"{month.before:%B}", money(last), help=_LAST)
        latest = source.latest()
        if latest is not None:
            st.caption(plain(f"newest figure {age(latest, data.clock())}"))


def _changes(source: Source, chosen: Filters, month: Month) -> None:
    st.subheader("What changed", help="Against as many days of the month before.")
    now = source.grouped("team", chosen.between(month.first, month.today))
    before = source.grouped("team", chosen.between(*month.same_days_before))
    if not now and not before:
        st.caption("Nothing was paid over these days in either month.")
        return
    this = chosen.between(month.first, month.today)
    tables.show(table_of(now, before), "changes", lines=downloads.focus_of(source, this))


if __name__ == "__main__":
    page()

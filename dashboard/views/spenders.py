"""Teams: who spent it, and how far the budgets are used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from billing.reports import Row
from dashboard import charts, data, downloads, path, states, tables
from dashboard.burning import Burning, burning
from dashboard.filters import Filters
from dashboard.format import count, money, percent, plain
from dashboard.shown import shown
from dashboard.tables import Column, Table
from dashboard.theme import lead, legend
from dashboard.words import known_baseline, known_saved

GROUPS = ("team", "project", "key", "session", "model")
_COLUMNS = {
    "requests": Column("Requests", "count"),
    "paid": Column("Paid", "money"),
    "share": Column("Share of paid", "ratio"),
    "tokenmaxxed": Column("Tokenmaxxed", "money"),
    "saved": Column("Saved", "money", "Negative is a loss."),
    "per_effective": Column(
        "Per million effective tokens", "money", "Cost of a million tokens that could help."
    ),
    "waste": Column("Waste", "money", "Paid for prompt beyond the effective context."),
}
_BUDGETS = {
    "budget": Column("Budget"),
    "user": Column("User"),
    "state": Column("State", means="near: 80% and more, holds included"),
    "spent": Column("Spent", "money"),
    "held": Column("Held", "money", "Reserved for requests under way."),
    "left": Column("Left", "money"),
    "limit": Column("Limit", "money"),
    "burn": Column("A day lately", "money", "Mean of the last seven whole days."),
    "when": Column("Used up", means="The middle of the forecast's paths."),
    "between": Column("Between", means="The same from P10 to P90."),
    "chance": Column("Chance", "ratio", "Of the forecast's paths, those that use it up in time."),
    "resets": Column("Resets"),
}


def table_of(rows: list[Row], by: str) -> Table:
    """The rows of a group as a table."""
    paid = sum(row.cost_nano for row in rows)
    columns = {"name": Column(by.capitalize()), **_COLUMNS}
    return Table(
        columns,
        [
            {
                "name": row.label or "(none)",
                "requests": row.requests,
                "paid": row.cost_nano,
                "share": row.cost_nano / paid if paid else None,
                "tokenmaxxed": known_baseline(row),
                "saved": known_saved(row),
                "per_effective": row.nano_per_effective_mtok,
                "waste": row.waste_nano,
            }
            for row in rows
        ],
    )


def in_words(rows: list[Row], by: str, period: str, others: Row | None = None) -> str:
    """The one sentence of the view."""
    paid, first = sum(row.cost_nano for row in rows), rows[0]
    said = f"{count(len(rows), by)} paid {money(paid)} {period}"
    if others is not None and others.requests:
        said = f"The {len(rows)} dearest sessions paid {money(paid)} {period}"
        return (
            f"{said}, all others {money(others.cost_nano)} ({count(others.requests, 'request')})."
        )
    if len(rows) == 1:
        return f"{said}."
    return f"{said}; {first.label or 'what has no name'} most, {percent(first.cost_nano, paid)}."


def budgets_of(windows: list[Burning]) -> Table:
    """Budget windows as a table."""
    columns = dict(_BUDGETS)
    if not any(one.window.user for one in windows):
        columns["user"] = replace(columns["user"], hidden=True)
    return Table(
        columns,
        [
            {
                "budget": one.window.budget,
                "user": one.window.user or "",
                "state": one.window.state,
                "spent": one.window.spent_nano,
                "held": one.window.held_nano,
                "left": one.window.left_nano,
                "limit": one.window.limit_nano,
                "burn": None if one.found is None else one.found.burn_nano,
                "when": one.when,
                "between": one.between,
                "chance": None if one.found is None else one.found.chance,
                "resets": one.window.resets_at[:16].replace("T", " "),
            }
            for one in windows
        ],
    )


def page() -> None:
    """Draw the view."""
    source, chosen = shown()
    groups = [one for one in GROUPS if one != "session" or source.viewer.may("requests")]
    by = st.segmented_control(
        "Spent by", groups, default="team", required=True, key="by", bind="query-params"
    )  # fmt: skip
    group = str(by or "team")
    rows, others = _rows(source, group, chosen)
    if rows:
        st.html(lead(in_words(rows, group, chosen.words, others)))
        st.html(legend("paid", "tokenmaxxed"))
        st.altair_chart(charts.by_group(rows, group), key="chart-group")
        lines = downloads.focus_of(source, chosen.scope())
        _down(source, rows, group, lines)
    else:
        states.no_match(chosen.words)
    st.subheader("Budgets now", help="The windows that the gate itself checks, not the filters.")
    _budgets(source)


def _rows(source: data.Source, group: str, chosen: Filters) -> tuple[list[Row], Row | None]:
    """The groups, and what is left of them where only the dearest are shown."""
    if group != "session":
        return source.grouped(group, chosen.scope()), None
    top = source.sessions(chosen.scope())
    return top.rows, top.others


def _down(
    source: data.Source, rows: list[Row], group: str, lines: Callable[[], bytes] | None
) -> None:
    """The table; a row picked is opened: a team's projects, their keys, sessions, requests."""
    below = path.next_of(group)
    leads = below is not None or group == "session"
    if below == "session" and not source.viewer.may("requests"):
        leads = False
    if leads:
        what = "requests" if below is None else f"{below}s"
        st.caption(f"Pick a row to open its {what}.")
    name = f"by-{group}"
    picked = tables.show(table_of(rows, group), name, pick=leads, lines=lines)
    if picked is None or not leads:
        return
    path.pick(group, rows[picked].label)
    st.rerun()


def _budgets(source: data.Source) -> None:
    if source.policy_problem:
        st.info(plain(f"Budgets are not known here. {source.policy_problem}"))
        return
    now = data.clock()
    windows = source.windows(now)
    if not windows:
        st.info(
            "The policy sets no budget. Write for example `budget: 500 per month` under a team."
        )
        return
    st.html(legend("paid", "budget"))
    st.altair_chart(charts.budgets(windows), key="chart-budgets")
    tables.show(budgets_of(burning(source, windows, now)), "budgets")


if __name__ == "__main__":
    page()

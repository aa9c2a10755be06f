"""Teams: who spent it, and how far the budgets are used."""

from __future__ import annotations

import streamlit as st

from billing.budget import WindowFigures
from billing.reports import Row
from dashboard import charts, data, states, tables
from dashboard.format import plain
from dashboard.shown import shown
from dashboard.tables import Column, Table
from dashboard.theme import legend
from dashboard.words import known_baseline, known_saved

_GROUPS = ("team", "project", "key", "model")
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


def budgets_of(windows: list[WindowFigures]) -> Table:
    """Budget windows as a table."""
    return Table(
        _BUDGETS,
        [
            {
                "budget": one.budget,
                "user": one.user or "",
                "state": one.state,
                "spent": one.spent_nano,
                "held": one.held_nano,
                "left": one.left_nano,
                "limit": one.limit_nano,
                "resets": one.resets_at,
            }
            for one in windows
        ],
    )


def page() -> None:
    """Draw the view."""
    source, chosen = shown()
    by = st.segmented_control(
        "Spent by", _GROUPS, default="team", required=True, key="by", bind="query-params"
    )  # fmt: skip
    group = str(by or "team")
    rows = source.grouped(group, chosen.scope())
    if rows:
        st.html(legend("paid", "tokenmaxxed"))
        st.altair_chart(charts.by_group(rows, group), key="chart-group")
        tables.show(table_of(rows, group), f"by-{group}")
    else:
        states.no_match(chosen.words)
    st.subheader("Budgets now", help="The windows that the gate itself checks, not the filters.")
    _budgets(source)


def _budgets(source: data.Source) -> None:
    if source.policy_problem:
        st.info(plain(f"Budgets are not known here. {source.policy_problem}"))
        return
    windows = source.windows(data.clock())
    if not windows:
        st.info(
            "The policy sets no budget. Write for example `budget: 500 per month` under a team."
        )
        return
    st.html(legend("paid", "budget"))
    st.altair_chart(charts.budgets(windows), key="chart-budgets")
    tables.show(budgets_of(windows), "budgets")


if __name__ == "__main__":
    page()

"""Chargeback & close: who owes what for a month, and whether it is frozen."""

from __future__ import annotations

import streamlit as st

from billing.chargeback import Charged
from billing.closing import Closing
from dashboard import downloads, states, tables
from dashboard.data import Source
from dashboard.format import count, money, plain
from dashboard.shown import shown
from dashboard.tables import Column, Table
from dashboard.theme import lead

_BY = ("team", "project", "key")
_COLUMNS = {
    "requests": Column("Requests", "count"),
    "paid": Column("Receipts", "money", "What the gateway booked as it happened."),
    "corrected": Column("Corrections", "money", "What reconciliations booked on top."),
    "total": Column("To charge", "money"),
}
_UTC = "Calendar months in UTC, as providers bill them: so the sum meets the invoice."


def table_of(rows: list[Charged], by: str) -> Table:
    """A month by cost centre as a table."""
    columns = {"month": Column("Month", hidden=True), "name": Column(by.capitalize()), **_COLUMNS}
    return Table(
        columns,
        [
            {
                "month": row.month,
                "name": row.name or "(none)",
                "requests": row.requests,
                "paid": row.cost_nano,
                "corrected": row.corrected_nano,
                "total": row.total_nano,
            }
            for row in rows
        ],
    )


def in_words(month: str, rows: list[Charged], closing: Closing | None) -> str:
    """The one sentence of the view."""
    total = sum(row.total_nano for row in rows)
    requests = count(sum(row.requests for row in rows), "request")
    said = f"{month} comes to {money(total)} for {requests}."
    if closing is None:
        return f"{said} It is open: what settles late still lands in it."
    return f"{said} It is closed: nothing can be posted into it any more."


def page() -> None:
    """Draw the view."""
    source, _ = shown()
    months = source.months()
    if not months:
        states.no_requests()
        return
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    with left:
        month = str(
            st.selectbox("Month", months, key="month", bind="query-params", help=_UTC) or months[0]
        )
    with right:
        by = str(
            st.segmented_control(
                "Cost centre", _BY, default="team", required=True, key="centre",
                bind="query-params",
            )
            or "team"
        )  # fmt: skip
    rows, closing = source.charged(month, by), source.closing_of(month)
    st.html(lead(in_words(month, rows, closing)))
    lines = lambda: downloads.text_file(source, month, focus=True)  # noqa: E731 - made when asked
    tables.show(table_of(rows, by), f"chargeback-{month}-{by}", lines=lines)
    _close(month, closing)
    _take_away(source, month)


def _close(month: str, closing: Closing | None) -> None:
    st.subheader("Closing")
    if closing is None:
        st.markdown(
            "When every account is reconciled, freeze the month. Later lines then post to the "
            "next open month, with a note:"
        )
        st.code(f"weir close {month}", language="bash")
        return
    st.markdown(
        plain(
            f"Closed with {closing.month}: {count(closing.requests, 'request')}, "
            f"{money(closing.total_nano)}, up to receipt {closing.head_seq:,}."
        )
    )
    st.caption("Digest over every posting; `weir ledger verify` checks it.")
    st.code(closing.digest.hex(), language=None)


def _take_away(source: Source, month: str) -> None:
    st.subheader("Take it away")
    with st.container(horizontal=True):
        downloads.month_report(source, month)
        downloads.charges(source, month)


if __name__ == "__main__":
    page()

"""Compare: what was paid against what it would have cost tokenmaxxed."""

from __future__ import annotations

import streamlit as st

from billing.reports import Row
from billing.savings import Badge
from billing.savings_report import Report, in_words
from dashboard import charts, states, tables, words
from dashboard.format import money, percent, plain
from dashboard.shown import shown
from dashboard.tables import Column, Table
from dashboard.theme import lead, legend
from dashboard.words import known_baseline, known_saved

_TOKENMAXXED = (
    "Every request as received, whole, at the one model it asked for: same prices, same moment, "
    "and with the prompt cache that it would have had."
)
_PAID = "All provider lines and all calls that the gateway itself made."
_SAVED = "Tokenmaxxed less paid, over the requests where both are known. Negative is a loss."
_ESTIMATED = (
    "Tokenmaxxed is computed, not measured. With a holdout of untouched sessions it is measured "
    "and gets an interval."
)
_INTERVAL = (
    "With 95% confidence the saving on routed sessions lies in here: corrected by what the "
    "sessions held out really cost."
)
_CAUSES = (
    "Routed requests only, one thing changed at a time: the prompt, the model, the prompt cache, "
    "retries, the gateway's own calls. The parts add up exactly. Red is a loss."
)
_COLUMNS = {
    "action": Column("Action", means="What was done to the request."),
    "requests": Column("Requests", "count"),
    "paid": Column("Paid", "money", _PAID),
    "tokenmaxxed": Column("Tokenmaxxed", "money", _TOKENMAXXED),
    "saved": Column("Saved", "money", _SAVED),
    "original_prompt_tokens": Column("Prompt tokens asked", "count"),
    "sent_prompt_tokens": Column("Prompt tokens sent", "count"),
    "effective_tokens": Column(
        "Effective tokens", "count", "Prompt up to the effective context, plus the answer."
    ),
}


def table_of(rows: list[Row]) -> Table:
    """The rows by action as a table."""
    return Table(
        _COLUMNS,
        [
            {
                "action": row.label,
                "requests": row.requests,
                "paid": row.cost_nano,
                "tokenmaxxed": known_baseline(row),
                "saved": known_saved(row),
                "original_prompt_tokens": row.original_prompt_tokens,
                "sent_prompt_tokens": row.sent_prompt_tokens,
                "effective_tokens": row.effective_tokens,
            }
            for row in rows
        ],
    )


def page() -> None:
    """Draw the view."""
    source, chosen = shown()
    scope = chosen.scope()
    whole = source.overall(scope)
    if not whole.requests:
        states.no_match(chosen.words)
        return
    st.html(lead(words.comparison(whole, chosen.words)))
    found = source.savings(scope)
    earlier = chosen.previous()
    before = None if earlier is None else source.overall(earlier.scope())
    _figures(whole, found, before)
    for note in filter(None, (words.left_out(whole), _estimates(whole))):
        st.caption(plain(note))
    _causes(found)
    actions = source.grouped("action", scope)
    left, right = st.columns([1, 1], gap="large")
    with left:
        st.subheader("By action", help=words.actions_help())
        st.html(legend("paid", "tokenmaxxed"))
        st.altair_chart(charts.by_group(actions, "action"), key="chart-action")
    with right:
        st.subheader("By day", help=f"Days begin at midnight in {source.zone.key}.")
        st.html(legend("paid", "tokenmaxxed"))
        st.altair_chart(charts.by_day(source.daily(scope)), key="chart-day")
    tables.show(table_of(actions), "by-action")


def against(now: int, before: int) -> str | None:
    """``12.5% more than over as many days before``; None where nothing was paid then."""
    if not before:
        return None
    if now == before:
        return "as much as over as many days before"
    word = "more" if now > before else "less"
    return f"{percent(abs(now - before), before)} {word} than over as many days before"


def _figures(whole: Row, found: Report, before: Row | None) -> None:
    tokenmaxxed, paid, saved = st.columns(3, gap="medium")
    with tokenmaxxed.container(key="figure-tokenmaxxed"):
        st.metric("Tokenmaxxed", money(known_baseline(whole)), help=_TOKENMAXXED)
        if whole.infeasible:
            st.caption(f"of {whole.requests - whole.infeasible:,} of {whole.requests:,} requests")
    with paid.container(key="figure-paid"):
        st.metric("Paid", money(whole.cost_nano), help=_PAID)
        if whole.infeasible:
            st.caption(plain(f"of which {money(whole.compared_nano)} is compared"))
        said = None if before is None else against(whole.cost_nano, before.cost_nano)
        if said is not None:
            st.caption(said)
    with saved.container(key="figure-saved"):
        st.metric("Saved", percent(whole.saved_nano, whole.baseline_nano), help=_SAVED)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            _badge(found)
            st.markdown(plain(money(whole.saved_nano)), width="content")


def _badge(found: Report) -> None:
    """Measured or estimated, and the interval where there is one."""
    savings = found.savings
    measured = savings.badge is Badge.MEASURED
    st.badge(
        savings.badge.value,
        color="green" if measured else "orange",
        help=_ESTIMATED if not savings.holdout_sessions else plain(in_words(found)),
    )
    if savings.low_nano is not None and savings.high_nano is not None:
        low, high = money(savings.low_nano), money(savings.high_nano)
        st.caption(plain(f"routed: {low} to {high}"), help=_INTERVAL)


def _causes(found: Report) -> None:
    """What took each part of the tokenmaxxed cost away, of what was routed."""
    if not found.causes.tokenmaxxed_nano:
        return
    st.subheader("What saved it", help=_CAUSES)
    st.caption(plain(in_words(found)))
    st.altair_chart(charts.waterfall(found.waterfall()), key="chart-causes")


def _estimates(whole: Row) -> str | None:
    if not whole.estimated:
        return None
    return (
        f"{whole.estimated:,} of {whole.requests:,} receipts rest on estimated token counts, since "
        f"the provider reported none."
    )


if __name__ == "__main__":
    page()

"""Compare: what was paid against what it would have cost tokenmaxxed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from billing.reports import Row
from billing.savings import Badge
from billing.savings_report import ROUTED, Report, in_words
from dashboard import charts, charts_time, downloads, states, tables, words
from dashboard.data import Source
from dashboard.filters import Filters
from dashboard.format import money, percent, plain, retold
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
_MEASURED = (
    "On routed sessions, corrected by what the sessions held out really cost. Tokenmaxxed beside "
    "it is as computed, of all requests."
)
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
_BAND = (
    "On routed sessions: tokenmaxxed, corrected by the holdout, less paid. The band is the 95% "
    "interval of each day, taking its sessions to be like those of the whole range; without a "
    "holdout there is none."
)
_FEWEST_DAYS = 2
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
    said = st.empty()
    said.html(lead(words.comparison(whole, chosen.words)))
    # What is asked slowly is drawn last, into the place that was kept for it.
    later = _figures(whole)
    for note in filter(None, (words.left_out(whole), _estimates(whole))):
        st.caption(plain(note))
    causes = st.container()
    actions, days = source.grouped("action", scope), source.daily(scope)
    left, right = st.columns([1, 1], gap="large")
    with left:
        st.subheader("By action", help=words.actions_help())
        st.html(legend("paid", "tokenmaxxed"))
        st.altair_chart(charts.by_group(actions, "action"), key="chart-action")
    with right:
        st.subheader("By day", help=f"Days begin at midnight in {source.zone.key}.")
        st.html(legend("paid", "tokenmaxxed"))
        st.altair_chart(charts.by_day(days), key="chart-day")
    trend = st.container()
    tables.show(table_of(actions), "by-action", lines=downloads.focus_of(source, scope))
    _before(later.before, source, chosen, whole)
    found = source.savings(scope)
    if found.savings.badge is Badge.MEASURED:
        said.html(lead(f"{words.comparison(whole, chosen.words)} {words.measured(found.savings)}"))
        later.share.metric("Saved", f"{found.savings.share:.1%}", help=_MEASURED)
    with later.badge.container():
        _badge(found, whole)
    with causes:
        _causes(found)
    with trend:
        _trend(found, source.daily(replace(scope, also=(*scope.also, ("arm", ROUTED)))))


def against(now: int, before: int) -> str | None:
    """``12.5% more than over as many days before``; None where nothing was paid then."""
    if not before:
        return None
    if now == before:
        return "as much as over as many days before"
    word = "more" if now > before else "less"
    return f"{percent(abs(now - before), before)} {word} than over as many days before"


@dataclass(frozen=True, slots=True)
class _Later:
    """Places kept for what is known later than the big figures."""

    before: DeltaGenerator
    share: DeltaGenerator
    badge: DeltaGenerator


def _figures(whole: Row) -> _Later:
    tokenmaxxed, paid, saved = st.columns(3, gap="medium")
    with tokenmaxxed.container(key="figure-tokenmaxxed"):
        st.metric("Tokenmaxxed", money(known_baseline(whole)), help=_TOKENMAXXED)
        if whole.infeasible:
            st.caption(f"of {whole.requests - whole.infeasible:,} of {whole.requests:,} requests")
    with paid.container(key="figure-paid"):
        st.metric("Paid", money(whole.cost_nano), help=_PAID)
        if whole.infeasible:
            st.caption(plain(f"of which {money(whole.compared_nano)} is compared"))
        before = st.empty()
    with saved.container(key="figure-saved"):
        share, badge = st.empty(), st.empty()
        share.metric("Saved", percent(whole.saved_nano, whole.baseline_nano), help=_SAVED)
        badge.caption("comparing with the sessions held out")
    return _Later(before, share, badge)


def _before(place: DeltaGenerator, source: Source, chosen: Filters, whole: Row) -> None:
    """What was paid over as many days before, where the period has a beginning."""
    earlier = chosen.previous()
    if earlier is None:
        return
    said = against(whole.cost_nano, source.overall(earlier.scope()).cost_nano)
    if said is not None:
        place.caption(said)


def _badge(found: Report, whole: Row) -> None:
    """Measured or estimated, and the interval where there is one."""
    savings = found.savings
    measured = savings.badge is Badge.MEASURED
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(
            savings.badge.value,
            color="green" if measured else "orange",
            help=_ESTIMATED if not savings.holdout_sessions else plain(retold(in_words(found))),
        )
        amount = savings.saved_nano if measured else whole.saved_nano
        st.markdown(plain(money(amount)), width="content")
    if savings.low_nano is not None and savings.high_nano is not None:
        low, high = money(savings.low_nano), money(savings.high_nano)
        st.caption(plain(f"routed: {low} to {high}"), help=_INTERVAL)


def _causes(found: Report) -> None:
    """What took each part of the tokenmaxxed cost away, of what was routed."""
    if not found.causes.tokenmaxxed_nano:
        return
    st.subheader("What saved it", help=_CAUSES)
    st.caption(plain(retold(in_words(found))))
    st.altair_chart(charts.waterfall(found.waterfall()), key="chart-causes")


def _trend(found: Report, routed: Sequence[tuple[date, Row]]) -> None:
    """The saving on routed sessions day by day, with its interval where there is one."""
    if len(routed) < _FEWEST_DAYS:
        return
    st.subheader("Saved, day by day", help=_BAND)
    st.altair_chart(charts_time.saved(routed, found.savings), key="chart-trend")


def _estimates(whole: Row) -> str | None:
    if not whole.estimated:
        return None
    return (
        f"{whole.estimated:,} of {whole.requests:,} receipts rest on estimated token counts, since "
        f"the provider reported none."
    )


if __name__ == "__main__":
    page()

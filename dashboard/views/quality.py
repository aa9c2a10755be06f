"""Quality: whether what was saved was bought with worse answers; routed against held out."""

from __future__ import annotations

from math import sqrt

import streamlit as st

from billing.reports import TaskRow
from billing.savings_report import Report
from billing.signals import READ, Signals
from dashboard import charts_quality, states, tables
from dashboard.format import count, money
from dashboard.shown import shown
from dashboard.tables import Column, Table
from dashboard.theme import lead

_Z = 1.96
ARMS = {
    "routed": "Routed",
    "holdout": "Held out",
    "observe": "Observed",
    "mixed": "Several arms",
}
_CLEAN = (
    "Savings are clean where the routed success rate is at most the policy's delta below that of "
    "the sessions held out."
)
_POST = """\
curl http://127.0.0.1:8080/weir/outcomes \\
  -H "Authorization: Bearer $WEIR_KEY" -H "Content-Type: application/json" \\
  -d '{"task": "ticket-4711", "outcome": "accepted"}'
"""
_AGAIN = (
    f"Of the newest {READ:,} requests that the filters show: answers whose next turn asked the "
    "same again or had them made anew, and requests that a stronger model took over after a "
    "fault. With 95% intervals (Wilson)."
)
_SIGNALS = {
    "arm": Column("Arm"),
    "requests": Column("Requests", "count"),
    "judged": Column("Answers judged", "count", "Those with a next turn that says something."),
    "again": Column("Asked again", "ratio", "Re-asked or regenerated, of the answers judged."),
    "again_low": Column("From", "ratio"),
    "again_high": Column("To", "ratio"),
    "escalated": Column("Gone up a tier", "ratio", "Of the requests."),
    "low": Column("At least", "ratio"),
    "high": Column("At most", "ratio"),
}
_COLUMNS = {
    "arm": Column("Arm", means="Held out: sessions that pass untouched, to measure by."),
    "accepted": Column("Accepted", "count"),
    "rejected": Column("Rejected", "count"),
    "rate": Column("Success", "ratio", "Accepted of the tasks whose outcome is known."),
    "low": Column("From", "ratio", "Lower end of the 95% interval (Wilson)."),
    "high": Column("To", "ratio", "Upper end of the 95% interval (Wilson)."),
    "cost": Column("Cost", "money", "Of these tasks, the rejected ones included."),
    "each": Column("Cost per accepted outcome", "money"),
}


def wilson(accepted: int, known: int) -> tuple[float, float]:
    """The 95% score interval of a rate; (0, 1) where nothing is known."""
    if not known:
        return 0.0, 1.0
    rate, spread = accepted / known, _Z * _Z / known
    middle = (rate + spread / 2) / (1 + spread)
    half = _Z * sqrt((rate * (1 - rate) + spread / 4) / known) / (1 + spread)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def table_of(rows: tuple[TaskRow, ...]) -> Table:
    """Tasks by arm as a table."""
    records = []
    for row in rows:
        low, high = wilson(row.accepted, row.accepted + row.rejected)
        records.append(
            {
                "arm": ARMS.get(row.arm, row.arm),
                "accepted": row.accepted,
                "rejected": row.rejected,
                "rate": row.success_rate,
                "low": low,
                "high": high,
                "cost": row.cost_nano,
                "each": row.nano_per_accepted,
            }
        )
    return Table(_COLUMNS, records)


def in_words(found: Report) -> str:
    """The one sentence of the view."""
    rows = {row.arm: row for row in found.tasks}
    routed, held = rows.get("routed"), rows.get("holdout")
    if routed is None:
        return "No task of a routed session has an outcome yet, so quality is not known."
    said = (
        f"{routed.success_rate:.1%} of "
        f"{count(routed.accepted + routed.rejected, 'routed task')} were accepted"
    )
    if held is None:
        return f"{said}. No task of a session held out has an outcome, so nothing compares."
    said += (
        f", against {held.success_rate:.1%} of "
        f"{count(held.accepted + held.rejected, 'task')} held out"
    )
    if routed.nano_per_accepted is not None and held.nano_per_accepted is not None:
        said += (
            f"; an accepted outcome cost {money(routed.nano_per_accepted)} routed and "
            f"{money(held.nano_per_accepted)} held out"
        )
    verdict = {True: "The savings are clean.", False: "The savings are NOT clean.", None: ""}
    return f"{said}. {verdict[found.clean.clean]}".strip()


def page() -> None:
    """Draw the view."""
    source, chosen = shown()
    whole = source.overall(chosen.scope())
    if not whole.requests:
        states.no_match(chosen.words)
        return
    said, success = st.empty(), st.container()
    said.html(lead(f"{count(whole.requests, 'request')} {chosen.words}."))
    _signals(source.signals(chosen.scope()))
    found = source.savings(chosen.scope())
    said.html(lead(in_words(found)))
    with success:
        if not found.tasks:
            _how()
            return
        st.subheader("Success by arm", help=_CLEAN)
        st.altair_chart(charts_quality.rates(table_of(found.tasks).records), key="chart-rates")
        tables.show(table_of(found.tasks), "quality")


def signals_of(rows: list[Signals]) -> Table:
    """What was asked again and what went up a tier, by arm, as a table."""
    records = []
    for row in rows:
        again_low, again_high = wilson(row.again, row.judged)
        low, high = wilson(row.escalated, row.requests)
        records.append(
            {
                "arm": ARMS.get(row.arm, row.arm),
                "requests": row.requests,
                "judged": row.judged,
                "again": row.again / row.judged if row.judged else None,
                "again_low": again_low if row.judged else None,
                "again_high": again_high if row.judged else None,
                "escalated": row.escalated / row.requests if row.requests else None,
                "low": low,
                "high": high,
            }
        )
    return Table(_SIGNALS, records)


def in_signals(rows: list[Signals]) -> str:
    """What was asked again, in a sentence; it is known before the outcomes are."""
    read = sum(row.requests for row in rows)
    again, judged = sum(row.again for row in rows), sum(row.judged for row in rows)
    up = count(sum(row.escalated for row in rows), "request")
    said = f"Of the newest {count(read, 'request')}, {up} went up a tier"
    if not judged:
        return f"{said}; no answer had a next turn that says anything of it."
    return f"{said}; {again:,} of {count(judged, 'answer')} were asked again."


def _signals(rows: list[Signals]) -> None:
    st.subheader("Asked again, gone up", help=_AGAIN)
    st.caption(in_signals(rows))
    judged = [row for row in rows if row.judged]
    if judged:
        values = [
            {"arm": ARMS.get(row.arm, row.arm), "rate": row.again / row.judged, "low": low,
             "high": high, "part": row.again, "of": row.judged}
            for row in judged
            for low, high in [wilson(row.again, row.judged)]
        ]  # fmt: skip
        st.altair_chart(charts_quality.shares(values), key="chart-again")
    tables.show(signals_of(rows), "signals")


def _how() -> None:
    with st.container(border=True, key="state-no-outcomes"):
        st.subheader("No outcomes yet")
        st.markdown(
            "Tell the gateway what became of a task, and success stands beside cost. A task is "
            "named by the header `x-weir-task`; without one it is the session:"
        )
        st.code(_POST, language="bash")


if __name__ == "__main__":
    page()

"""The part of the Playground that replays past traffic under an edited policy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import streamlit as st

from billing.money import nano
from billing.policy_schema import Role
from dashboard import tables
from dashboard.data import Source
from dashboard.format import count, money, percent, plain
from dashboard.replaying import MOST, PERIODS, CannotReplay, replay
from dashboard.tables import Column, Table
from dashboard.theme import lead

_COMMAND = "weir policy replay 30d --config edited.yaml --ledger sqlite:///weir.db"
_SUMS = {
    "name": Column("Group"),
    "requests": Column("Requests", "count"),
    "paid": Column("Paid", "money"),
    "would": Column("Would pay", "money"),
    "difference": Column("Difference", "money", "Negative: the edited policy is cheaper."),
}
_EXAMPLE = "holdout: 0%\nfit:\n  allow: [lossless]\n"


def show(source: Source) -> None:
    """Draw it; who may not run it is shown the command."""
    st.subheader("Another policy on past traffic")
    config = os.environ.get("WEIR_CONFIG")
    if not config or source.viewer.role is not Role.ADMIN:
        st.markdown("What last weeks' requests would have cost under an edited policy:")
        st.code(_COMMAND, language="bash")
        return
    with st.form("replay", border=False):
        over = st.text_area(
            "What is to differ, as in weir.yaml", height=140, placeholder=_EXAMPLE,
            help="These sections are written over a copy of the policy in force.",
        )  # fmt: skip
        period = st.selectbox(
            "Of", list(PERIODS), help=f"At most {MOST:,} requests, the oldest of this time first."
        )
        asked = st.form_submit_button("Replay", type="primary")
    if not asked:
        return
    try:
        with st.spinner("Replaying"):
            said = replay(config, source.url, over, PERIODS[str(period)])
    except CannotReplay as error:
        st.error(plain(str(error)), icon=":material/report:")
        return
    _outcome(said)


def in_words(said: Mapping[str, Any]) -> str:
    """The one sentence of a replay."""
    total = said["total"]
    paid, would = nano(total["paid_usd"]), nano(total["would_pay_usd"])
    if not said["replayed"]:
        return "No request of this time has a record that can be replayed."
    text = (
        f"{count(said['replayed'], 'request')} that cost {money(paid)} would have cost "
        f"{money(would)} under the edited policy"
    )
    if paid:
        word = "less" if would <= paid else "more"
        text += f", {percent(abs(would - paid), paid)} {word}"
    same = said["same_plan"]
    return f"{text}. {same:,} of them would have been served the same way."


def sums_of(groups: Mapping[str, Mapping[str, Any]]) -> Table:
    """Groups of a replay as a table, what changes most first."""
    records = [
        {
            "name": name,
            "requests": row["requests"],
            "paid": nano(row["paid_usd"]),
            "would": nano(row["would_pay_usd"]),
            "difference": nano(row["difference_usd"]),
        }
        for name, row in groups.items()
    ]
    return Table(_SUMS, sorted(records, key=lambda one: -abs(one["difference"])))


def _outcome(said: Mapping[str, Any]) -> None:
    st.html(lead(in_words(said)))
    left = [
        f"{said[name]:,} {what}"
        for name, what in (
            ("unrecorded", "without a record to replay"),
            ("unpriced", "of unknown cost, left out of the sums"),
        )
        if said[name]
    ]
    if left:
        st.caption("; ".join(left) + ".")
    for title, name in (("By action", "by_action"), ("What changes", "changes"),
                        ("By team", "by_team"), ("Refused", "refusals")):  # fmt: skip
        if said[name]:
            st.markdown(f"**{title}**")
            tables.show(sums_of(said[name]), f"replay-{name.replace('_', '-')}")

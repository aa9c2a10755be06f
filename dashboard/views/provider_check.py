"""Reconcile: the provider's own export against the ledger, account by account, day by day."""

from __future__ import annotations

import streamlit as st

from billing.booking import Question
from billing.chargeback import Reconciled
from billing.money import nano
from billing.provider_exports import ExportInvalid, read_export
from billing.reconcile import Delta, accounts_of
from dashboard import data, tables
from dashboard.data import Source
from dashboard.format import count, money, plain
from dashboard.shown import shown
from dashboard.tables import Column, Table
from dashboard.theme import lead

_TOLERANCE = nano("0.01")
_NOTE = (
    "A cost or usage export of OpenAI or Anthropic, as JSON or CSV, or any CSV with the columns "
    "day, account and cost_usd. The file is compared here and kept nowhere."
)
_DELTAS = {
    "account": Column("Account"),
    "day": Column("Day, UTC"),
    "requests": Column("Requests", "count"),
    "ours": Column("Ledger", "money"),
    "theirs": Column("Provider", "money"),
    "delta": Column("Provider less ledger", "money", "Positive: the provider bills more."),
    "verdict": Column("Verdict", means="Agrees where the difference is at most a cent."),
    "reasons": Column("Why", width="large"),
}
_DONE = {
    "at": Column("Booked", "when"),
    "account": Column("Account"),
    "day": Column("Day, UTC"),
    "ours": Column("Ledger before", "money"),
    "theirs": Column("Provider", "money"),
    "booked": Column("Booked", "money"),
    "reasons": Column("Why", width="large"),
}


def deltas_of(found: list[Delta]) -> Table:
    """Compared days as a table."""
    return Table(
        _DELTAS,
        [
            {
                "account": delta.account,
                "day": delta.day.isoformat(),
                "requests": delta.ours.requests,
                "ours": delta.ours.cost_nano,
                "theirs": delta.theirs_nano,
                "delta": delta.delta_nano,
                "verdict": "agrees" if delta.agrees else "differs",
                "reasons": "; ".join(reason.said for reason in delta.reasons),
            }
            for delta in found
        ],
    )


def done_of(rows: list[Reconciled], source: Source) -> Table:
    """What was booked before as a table."""
    return Table(
        _DONE,
        [
            {
                "at": row.at.astimezone(source.zone).replace(tzinfo=None),
                "account": row.account,
                "day": row.day,
                "ours": row.ours_nano,
                "theirs": row.theirs_nano,
                "booked": row.booked_nano,
                "reasons": "; ".join(row.reasons),
            }
            for row in rows
        ],
    )


def in_words(found: list[Delta]) -> str:
    """The one sentence of a comparison."""
    if not found:
        return "No day of this export is over yet, so there is nothing to compare."
    agree = sum(delta.agrees for delta in found)
    said = f"{agree} of {count(len(found), 'account day')} agree"
    known = [delta.delta_nano for delta in found if delta.delta_nano is not None]
    if not known:
        return f"{said}; the export names no cost, so tokens alone were compared."
    total = sum(known)
    if not total:
        return f"{said}, to the nano-dollar."
    word = "more" if total > 0 else "less"
    return f"{said}; in all the provider bills {money(abs(total))} {word} than the ledger has."


def page() -> None:
    """Draw the view."""
    source, _ = shown()
    accounts = source.labels("upstream")
    st.markdown(
        "Drop the provider's own cost or usage export: it is compared with the ledger by account "
        "and UTC day, and every difference is explained."
    )
    left, right = st.columns([3, 1])
    with left:
        file = st.file_uploader("The provider's export", type=["csv", "json"], help=_NOTE)
    with right:
        account = st.selectbox(
            "Account", ["As the file says", *accounts],
            help="Name it where the file does not, or where several could be meant.",
        )  # fmt: skip
    if file is not None:
        chosen = None if account == "As the file says" else str(account)
        _compare(source, file.getvalue(), chosen, accounts)
    _before(source)


def _compare(source: Source, raw: bytes, account: str | None, accounts: list[str]) -> None:
    try:
        export = read_export(raw)
        asked = account or _only(export.kind, accounts)
        wanted = tuple(accounts_of(export, asked, dict.fromkeys(accounts, export.kind)))
    except (ExportInvalid, ValueError) as error:
        said = str(error).replace("name it with --account", "choose it on the right")
        st.error(plain(said), icon=":material/rule:")
        return
    found = source.compare(Question(export, wanted, _TOLERANCE, data.clock()))
    st.html(lead(in_words(found)))
    if not found:
        return
    tables.show(deltas_of(found), "reconcile")
    if any(not delta.agrees for delta in found):
        st.markdown("To book what differs, as reversing and correcting lines:")
        st.code("weir reconcile EXPORT --book", language="bash")


def _only(kind: str, accounts: list[str]) -> str | None:
    """The account that bears the provider's own name, if there is one."""
    return kind if kind in accounts else None


def _before(source: Source) -> None:
    st.subheader("Reconciled before")
    rows = source.reconciliations()
    if not rows:
        st.caption("No day has been booked against a provider's word yet.")
        return
    tables.show(done_of(rows, source), "reconciled")


if __name__ == "__main__":
    page()

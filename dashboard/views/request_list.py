"""Requests: every request in scope, and the receipt of the one that is picked."""

from __future__ import annotations

from dataclasses import replace
from zoneinfo import ZoneInfo

import streamlit as st

from billing.browse import Entry
from billing.reports import Scope
from dashboard import detail, downloads, filters, states, tables
from dashboard.data import LISTED, Source
from dashboard.format import count, moment, plain
from dashboard.shown import shown
from dashboard.tables import Column, Table
from dashboard.theme import lead

_COLUMNS = {
    "at": Column("When", "when"),
    "who": Column("Who", means="Team and key."),
    "requested_model": Column("Asked"),
    "served_model": Column("Served by"),
    "action": Column("Action"),
    "paid": Column("Paid", "money"),
    "tokenmaxxed": Column("Tokenmaxxed", "money", "Empty where it is not known."),
    "original_prompt_tokens": Column("Asked tokens", "count", "Prompt tokens as received."),
    "sent_prompt_tokens": Column("Sent", "count", "Prompt tokens sent upstream."),
    "completion_tokens": Column("Answer", "count", "Completion tokens, reasoning included."),
    "marks": Column("Marks", means="Failed, estimated usage, provisional, not compared."),
    "request_id": Column("Request", hidden=True),
    "team": Column("Team", hidden=True),
    "project": Column("Project", hidden=True),
    "key": Column("Key", hidden=True),
    "session": Column("Session", hidden=True),
    "status": Column("Status", hidden=True),
}


OK = 200


def table_of(entries: list[Entry], zone: ZoneInfo) -> Table:
    """The requests as a table."""
    return Table(_COLUMNS, [_record(entry, zone) for entry in entries])


def page() -> None:
    """Draw the view."""
    source, chosen = shown()
    scope, text = _narrowed(source, chosen.scope())
    session = _session()
    if session:
        scope = replace(scope, also=(*scope.also, ("session", session)))
    entries = source.listing(scope, text)
    if not entries:
        states.no_match(f"match {chosen.words}" if not text else f"that begin with {text}")
        _linked(source, None)
        return
    total = len(entries) if text or session else source.overall(scope).requests
    newest = f", the newest {LISTED:,} shown" if total > len(entries) else ""
    st.html(lead(f"{count(total, 'request')}{newest}. Pick a row to see its receipt."))
    whole = downloads.focus_of(source, scope) if total == len(entries) else None
    picked = tables.show(
        table_of(entries, source.zone), "requests", pick=True, lines=None if text else whole
    )
    _linked(source, None if picked is None else entries[picked].request_id)


def _narrowed(source: Source, scope: Scope) -> tuple[Scope, str]:
    """The scope with this view's own filters, and the text to search for."""
    left, right = st.columns([2, 4], vertical_alignment="bottom")
    with left:
        action = filters.choice("action", "Action", source.labels("action"))
    with right:
        text = st.text_input(
            "Begins with", key="q", bind="query-params", icon=":material/search:",
            placeholder="request id, session, task or key",
        )  # fmt: skip
    if action is not None:
        scope = replace(scope, also=(*scope.also, ("action", action)))
    return scope, (text or "").strip()


def _session() -> str | None:
    """The session that the URL names, with the way out of it."""
    session = st.query_params.get("session")
    if session:
        st.button(
            f"session: {session}", icon=":material/close:", key="path-session",
            help="Show every session again.", on_click=_every_session,
        )  # fmt: skip
    return session


def _every_session() -> None:
    st.query_params.pop("session", None)


def _linked(source: Source, picked: str | None) -> None:
    """The receipt picked, or the one that the URL names; the URL follows the pick."""
    if picked is not None:
        st.query_params["request"] = picked
    wanted = picked or st.query_params.get("request")
    if not wanted:
        return
    receipt = source.receipt(wanted)
    if receipt is None:
        st.warning(
            plain(f"There is no receipt {wanted} in this ledger."), icon=":material/search_off:"
        )
        return
    with st.container(border=True, key="receipt"):
        detail.show(receipt, source.zone, source.original(receipt))


def _record(entry: Entry, zone: ZoneInfo) -> dict[str, object]:
    base = entry.baseline_nano
    marks = (
        (f"status {entry.status}", entry.status != OK),
        ("estimated", entry.usage_source == "estimated"),
        (entry.state, entry.state != "settled"),
        ("not compared", base is None),
        (entry.arm, entry.arm != "routed"),
    )
    return {
        "at": moment(entry.posted_ms, zone),
        "who": f"{entry.team}/{entry.key}",
        "requested_model": entry.requested_model,
        "served_model": entry.served_model,
        "action": entry.action,
        "paid": entry.cost_nano,
        "tokenmaxxed": base,
        "original_prompt_tokens": entry.original_prompt_tokens,
        "sent_prompt_tokens": entry.sent_prompt_tokens,
        "completion_tokens": entry.completion_tokens,
        "marks": ", ".join(name for name, on in marks if on),
        "request_id": entry.request_id,
        "team": entry.team,
        "project": entry.project or "",
        "key": entry.key,
        "session": entry.session or "",
        "status": str(entry.status),
    }


if __name__ == "__main__":
    page()

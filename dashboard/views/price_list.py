"""Prices & policy: what is in force, what changes soon, what two sources disagree about."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import streamlit as st

from billing.versions import History
from dashboard import tables
from dashboard.format import count, plain
from dashboard.known import Card, Finding, Known, known
from dashboard.shown import shown
from dashboard.tables import Column, Table
from dashboard.theme import lead

_FINDINGS = {
    "look": Column("", means="Look at it, or only to know."),
    "kind": Column("Kind"),
    "subject": Column("Model"),
    "text": Column("What", width="large"),
}
_PARTS = {
    "Coming price changes": ("changes", "expires", "step"),
    "Drift between two sources": ("drift", "one-source"),
    "Other findings": ("unpriced", "undeclared", "booked", "expired"),
}
_SHORT = 19
_VERSIONS = {
    "policy": Column("Policy"),
    "since": Column("From", "when"),
    "until": Column("To", "when"),
    "receipts": Column("Receipts", "count"),
    "prices": Column("Prices"),
    "catalog": Column("Catalog"),
}
_SHOWN = ("input", "cache_read", "cache_write", "output")
_USD = "USD per million tokens, as in force when the dashboard was started."


def rates_of(cards: tuple[Card, ...]) -> Table:
    """The rates in force as a table; what is above a cliff stands beside."""
    columns = {
        "model": Column("Model"),
        "upstream": Column("Account"),
        "served_as": Column("Served as"),
        **{name: Column(name.replace("_", " ").capitalize(), means=_USD) for name in _SHOWN},
        "more": Column("Further rates", width="large", means="Cliffs, TTLs, tools, media."),
    }
    return Table(columns, [_rates(card) for card in cards])


def findings_of(findings: tuple[Finding, ...]) -> Table:
    """What was found about the prices as a table."""
    return Table(
        _FINDINGS,
        [
            {
                "look": "look" if one.look else "to know",
                "kind": one.kind,
                "subject": one.subject,
                "text": one.text,
            }
            for one in findings
        ],
    )


def in_words(said: Known) -> str:
    """The one sentence of the view."""
    look = sum(one.look for one in said.findings)
    without = [card.model for card in said.cards if not card.rates and not card.free]
    text = f"{count(len(said.cards), 'model')} declared"
    if without:
        text += f", {len(without)} without a price: {', '.join(without)}"
    if not look:
        return f"{text}. Nothing about the prices wants a look."
    return f"{text}. {count(look, 'finding')} want{'s' if look == 1 else ''} a look."


def page() -> None:
    """Draw the view."""
    said = known()
    if said is None:
        st.info("Prices are known when the dashboard is started by `weir dashboard`.")
        return
    st.html(lead(in_words(said)))
    for title, kinds in _PARTS.items():
        found = tuple(one for one in said.findings if one.kind in kinds)
        if found:
            st.subheader(title, help="As of the start; `weir prices check` looks again.")
            tables.show(findings_of(found), title.lower().replace(" ", "-"))
    st.subheader("In force", help=_USD)
    tables.show(rates_of(said.cards), "prices")
    _versions()
    st.subheader("In force now", help="The same hashes stand on each receipt.")
    st.caption(plain(f"As of {said.made}"))
    st.code("\n".join(f"{name:8} {hash_}" for name, hash_ in said.hashes.items()), language=None)


def versions_of(found: History, zone: ZoneInfo) -> Table:
    """Which policy was in force when, as a table."""
    return Table(
        _VERSIONS,
        [
            {
                "policy": one.policy[:_SHORT] or "(none)",
                "since": one.since.astimezone(zone).replace(tzinfo=None),
                "until": one.until.astimezone(zone).replace(tzinfo=None),
                "receipts": one.receipts,
                "prices": one.prices[:_SHORT],
                "catalog": one.catalog[:_SHORT],
            }
            for one in found.versions
        ],
    )


def _versions() -> None:
    source, _ = shown()
    found = source.versions()
    if not found.versions:
        return
    st.subheader("Policy versions", help="Read from the hashes on receipts.")
    if found.step > 1:
        st.caption(f"One receipt in {found.step:,} was looked at; what was shorter may be missing.")
    tables.show(versions_of(found, source.zone), "versions")


def _rates(card: Card) -> dict[str, object]:
    more = {name: rate for name, rate in card.rates.items() if name not in _SHOWN}
    return {
        "model": card.model,
        "upstream": card.upstream,
        "served_as": card.served_as,
        **{name: card.rates.get(name, "free" if card.free else "") for name in _SHOWN},
        "more": ", ".join(f"{name.replace('_', ' ')} {rate}" for name, rate in more.items()),
    }


if __name__ == "__main__":
    page()

"""Prices & policy: what is in force, what changes soon, what two sources disagree about."""

from __future__ import annotations

import streamlit as st

from dashboard import tables
from dashboard.format import count, plain
from dashboard.known import Card, Finding, Known, known
from dashboard.tables import Column, Table
from dashboard.theme import lead

_FINDINGS = {
    "look": Column("", means="Look at it, or only to know."),
    "kind": Column("Kind"),
    "subject": Column("Model"),
    "text": Column("What", width="large"),
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
    if said.findings:
        st.subheader("Findings", help="As of the start; `weir prices check` looks again.")
        tables.show(findings_of(said.findings), "findings")
    st.subheader("In force", help=_USD)
    tables.show(rates_of(said.cards), "prices")
    st.subheader("Which policy", help="The same hashes stand on each receipt.")
    st.caption(plain(f"As of {said.made}"))
    st.code("\n".join(f"{name:8} {hash_}" for name, hash_ in said.hashes.items()), language=None)


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

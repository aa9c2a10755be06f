"""Models & effective context: how far each model reads well, and what a useful token costs."""

from __future__ import annotations

import streamlit as st

from billing.reports import Row
from dashboard import charts_models, downloads, states, tables
from dashboard.format import count, money, percent
from dashboard.known import KINDS, Card, known
from dashboard.shown import shown
from dashboard.tables import Column, Table
from dashboard.theme import lead

_KINDS = {
    "literal": "Up to here it finds what is quoted or named by an identifier.",
    "semantic": "Up to here it finds an answer that is worded otherwise than the question.",
    "multi": "Up to here it gathers several places: to count, to compare, to sum up.",
}
_CARDS = {
    "model": Column("Model"),
    "tier": Column("Tier"),
    "window": Column("Window", "count", "The provider's limit of prompt and answer together."),
    **{kind: Column(kind.capitalize(), "count", said) for kind, said in _KINDS.items()},
    "confidence": Column("Founded on", means="The best-founded of the lengths."),
    "source": Column("Source", width="large"),
}
_USE = {
    "model": Column("Served by"),
    "requests": Column("Requests", "count"),
    "paid": Column("Paid", "money"),
    "effective_tokens": Column(
        "Effective tokens", "count", "Prompt up to the effective context, plus the answer."
    ),
    "per_effective": Column(
        "Per million effective tokens", "money", "Cost of a million tokens that could help."
    ),
    "waste": Column("Waste", "money", "Paid for prompt beyond the effective context."),
    "share": Column("Waste of paid", "ratio"),
}
_ORDER = ("probed", "configured", "primary", "derived", "secondary")
NOT_RATED = "not rated"


def cards_of(cards: tuple[Card, ...]) -> Table:
    """What is known of each model as a table."""
    return Table(_CARDS, [_record(card) for card in cards])


def use_of(rows: list[Row]) -> Table:
    """What each model cost, by what of it could help."""
    return Table(
        _USE,
        [
            {
                "model": row.label or "(none)",
                "requests": row.requests,
                "paid": row.cost_nano,
                "effective_tokens": row.effective_tokens,
                "per_effective": row.nano_per_effective_mtok,
                "waste": row.waste_nano,
                "share": row.waste_nano / row.cost_nano if row.cost_nano else None,
            }
            for row in rows
        ],
    )


def in_words(rows: list[Row]) -> str:
    """The one sentence of the view."""
    paid, waste = sum(row.cost_nano for row in rows), sum(row.waste_nano for row in rows)
    said = f"{count(len(rows), 'model')} answered for {money(paid)}"
    if not waste:
        return f"{said}; nothing was paid for prompt beyond what they read well."
    return (
        f"{said}; {money(waste)} of it ({percent(waste, paid)}) paid for prompt beyond the "
        f"effective context."
    )


def page() -> None:
    """Draw the view."""
    source, chosen = shown()
    rows = source.grouped("model", chosen.scope())
    if rows:
        st.html(lead(in_words(rows)))
        tables.show(use_of(rows), "models", lines=downloads.focus_of(source, chosen.scope()))
    else:
        states.no_match(chosen.words)
    st.subheader(
        "Effective context", help="The length up to which accuracy stays within 5% of its peak."
    )
    said = known()
    if said is None or not said.cards:
        st.info("Cards are known when the dashboard is started by `weir dashboard`.")
        return
    st.altair_chart(charts_models.lengths(said.cards), key="chart-lengths")
    tables.show(cards_of(said.cards), "cards")
    _curves(said.cards)
    st.caption("A length that was never measured is not rated: it is never the window.")
    st.markdown("Measure one of your own, with an estimate of the cost before it spends anything:")
    st.code(f"weir probe {said.cards[0].model}", language="bash")


def _curves(cards: tuple[Card, ...]) -> None:
    """The curve of each model that was probed with the operator's own probe."""
    probed = [card for card in cards if card.curves]
    if not probed:
        return
    st.subheader("Right answers by length", help="From the cards that `weir probe` wrote.")
    names = [card.model for card in probed]
    name = st.selectbox("Model probed", names, key="probed", bind="query-params") or names[0]
    card = probed[names.index(str(name))]
    st.altair_chart(charts_models.curves(card), key="chart-curve")


def _record(card: Card) -> dict[str, object]:
    best = min(
        card.measured.values(),
        key=lambda one: (
            _ORDER.index(str(one["confidence"])) if one["confidence"] in _ORDER else len(_ORDER)
        ),
        default=None,
    )
    where = "" if best is None else ", ".join(filter(None, (best["source"], best["date"])))
    return {
        "model": card.model,
        "tier": card.tier,
        "window": card.window,
        **{kind: card.lengths[kind] for kind in KINDS},
        "confidence": NOT_RATED if best is None else best["confidence"],
        "source": where,
    }


if __name__ == "__main__":
    page()

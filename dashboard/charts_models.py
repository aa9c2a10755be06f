"""Effective context as a chart: how little of a window is read well. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from dashboard.charts import plain_chart
from dashboard.known import KINDS, Card
from dashboard.theme import BUDGET, EARLIER, PAID, SAVES

_ROW, _AXIS = 40, 52
COLOURS = {"literal": SAVES, "semantic": PAID, "multi": BUDGET}


def lengths(cards: Sequence[Card]) -> alt.LayerChart:
    """A grey bar a window and a dot a measured length, on a logarithmic scale of tokens."""
    shown = [card for card in cards if card.window]
    windows = [{"model": card.model, "from": 512, "to": card.window} for card in shown]
    dots = [
        {
            "model": card.model,
            "kind": kind,
            "tokens": card.lengths[kind],
            "said": f"{card.lengths[kind]:,} tokens",
        }
        for card in shown
        for kind in KINDS
        if card.lengths[kind]
    ]
    axis = alt.Axis(
        format="~s", title="tokens", values=[1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000]
    )
    scale = alt.Scale(type="log", domainMin=512)
    names = alt.Y("model:N", sort=None, title=None, axis=alt.Axis(labelLimit=220, ticks=False))
    bars = (
        alt.Chart(alt.InlineData(values=windows))
        .mark_bar(color=EARLIER, opacity=0.3, height=12)
        .encode(y=names, x=alt.X("from:Q", scale=scale, axis=axis), x2="to:Q")
    )
    points = (
        alt.Chart(alt.InlineData(values=dots))
        .mark_point(filled=True, size=130, opacity=1)
        .encode(
            y=names,
            x=alt.X("tokens:Q", scale=scale, axis=axis),
            color=alt.Color(
                "kind:N",
                scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())),
                legend=alt.Legend(orient="top", title=None),
            ),
            tooltip=[
                alt.Tooltip("model:N"), alt.Tooltip("kind:N"), alt.Tooltip("said:N", title="up to"),
            ],
        )
    )  # fmt: skip
    return plain_chart(
        [bars, points], height=max(len(shown), 1) * _ROW + _AXIS, description=_described(shown)
    )


def _described(cards: Sequence[Card]) -> str:
    parts = []
    for card in cards:
        rated = [f"{kind} {card.lengths[kind]:,}" for kind in KINDS if card.lengths[kind]]
        parts.append(f"{card.model}: window {card.window:,}, {', '.join(rated) or 'not rated'}")
    return "Effective context in tokens. " + "; ".join(parts)

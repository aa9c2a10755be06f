"""Effective context as a chart: how little of a window is read well. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from dashboard.charts import plain_chart
from dashboard.known import KINDS, Card
from dashboard.theme import BUDGET, EARLIER, PAID, SAVES

_ROW, _AXIS, _LEGEND, _CURVE = 40, 52, 30, 260
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
    names = alt.Y(
        "model:N",
        sort=None,
        title=None,
        axis=alt.Axis(labelLimit=220, ticks=False, labelOverlap=False),
    )
    bars = (
        alt.Chart(alt.InlineData(values=windows))
        .mark_bar(color=EARLIER, opacity=0.3, height=12)
        .encode(y=names, x=alt.X("from:Q", scale=scale, axis=axis), x2="to:Q")
    )
    points = _dots(dots, names, alt.X("tokens:Q", scale=scale, axis=axis))
    return plain_chart(
        [bars, points],
        height=max(len(shown), 1) * _ROW + _AXIS + _LEGEND,
        description=_described(shown),
    )


def _dots(values: list[dict[str, Any]], names: alt.Y, along: alt.X) -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=values))
        .mark_point(filled=True, size=130, opacity=1)
        .encode(
            y=names,
            x=along,
            color=alt.Color(
                "kind:N",
                scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())),
                legend=alt.Legend(orient="top", title=None),
            ),
            tooltip=[
                alt.Tooltip("model:N"),
                alt.Tooltip("kind:N"),
                alt.Tooltip("said:N", title="up to"),
            ],
        )
    )
    return chart


def curves(card: Card) -> alt.LayerChart:
    """How often a model was right by the length of the prompt, with 95% intervals as bands."""
    values = [
        {
            "kind": kind,
            "tokens": point["tokens"],
            "rate": point["right"] / point["asked"] if point["asked"] else None,
            "low": point["low"],
            "high": point["high"],
            "said": f"{point['right']} of {point['asked']} at {point['tokens']:,} tokens",
        }
        for kind, points in card.curves.items()
        for point in points
    ]
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())),
        legend=alt.Legend(orient="top", title=None, symbolOpacity=1),
    )
    along = alt.X(
        "tokens:Q", scale=alt.Scale(type="log"), axis=alt.Axis(format="~s", title="prompt tokens")
    )
    up = alt.Axis(format=".0%", title="right answers")
    base = alt.Chart(alt.InlineData(values=values)).encode(x=along, color=colour)
    share = alt.Scale(domain=[0, 1])
    layers = [
        base.mark_area(opacity=0.2).encode(y=alt.Y("low:Q", axis=up, scale=share), y2="high:Q"),
        base.mark_line(strokeWidth=2).encode(y=alt.Y("rate:Q", axis=up, scale=share)),
        base.mark_point(filled=True, size=60, opacity=1).encode(
            y=alt.Y("rate:Q", axis=up, scale=share),
            tooltip=[alt.Tooltip("kind:N"), alt.Tooltip("said:N", title="right")],
        ),
    ]
    said = "; ".join(f"{one['kind']}: {one['said']}" for one in values)
    return plain_chart(layers, height=_CURVE, description=f"{card.model}. {said}")


def _described(cards: Sequence[Card]) -> str:
    parts = []
    for card in cards:
        rated = [f"{kind} {card.lengths[kind]:,}" for kind in KINDS if card.lengths[kind]]
        parts.append(f"{card.model}: window {card.window:,}, {', '.join(rated) or 'not rated'}")
    return "Effective context in tokens. " + "; ".join(parts)

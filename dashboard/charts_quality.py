"""Rates with their intervals as charts. Pure: records in, charts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from dashboard.charts import plain_chart
from dashboard.theme import EARLIER, PAID

_ROW = 46
_AXIS = 44
_COLOURS = {"Routed": PAID}


def shares(values: Sequence[Mapping[str, Any]]) -> alt.LayerChart:
    """As ``rates`` for something better rare: from nothing up to a little over the highest.

    Args:
        values: ``arm``, ``rate``, ``low``, ``high`` (shares), ``part``, ``of``.
    """
    shown = [
        {
            **one,
            "colour": _COLOURS.get(one["arm"], EARLIER),
            "said": f"{one['part']:,} of {one['of']:,}, {one['low']:.1%} to {one['high']:.1%}",
        }
        for one in values
    ]
    most = max((one["high"] for one in shown), default=0.1)
    scale = alt.Scale(domain=[0, min(1.0, most * 1.1)], nice=False)
    axis = alt.Axis(format=".1%", title=None, tickCount=5)
    said = "; ".join(f"{one['arm']}: {one['said']}" for one in shown)
    return _dots(shown, scale, axis, ("asked again", f"Asked again by arm. {said}"))


def rates(records: Sequence[Mapping[str, Any]]) -> alt.LayerChart:
    """A dot an arm with its 95% interval; the routed arm in the colour of what was paid.

    Args:
        records: ``arm``, ``rate``, ``low``, ``high`` (shares), ``accepted``, ``rejected``.
    """
    values = [
        {
            **{name: one[name] for name in ("arm", "rate", "low", "high")},
            "colour": _COLOURS.get(one["arm"], EARLIER),
            "said": f"{one['rate']:.1%} of {one['accepted'] + one['rejected']:,} tasks, "
            f"{one['low']:.1%} to {one['high']:.1%}",
        }
        for one in records
    ]
    lowest = min((value["low"] for value in values), default=0.0)
    scale = alt.Scale(domain=[max(0.0, lowest - 0.05), 1.0], nice=False)
    axis = alt.Axis(format=".0%", title=None, tickCount=6)
    said = "; ".join(f"{value['arm']}: {value['said']}" for value in values)
    return _dots(values, scale, axis, ("accepted", f"Accepted tasks by arm. {said}"))


def _dots(
    values: Sequence[Mapping[str, Any]], scale: alt.Scale, axis: alt.Axis, words: tuple[str, str]
) -> alt.LayerChart:
    """A dot and its interval for each arm; ``words``: the tooltip's title, the description."""
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("arm:N", sort=None, title=None, axis=alt.Axis(labelLimit=220, ticks=False)),
        tooltip=[alt.Tooltip("arm:N", title="arm"), alt.Tooltip("said:N", title=words[0])],
        color=alt.Color("colour:N", scale=None),
    )
    band = base.mark_rule(strokeWidth=4, opacity=0.45).encode(
        x=alt.X("low:Q", scale=scale, axis=axis), x2="high:Q"
    )
    dot = base.mark_point(filled=True, size=170, opacity=1).encode(
        x=alt.X("rate:Q", scale=scale, axis=axis)
    )
    height = max(len(values), 1) * _ROW + _AXIS
    return plain_chart([band, dot], height=height, description=words[1])

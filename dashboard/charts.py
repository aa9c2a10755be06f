"""Rows in, charts out. Pure. Paid is solid and narrow, tokenmaxxed the pale bar behind it.

So one look says how much of what it would have cost was paid, and a bar that sticks out
beyond the pale one is a loss. Budget is a third colour, the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import altair as alt

from billing.budget import WindowFigures
from billing.reports import Row
from billing.savings_report import Step
from dashboard.format import SHOWN, count, dollars, money, percent, places
from dashboard.theme import BUDGET, COSTS, PAID, SAVES, TOKENMAXXED
from dashboard.words import known_baseline

_ROW_HEIGHT = 42
_AXIS_HEIGHT = 44
_WIDE, _NARROW = 0.62, 0.34
_DAY_WIDE, _DAY_NARROW = 0.72, 0.4
_MOST_BARS = 20
_FEWEST_DAYS, _MOST_DAYS = 7, 1100
_PALE = 0.42
_TICKS = 4
_WHOLE_DOLLARS = 20.0
_STEP_HEIGHT = 30
_WHOLE_STEPS = frozenset({"tokenmaxxed", "paid"})
STEPS = {
    "tokenmaxxed": "Tokenmaxxed",
    "trim": "Shorter prompts",
    "model": "Another model",
    "cache": "Prompt cache",
    "retries": "Retries",
    "gateway": "Gateway's own calls",
    "correction": "Holdout's correction",
    "unsplit": "Not split by cause",
    "paid": "Paid",
}
_KINDS = {"tokenmaxxed": TOKENMAXXED, "saves": SAVES, "costs": COSTS, "paid": PAID}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: paid in front of tokenmaxxed (None: not comparable), USD for display."""

    label: str
    paid: float
    tokenmaxxed: float | None
    said: str


def bars(rows: Iterable[Row]) -> list[Bar]:
    """Bars of the dearest groups by what they would have cost, the rest as one."""
    ordered = sorted(rows, key=lambda row: (-max(row.baseline_nano, row.cost_nano), row.label))
    return [_bar(row) for row in ordered[:_MOST_BARS]]


def by_group(rows: Sequence[Row], title: str) -> alt.LayerChart:
    """A horizontal bar a group, paid in front of tokenmaxxed."""
    found = bars(rows)
    values = [_values(bar) for bar in found]
    order = [bar.label for bar in found]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("label:N", sort=order, title=None, axis=alt.Axis(labelLimit=220, ticks=False)),
        tooltip=_tooltip(title),
    )
    behind = base.mark_bar(
        color=TOKENMAXXED, opacity=_PALE, height=alt.RelativeBandSize(_WIDE)
    ).encode(x=_sized_axis("tokenmaxxed", found))
    front = base.mark_bar(color=PAID, height=alt.RelativeBandSize(_NARROW)).encode(
        x=_sized_axis("paid", found)
    )
    height = max(len(found), 1) * _ROW_HEIGHT + _AXIS_HEIGHT
    return plain_chart([behind, front], height=height, description=describe(found, title))


def by_day(days: Sequence[tuple[date, Row]]) -> alt.LayerChart:
    """An upright bar a day, paid in front of tokenmaxxed; days without requests are gaps."""
    found = [_bar(row, day.isoformat()) for day, row in days]
    order = [day.isoformat() for day in _every_day([day for day, _ in days])]
    # A day is a name here, not an instant: read as UTC on both sides, no zone can move it.
    axis = alt.Axis(
        labelExpr="utcFormat(toDate(datum.value), '%-d %b')", labelAngle=0, labelOverlap=True
    )
    base = alt.Chart(alt.InlineData(values=[_values(bar) for bar in found])).encode(
        x=alt.X("label:O", title=None, scale=alt.Scale(domain=order), axis=axis),
        tooltip=_tooltip("day"),
    )
    behind = base.mark_bar(
        color=TOKENMAXXED, opacity=_PALE, width=alt.RelativeBandSize(_DAY_WIDE)
    ).encode(y=_sized_axis("tokenmaxxed", found, vertical=True))
    front = base.mark_bar(color=PAID, width=alt.RelativeBandSize(_DAY_NARROW)).encode(
        y=_sized_axis("paid", found, vertical=True)
    )
    return plain_chart([behind, front], height=260, description=describe(found, "day"))


def waterfall(steps: Sequence[Step]) -> alt.LayerChart:
    """From tokenmaxxed to paid, a floating bar a cause; what cost instead of saving is red."""
    values: list[dict[str, Any]] = []
    level, most = 0, 0.0
    for step in steps:
        whole = step.name in _WHOLE_STEPS
        start = 0 if whole else level
        level = start + step.amount_nano
        most = max(most, dollars(start) or 0.0, dollars(level) or 0.0)
        values.append(
            {
                "label": STEPS.get(step.name, step.name),
                "from": dollars(start),
                "to": dollars(level),
                "kind": step.name if whole else ("saves" if step.amount_nano <= 0 else "costs"),
                "said": _step_said(step, whole=whole),
            }
        )
    axis = money_axis(most)
    colours = alt.Scale(domain=list(_KINDS), range=list(_KINDS.values()))
    bars = (
        alt.Chart(alt.InlineData(values=values))
        .mark_bar(height=alt.RelativeBandSize(_WIDE))
        .encode(
            y=alt.Y("label:N", sort=None, title=None, axis=alt.Axis(labelLimit=220, ticks=False)),
            x=alt.X("from:Q", axis=axis),
            x2="to:Q",
            color=alt.Color("kind:N", scale=colours, legend=None),
            tooltip=[alt.Tooltip("label:N", title="step"), alt.Tooltip("said:N", title="cost")],
        )
    )
    said = "; ".join(f"{value['label']}: {value['said']}" for value in values)
    height = max(len(values), 1) * _STEP_HEIGHT + _AXIS_HEIGHT
    return plain_chart([bars], height=height, description=f"From tokenmaxxed to paid. {said}")


def _step_said(step: Step, *, whole: bool) -> str:
    if whole:
        return money(step.amount_nano)
    verb = "saves" if step.amount_nano <= 0 else "costs"
    return f"{verb} {money(abs(step.amount_nano))}"


def budgets(windows: Sequence[WindowFigures]) -> alt.LayerChart:
    """A bar a window: spent (paid colour), then held, of the limit as a full pale bar."""
    values = [
        {
            "label": f"{one.budget} ({one.user})" if one.user else one.budget,
            "spent": _share(one.spent_nano, one.limit_nano),
            "held": _share(one.spent_nano + one.held_nano, one.limit_nano),
            "limit": 1.0,
            "said": f"{money(one.spent_nano)} spent, {money(one.held_nano)} held of "
            f"{money(one.limit_nano)}; resets {one.resets_at}",
        }
        for one in windows[:_MOST_BARS]
    ]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("label:N", sort=None, title=None, axis=alt.Axis(labelLimit=220, ticks=False)),
        tooltip=[alt.Tooltip("label:N", title="budget"), alt.Tooltip("said:N", title="used")],
    )
    axis = alt.Axis(format=".0%", title=None, tickCount=5)
    limit = base.mark_bar(color=BUDGET, opacity=0.28, height=alt.RelativeBandSize(_WIDE)).encode(
        x=alt.X("limit:Q", axis=axis)
    )
    held = base.mark_bar(color=PAID, opacity=_PALE, height=alt.RelativeBandSize(_NARROW)).encode(
        x=alt.X("held:Q", axis=axis)
    )
    spent = base.mark_bar(color=PAID, height=alt.RelativeBandSize(_NARROW)).encode(
        x=alt.X("spent:Q", axis=axis)
    )
    said = "; ".join(f"{value['label']}: {value['said']}" for value in values)
    height = max(len(values), 1) * _ROW_HEIGHT + _AXIS_HEIGHT
    return plain_chart([limit, held, spent], height=height, description=f"Budgets. {said}")


def describe(found: Sequence[Bar], title: str) -> str:
    """The chart in words, for those who cannot see it."""
    return f"Paid and tokenmaxxed by {title}. " + "; ".join(
        f"{bar.label}: {bar.said}" for bar in found
    )


def _bar(row: Row, label: str | None = None) -> Bar:
    name = row.label if label is None else label
    baseline = known_baseline(row)
    said = f"paid {money(row.cost_nano)}, tokenmaxxed {money(baseline)}"
    if baseline:
        said += f", saved {percent(row.saved_nano, row.baseline_nano)}"
    said += f", {count(row.requests, 'request')}"
    paid = dollars(row.cost_nano) or 0.0
    return Bar(name or "(none)", paid, dollars(baseline), said)


def _values(bar: Bar) -> dict[str, Any]:
    return {
        "label": bar.label,
        "paid": bar.paid,
        "tokenmaxxed": bar.tokenmaxxed,
        "said": bar.said,
    }


def _tooltip(title: str) -> list[alt.Tooltip]:
    return [alt.Tooltip("label:N", title=title), alt.Tooltip("said:N", title="cost")]


def _sized_axis(field: str, found: Sequence[Bar], *, vertical: bool = False) -> Any:
    most = max((max(bar.paid, bar.tokenmaxxed or 0.0) for bar in found), default=0.0)
    axis = money_axis(most)
    if vertical:
        return alt.Y(f"{field}:Q", axis=axis, stack=None)
    return alt.X(f"{field}:Q", axis=axis, stack=None)


def money_axis(most: float) -> alt.Axis:
    """Dollars up to ``most`` on four ticks, with as many decimals as these need."""
    digits = 0 if most >= _WHOLE_DOLLARS else places(Decimal(str(most)) / _TICKS)
    rate = SHOWN.get()
    if rate is None:
        return alt.Axis(format=f"$,.{digits}f", tickCount=_TICKS, title=None)
    sign = f"(datum.value < 0 ? '\u2212' : '') + '{rate.sign}'"
    told = f"{sign} + format(abs(datum.value), ',.{digits}f')"
    return alt.Axis(labelExpr=told, tickCount=_TICKS, title=None)


def _share(part: int, whole: int) -> float:
    """A share for display, at most a little over the whole."""
    return min(part / whole, 1.2) if whole else 1.2


def _every_day(days: Sequence[date]) -> list[date]:
    """All days from the first to the last, a week at least; those given if it is years."""
    if not days or (days[-1] - days[0]).days > _MOST_DAYS:
        return list(days)
    first = min(days[0], days[-1] - timedelta(days=_FEWEST_DAYS - 1))
    return [first + timedelta(days=n) for n in range((days[-1] - first).days + 1)]


def plain_chart(layers: list[alt.Chart], *, height: int, description: str) -> alt.LayerChart:
    """The layers as one chart without a frame."""
    chart = alt.LayerChart(layer=layers, height=height, description=description)
    configured: alt.LayerChart = chart.configure_view(strokeWidth=0).configure_axis(
        domain=False, labelFontSize=12, gridOpacity=0.5
    )
    return configured

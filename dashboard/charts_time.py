"""Money over time as charts: a month running up to its budget. Pure: rows in, charts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import altair as alt

from billing.budget import WindowFigures
from billing.forecast import Forecast
from billing.reports import Row
from billing.savings import Savings
from dashboard.charts import money_axis, plain_chart
from dashboard.format import dollars, money
from dashboard.theme import BUDGET, EARLIER, PAID, SAVES

_HEIGHT = 300
_TREND = 220
_BAND = 0.35
_FAR = 2.0


def month(
    spent: Mapping[date, int],
    today: date,
    found: Forecast | None,
    budget: WindowFigures | None,
) -> alt.LayerChart:
    """The running total of a month, the month before behind it, the forecast, the budget.

    Args:
        spent: nano-USD a local day, this month and the one before.
    """
    first = today.replace(day=1)
    before = (first - timedelta(days=1)).replace(day=1)
    now = _running(spent, first, today)
    last = _running(spent, before, first - timedelta(days=1))
    fan = _fan(found, today, now)
    most = max([value["usd"] for value in now + last] + [value["high"] for value in fan])
    limit = None if budget is None else dollars(budget.limit_nano)
    if limit is not None and limit > _FAR * most:
        limit = None  # a line so far above would press the month flat
    most = max(most, limit or 0.0)
    layers = [_line(last, EARLIER, most, dash=[2, 3])]
    if fan:
        layers.append(_area(fan, most))
        layers.append(_line(fan, SAVES, most, dash=[5, 3]))
    layers.append(_line(now, PAID, most, width=3))
    if limit is not None:
        rule = alt.Chart(
            alt.InlineData(
                values=[
                    {"usd": limit, "said": f"budget {money(budget.limit_nano if budget else None)}"}
                ]
            )
        )
        layers.append(
            rule.mark_rule(color=BUDGET, strokeWidth=2).encode(
                y=alt.Y("usd:Q"), tooltip=[alt.Tooltip("said:N", title="limit")]
            )
        )
    return plain_chart(layers, height=_HEIGHT, description=_described(now, found, budget))


def saved(days: Sequence[tuple[date, Row]], savings: Savings) -> alt.LayerChart:
    """What routing saved each day, a line about nothing, and its 95% interval as a band."""
    values = [_saved_on(day, row, savings) for day, row in days]
    most = max((max(abs(one["usd"]), abs(one["high"]), abs(one["low"])) for one in values),
               default=0.0)  # fmt: skip
    axis = alt.Axis(labelExpr="utcFormat(toDate(datum.value), '%-d %b')", labelAngle=0,
                    labelOverlap=True, title=None)  # fmt: skip
    base = alt.Chart(alt.InlineData(values=values)).encode(x=alt.X("day:O", axis=axis))
    layers = [
        base.mark_area(color=SAVES, opacity=_BAND).encode(
            y=alt.Y("low:Q", axis=money_axis(most)), y2="high:Q"
        ),
        base.mark_line(color=PAID, strokeWidth=2.5).encode(y=alt.Y("usd:Q", axis=money_axis(most))),
        base.mark_point(color=PAID, filled=True, size=45, opacity=1).encode(
            y=alt.Y("usd:Q", axis=money_axis(most)),
            tooltip=[alt.Tooltip("day:N"), alt.Tooltip("said:N", title="saved")],
        ),
        alt.Chart(alt.InlineData(values=[{"usd": 0}]))
        .mark_rule(color=EARLIER, strokeDash=[3, 3])
        .encode(y="usd:Q"),
    ]
    said = "; ".join(f"{one['day']}: {one['said']}" for one in values)
    return plain_chart(layers, height=_TREND, description=f"Saved, day by day. {said}")


def _saved_on(day: date, row: Row, savings: Savings) -> dict[str, Any]:
    amount = round(savings.kappa * row.baseline_nano) - row.compared_nano
    spread = savings.spread
    half = 0 if spread is None else spread.half_of(row.baseline_nano)
    said = money(amount)
    if spread is not None:
        said += f" ({money(amount - half)} to {money(amount + half)})"
    return {
        "day": day.isoformat(),
        "usd": dollars(amount),
        "low": dollars(amount - half),
        "high": dollars(amount + half),
        "said": said,
    }


def _running(spent: Mapping[date, int], first: date, last: date) -> list[dict[str, Any]]:
    values, total = [], 0
    for n in range((last - first).days + 1):
        day = first + timedelta(days=n)
        total += spent.get(day, 0)
        values.append(
            {"day": n + 1, "usd": dollars(total) or 0.0, "said": f"{day:%-d %b}: {money(total)}"}
        )
    return values


def _fan(found: Forecast | None, today: date, now: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The forecast's path, begun at what was paid by yesterday so that it joins the line."""
    if found is None:
        return []
    begun = now[-2]["usd"] if len(now) > 1 else 0.0
    values = [{"day": today.day - 1, "usd": begun, "low": begun, "high": begun, "said": "so far"}]
    for day, low, middle, high in found.path:
        values.append(
            {
                "day": day.day,
                "usd": dollars(middle),
                "low": dollars(low),
                "high": dollars(high),
                "said": f"{day:%-d %b}: {money(middle)} ({money(low)} to {money(high)})",
            }
        )
    return values


def _day() -> alt.X:
    axis = alt.Axis(title="day of the month", tickMinStep=1, format="d", grid=False)
    return alt.X("day:Q", axis=axis, scale=alt.Scale(domain=[1, 31], nice=False))


def _line(
    values: list[dict[str, Any]],
    colour: str,
    most: float,
    *,
    width: float = 2,
    dash: list[int] | None = None,
) -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=values))
        .mark_line(color=colour, strokeWidth=width, strokeDash=dash or [], clip=True, point=False)
        .encode(
            x=_day(),
            y=alt.Y("usd:Q", axis=money_axis(most)),
            tooltip=[alt.Tooltip("said:N", title="running total")],
        )
    )
    return chart


def _area(values: list[dict[str, Any]], most: float) -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=values))
        .mark_area(color=SAVES, opacity=_BAND, clip=True)
        .encode(x=_day(), y=alt.Y("low:Q", axis=money_axis(most)), y2="high:Q")
    )
    return chart


def _described(
    now: list[dict[str, Any]], found: Forecast | None, budget: WindowFigures | None
) -> str:
    said = f"Running total of the month. By {now[-1]['said']}."
    if found is not None:
        said += (
            f" Forecast {money(found.middle_nano)}, from {money(found.low_nano)} to "
            f"{money(found.high_nano)}."
        )
    if budget is not None:
        said += f" Budget {money(budget.limit_nano)}."
    return said

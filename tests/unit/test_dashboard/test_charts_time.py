"""Charts of money over time."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np

from billing.budget import Window, WindowFigures
from billing.forecast import month_end
from dashboard.charts_time import month

TODAY = date(2026, 11, 10)
USD = 1_000_000_000
SPENT = {TODAY - timedelta(days=n): USD for n in range(40)}


def budget(limit: int) -> WindowFigures:
    """A monthly budget of the organisation."""
    window = Window(0, 1)
    return WindowFigures("organisation", "organisation/month", window, 0, 0, limit * USD, "later")


def drawn(limit: int | None) -> dict[str, Any]:
    """The chart of ten steady days as Vega-Lite."""
    found = month_end(SPENT, TODAY, np.random.default_rng(1))
    figures = None if limit is None else budget(limit)
    spec: dict[str, Any] = month(SPENT, TODAY, found, figures).to_dict()
    return spec


def values(spec: dict[str, Any], layer: int) -> list[dict[str, Any]]:
    """The data of one layer."""
    data = spec["layer"][layer]["data"]
    found: list[dict[str, Any]] = data.get("values") or spec["datasets"][data["name"]]
    return found


def test_the_month_runs_up_and_the_forecast_goes_on() -> None:
    """The line of the month ends today; the forecast joins it and ends with the month."""
    spec = drawn(None)
    before, _, fan, now = (values(spec, layer) for layer in range(4))
    assert [value["usd"] for value in now] == [float(n) for n in range(1, 11)]
    assert before[-1]["usd"] == 30.0  # forty days back reach to the 2nd of October
    assert fan[0]["usd"] == 9.0
    assert fan[-1]["usd"] == 30.0


def test_a_budget_within_reach_is_a_line() -> None:
    """A budget near the forecast is drawn; one far above would press the month flat."""
    assert len(drawn(40)["layer"]) == 5
    assert len(drawn(1000)["layer"]) == 4


def test_the_chart_is_told_in_words() -> None:
    """Who cannot see the chart reads the total, the forecast and the budget."""
    said = drawn(40)["description"]
    assert "10 Nov: $10.00" in said
    assert "Forecast $30.00" in said
    assert "Budget $40.00" in said


def test_without_a_forecast_only_what_was_paid_is_drawn() -> None:
    """A first day of use is a line without a band."""
    spec: dict[str, Any] = month({TODAY: USD}, TODAY, None, None).to_dict()
    assert len(spec["layer"]) == 2

"""Chart specs: one colour for one thing, all figures in, words for those who cannot see."""

from __future__ import annotations

from datetime import date
from typing import Any

from billing.budget import Window, WindowFigures
from billing.reports import Row
from billing.savings_report import Step
from dashboard import charts
from dashboard.theme import BUDGET, COSTS, PAID, SAVES, TOKENMAXXED

USD = 10**9


def row(label: str, paid: int, baseline: int, infeasible: int = 0) -> Row:
    """One request's worth of a group; micro-USD."""
    names = [name for name in Row.__slots__ if name != "label"]
    sums = dict.fromkeys(names, 0) | {"requests": 1, "infeasible": infeasible}
    sums |= {"cost_nano": paid * 1000, "compared_nano": paid * 1000}
    return Row(label, **sums | {"baseline_nano": baseline * 1000})


def values(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that a chart draws."""
    return next(iter(spec["datasets"].values())) if "datasets" in spec else spec["data"]["values"]


def test_bars_are_ordered_by_what_they_would_have_cost() -> None:
    """The group with most at stake is on top, one that lost money among them."""
    spec = charts.by_group([row("a", 1, 2), row("loss", 9, 3), row("c", 1, 50)], "team").to_dict()
    assert spec["layer"][0]["encoding"]["y"]["sort"] == ["c", "loss", "a"]
    drawn = {one["label"]: (one["paid"], one["tokenmaxxed"]) for one in values(spec)}
    assert drawn["loss"] == (0.000009, 0.000003)


def test_one_colour_means_one_thing() -> None:
    """Tokenmaxxed lies behind in its colour, paid in front in its own, in both charts."""
    both = (
        charts.by_group([row("a", 1, 2)], "team"),
        charts.by_day([(date(2025, 3, 3), row("d", 1, 2))]),
    )
    for chart in both:
        colours = [layer["mark"]["color"] for layer in chart.to_dict()["layer"]]
        assert colours == [TOKENMAXXED, PAID]


def test_an_unknown_baseline_draws_no_bar() -> None:
    """Unknown is not zero: the pale bar is absent, and the words say so."""
    spec = charts.by_group([row("x", 4, 0, infeasible=1)], "model").to_dict()
    assert values(spec)[0]["tokenmaxxed"] is None
    assert "tokenmaxxed unknown" in spec["description"]


def test_days_without_requests_are_gaps() -> None:
    """Every day between the first and the last has its place, and at least a week is shown."""
    days = [(date(2025, 3, d), row("d", 1, 2)) for d in (3, 12)]
    domain = charts.by_day(days).to_dict()["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert domain == [f"2025-03-{d:02d}" for d in range(3, 13)]
    one = charts.by_day(days[:1]).to_dict()["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert (len(one), one[-1]) == (7, "2025-03-03")


def test_a_budget_shows_spent_held_and_limit() -> None:
    """Held stands on top of spent, the limit is the whole in the budget's colour."""
    window = WindowFigures(
        "support", "support/month", Window(0, 1), 60, 20, 100, "2025-04-01T00:00+00:00"
    )
    spec = charts.budgets([window]).to_dict()
    found = values(spec)[0]
    assert (found["spent"], found["held"], found["limit"]) == (0.6, 0.8, 1.0)
    assert spec["layer"][0]["mark"]["color"] == BUDGET
    assert "support/month" in spec["description"]


def test_a_chart_says_its_figures_in_words() -> None:
    """The description, which screen readers read, has every group with its amounts."""
    spec = charts.by_group([row("a", 500_000, 2_000_000)], "team").to_dict()
    assert spec["description"] == (
        "Paid and tokenmaxxed by team. a: paid $0.50, tokenmaxxed $2.00, saved 75.0%, 1 request"
    )


def test_the_waterfall_goes_from_tokenmaxxed_to_paid() -> None:
    """Each bar begins where the one before ended; savings and losses differ in colour."""
    steps = [
        Step("tokenmaxxed", 10 * USD), Step("trim", -6 * USD), Step("cache", 2 * USD),
        Step("gateway", 0), Step("paid", 6 * USD),
    ]  # fmt: skip
    spec = charts.waterfall(steps).to_dict()
    drawn = [(v["label"], v["from"], v["to"], v["kind"]) for v in values(spec)]
    assert drawn == [
        ("Tokenmaxxed", 0, 10, "tokenmaxxed"),
        ("Shorter prompts", 10, 4, "saves"),
        ("Prompt cache", 4, 6, "costs"),
        ("Gateway's own calls", 6, 6, "saves"),
        ("Paid", 0, 6, "paid"),
    ]
    scale = spec["layer"][0]["encoding"]["color"]["scale"]
    assert scale["range"] == [TOKENMAXXED, SAVES, COSTS, PAID]
    assert "Prompt cache: costs $2.00" in spec["description"]
    assert charts.waterfall([]).to_dict()

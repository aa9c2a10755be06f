"""Models and prices as the gateway said them, in words, tables and on the screen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from billing.reports import Row
from dashboard import charts_models
from dashboard.known import known, parse
from dashboard.views import models, price_list

USD = 1_000_000_000
FACTS: dict[str, Any] = {
    "made": "2026-11-21T12:00:00+00:00",
    "models": [
        {
            "model": "sol",
            "tier": "mid",
            "upstream": "openai",
            "served_as": "gpt-6.1-sol",
            "window": 400_000,
            "literal": 64_000,
            "semantic": 16_000,
            "multi": None,
            "measured": {
                "literal": {"source": "RULER", "date": "2026-08-01", "confidence": "primary"},
                "semantic": {"source": "weir probe", "date": "2026-11-01", "confidence": "probed"},
            },
            "rates": {"input": "2", "output": "8", "input >272000": "4"},
            "free": False,
        },
        {
            "model": "new", "tier": "small", "upstream": "openai", "served_as": "new",
            "window": None, "literal": None, "semantic": None, "multi": None, "measured": {},
            "rates": {}, "free": False,
        },
    ],
    "findings": [
        {"kind": "changes", "subject": "sol", "text": "on 2026-12-01: input 2 -> 3", "look": True},
        {"kind": "one-source", "subject": "all", "text": "no second opinion", "look": False},
    ],
    "hashes": {"policy": "sha256:1", "prices": "sha256:2", "catalog": "sha256:3"},
}  # fmt: skip
TEXT = json.dumps(FACTS)


def test_the_best_founded_source_stands_beside_a_card() -> None:
    """A probe of one's own goes before a benchmark; without any the model is not rated."""
    sol, new = models.cards_of(parse(TEXT).cards).records
    assert (sol["confidence"], sol["source"]) == ("probed", "weir probe, 2026-11-01")
    assert (new["confidence"], new["window"]) == (models.NOT_RATED, None)


def test_waste_is_said_in_words() -> None:
    """What was paid beyond the effective context, as money and share."""
    row = Row("sol", 2, 0, 0, 0, 0, 0, 500_000, 4 * USD, 0, USD, 0, 0, 0, 0)
    assert models.in_words([row]) == (
        "1 model answered for $4.00; $1.00 of it (25.0%) paid for prompt beyond the effective "
        "context."
    )
    (record,) = models.use_of([row]).records
    assert (record["per_effective"], record["share"]) == (8 * USD, 0.25)


def test_the_chart_shows_windows_and_what_was_measured() -> None:
    """A model without a known window has no bar; a length that is not known has no dot."""
    spec = charts_models.lengths(parse(TEXT).cards).to_dict()
    assert spec["description"].endswith("sol: window 400,000, literal 64,000, semantic 16,000")
    sizes = sorted(len(values) for values in spec["datasets"].values())
    assert sizes == [1, 2]


def test_prices_say_what_wants_a_look() -> None:
    """Findings are counted, models without a price named, cliffs kept beside the rates."""
    said = parse(TEXT)
    assert price_list.in_words(said) == (
        "2 models declared, 1 without a price: new. 1 finding wants a look."
    )
    sol, _ = price_list.rates_of(said.cards).records
    assert (sol["input"], sol["output"], sol["more"]) == ("2", "8", "input >272000 4")
    assert [row["look"] for row in price_list.findings_of(said.findings).records] == [
        "look", "to know",
    ]  # fmt: skip


def test_without_the_facts_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by hand the dashboard has no cards; what is said is read as it stands."""
    monkeypatch.delenv("WEIR_FACTS", raising=False)
    assert known() is None
    monkeypatch.setenv("WEIR_FACTS", TEXT)
    assert known() == parse(TEXT)


@pytest.mark.slow
def test_the_pages_show_it(house: Any, open_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both views are drawn with the facts, and say how to get them without."""
    for view in ("models", "price_list"):
        monkeypatch.delenv("WEIR_FACTS", raising=False)
        app = open_app(house, view, period="All time")
        assert [error.value for error in app.exception] == []
        assert "weir dashboard" in app.info[0].value
        monkeypatch.setenv("WEIR_FACTS", TEXT)
        app = open_app(house, view, period="All time")
        assert [error.value for error in app.exception] == []
        assert not app.info
    assert app.code[0].value.splitlines()[0] == "policy   sha256:1"

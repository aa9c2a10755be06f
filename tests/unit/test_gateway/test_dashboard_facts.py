"""What the dashboard is told of models and prices."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from dashboard.known import parse as heard
from gateway.dashboard_facts import curves_of, facts
from gateway.settings import parse

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRET = "sha256:" + "a" * 64
CONFIG = f"""\
upstreams:
  openai: {{ kind: openai, base_url: "https://hidden.example/v1", api_key: "very-secret" }}
models:
  gpt-6.1-sol: {{ upstream: openai, tier: mid, effective_context: 48000 }}
  own: {{ upstream: openai, tier: small, free: true }}
keys: {{ k: {SECRET} }}
teams: {{ t: {{ keys: [k] }} }}
"""


def test_models_come_with_their_lengths_and_rates() -> None:
    """Every declared model: its window, what was measured, and the exact rates in force."""
    said = heard(facts(parse(CONFIG, "weir.yaml"), AT))
    sol, own = said.cards
    assert (sol.model, sol.tier, sol.upstream) == ("gpt-6.1-sol", "mid", "openai")
    assert dict(sol.lengths) == {"literal": 48000, "semantic": 48000, "multi": 48000}
    assert sol.measured["literal"]["confidence"] == "configured"
    assert {"input", "output", "input >272000"} <= set(sol.rates)
    assert own.free
    assert set(said.hashes) == {"policy", "prices", "catalog"}


def test_nothing_secret_is_told() -> None:
    """No key, no hash of one, no address of an upstream."""
    text = facts(parse(CONFIG, "weir.yaml"), AT)
    assert [word for word in ("very-secret", "aaaa", "hidden.example") if word in text] == []


def test_the_points_of_a_card_file_are_said(tmp_path: Path) -> None:
    """By model and kind; a number, and a card without points, have no curve."""
    point = {"tokens": 1000, "right": 9, "asked": 10, "low": 0.6, "high": 0.98}
    (tmp_path / "a.yaml").write_text(f"effective: {{literal: {{tokens: 1, points: [{point}]}}}}")
    (tmp_path / "b.yaml").write_text("effective: {literal: 1000}")
    config = tmp_path / "weir.yaml"
    config.write_text(
        "models: {a: {effective_context: a.yaml}, b: {effective_context: b.yaml}, "
        "c: {effective_context: 1000}}"
    )
    assert curves_of(config) == {"a": {"literal": [point]}}

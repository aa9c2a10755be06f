"""`weir probe` asks before it spends; `weir models` shows what it knows and from whom."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app

CONFIG = """
version: 1
upstreams:
  sim: { kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: k, provider: openai }
  far: { kind: litellm, provider: openai }
models:
  gpt-4o-mini: { upstream: sim, tier: small }
  gpt-4.1: { upstream: far, effective_context: { literal: 30000, source: us, date: 2026-11-01 } }
  odd: { upstream: sim }
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "weir.yaml"
    path.write_text(CONFIG)
    return path


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.output


def test_nothing_is_spent_without_a_yes(config: Path, tmp_path: Path) -> None:
    """Away from a terminal the estimate is printed and the command ends with 2."""
    out = ("--config", str(config), "--out", str(tmp_path / "cards"))
    code, said = run("probe", "gpt-4o-mini", "--to", "8192", *out)
    assert code == 2
    assert "USD at most" in said
    assert "--yes" in said


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("nobody", (), "known: gpt-4o-mini"),
        ("odd", ("--yes",), "price"),
        ("gpt-4.1", (), "--through"),
        ("gpt-4o-mini", ("--kinds", "vibes"), "known: literal"),
        ("gpt-4o-mini", ("--from", "4096", "--to", "2048"), "must lie beyond"),
        ("gpt-4o-mini", ("--through", "http://127.0.0.1:9"), "WEIR_KEY"),
    ],
    ids=["unknown", "unpriced", "litellm", "kind", "range", "key"],
)
def test_what_cannot_be_probed_says_why(
    model: str, options: tuple[str, ...], said: str, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2 with the value and the remedy, before anything is asked."""
    monkeypatch.chdir(config.parent)
    monkeypatch.delenv("WEIR_KEY", raising=False)
    code, output = run("probe", model, "--config", str(config), *options)
    assert code == 2
    assert said in output


def test_models_says_how_far_each_reads_and_who_says_so(config: Path) -> None:
    """An operator's length, a measured one and the default rule are told apart."""
    code, said = run("models", "--config", str(config), "--json")
    assert code == 0
    rows = {row["model"]: row for row in json.loads(said)}
    literal = rows["gpt-4.1"]["effective"]["literal"]
    assert literal == {
        "tokens": 30_000, "source": "us", "date": "2026-11-01", "confidence": "configured",
    }  # fmt: skip
    assert rows["gpt-4.1"]["effective"]["semantic"]["source"] == "chroma"
    assert rows["gpt-4o-mini"]["effective"]["semantic"]["confidence"] == "primary"
    assert rows["odd"]["effective"]["multi"] == {
        "tokens": 16_384, "source": "default rule", "date": None, "confidence": "default",
    }  # fmt: skip
    code, said = run("models", "--config", str(config))
    assert code == 0
    assert "chroma" in said

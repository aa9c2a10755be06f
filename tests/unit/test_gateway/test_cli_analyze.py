"""`weir analyze` tells a person and a program the same, and says what it cannot read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rollup_story import fill
from typer.testing import CliRunner

from billing.analytics import question
from billing.exports import write_parquet
from billing.money import nano
from billing.reports import Scope, grouped, overall
from gateway.cli import app


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["analyze", *words])
    return done.exit_code, done.output


@pytest.fixture
def golden(tmp_path: Path) -> tuple[str, Path]:
    url = f"sqlite:///{tmp_path}/weir.db"
    fill(url, seed=14, count=40, fresh=5)
    write_parquet(url, Scope(), tmp_path / "all.parquet")
    return url, tmp_path / "all.parquet"


def test_it_says_what_the_ledger_says(golden: tuple[str, Path]) -> None:
    """As JSON to the nano-dollar, and as a table with every label."""
    url, path = golden
    code, said = run(str(path), "--by", "model", "--json")
    assert code == 0
    rows = json.loads(said)
    assert sum(nano(row["cost_usd"]) for row in rows) == overall(url, Scope()).cost_nano
    code, said = run(str(path), "--by", "model")
    assert code == 0
    assert all(row.label in said for row in grouped(url, "model", Scope()))
    code, said = run(str(path), "--by", "task", "--limit", "1", "--json")
    assert len(json.loads(said)) == 1


def test_the_query_can_be_had_for_another_engine() -> None:
    """On a table named lines, with nothing asked."""
    code, said = run("--by", "day", "--sql", "--limit", "7")
    assert code == 0
    assert said.strip() == question("day", "lines", limit=7)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "name the exports"),
        (("no/such.parquet",), "No files found"),
        (("a.parquet", "--by", "colour"), "known: team"),
    ],
    ids=["none", "missing", "group"],
)
def test_what_cannot_be_asked_says_why(words: tuple[str, ...], told: str) -> None:
    """Exit 2 and one line, no traceback."""
    code, said = run(*words)
    assert code == 2
    assert told in said
    assert "Traceback" not in said

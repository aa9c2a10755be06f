"""`weir savings|export|reconcile|close`: exit codes, whole files, words that fit the figures."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from billing.ledger import HoldRequest, Ledger
from billing.money import nano
from billing.outcome_rows import post
from billing.outcomes import outcome_of
from billing.receipt import Line, Receipt
from billing.recovery import orphan
from gateway.cli import app, main
from gateway.settings import parse

RUN = CliRunner()
OCT_21 = 1_792_584_000_000
"""2026-10-21T12:00:00Z."""
CONFIG = """
database: sqlite:///{folder}/weir.db
upstreams:
  openai: {{ kind: openai, base_url: "http://x/v1", api_key: "${{NOT_SET}}", provider: openai }}
  other: {{ kind: openai, base_url: "http://x/v1", api_key: "${{NOT_SET}}", provider: openai }}
models: {{ gpt-6.1-sol: {{ upstream: openai, tier: mid }} }}
teams: {{ t: {{ keys: [k] }} }}
keys: {{ k: "sha256:{hash}" }}
"""


def request(name: str) -> HoldRequest:
    return HoldRequest(name, ("organisation", "t", "t/k"), None, 10**9, OCT_21, "m", "openai")


def receipt(name: str, cost: int, **fields: Any) -> Receipt:
    """A settled request of one line, tokenmaxxed at four times its cost."""
    line = Line(name, "input", cost, "0.001", cost, "sha256:b", "r")
    plain = {
        "state": "settled",
        "usage_source": "provider",
        "lines": (line,),
        "cost_nano": cost,
        "baseline_nano": 4 * cost,
        "saved_trim_nano": cost,
        "saved_model_nano": 2 * cost,
        "saved_cache_nano": 0,
        "saved_retries_nano": 0,
        "session_key": name,
    }
    return replace(orphan(request(name), cost, OCT_21, "settled"), **{**plain, **fields})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration and a ledger: $1.20 over three requests in October."""
    monkeypatch.chdir(tmp_path)
    text = CONFIG.format(folder=tmp_path, hash="a" * 64)
    (tmp_path / "weir.yaml").write_text(text)
    settings = parse(text.replace("${NOT_SET}", "sk-x"), "weir.yaml")
    with_clock = Ledger(settings.database, settings.accounts, lambda: OCT_21).open()
    for number in range(3):
        one = receipt(f"r{number}", 400_000_000)
        with_clock.settle(with_clock.hold(request(one.request_id)), one)
    with_clock.close()
    return tmp_path


def run(*words: str, code: int = 0) -> str:
    done = RUN.invoke(app, list(words))
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def provider_says(place: Path, usd: str) -> str:
    path = place / "export.csv"
    path.write_text(f"day,account,cost_usd\n2026-10-21,openai,{usd}\n")
    return str(path)


def test_savings_in_words_and_json(place: Path) -> None:
    """The words, the table and the JSON say the same saving."""
    assert (place / "weir.yaml").exists()
    said = run("savings")
    assert "Routing saved $3.60 (75.0% of $4.80)" in said
    assert "estimated" in said
    for row in ("tokenmaxxed", "trim", "model", "paid"):
        assert row in said
    found = json.loads(run("savings", "--json"))
    assert (found["saved_usd"], found["badge"]) == ("3.6", "estimated")
    assert found["by_cause_usd"]["trim"] == "1.2"
    assert "Nothing was routed" in run("savings", "--from", "2026-11-01")
    assert json.loads(run("savings", "--json", "--team", "nobody"))["paid_usd"] == "0"


def test_an_export_goes_to_stdout_or_to_a_whole_file(place: Path) -> None:
    """CSV sums to the cost wherever it goes; a file is there whole, with no part beside it."""
    rows = list(csv.DictReader(io.StringIO(run("export", "--from", "2026-10-01"))))
    assert sum(nano(row["amount_usd"]) for row in rows) == 1_200_000_000
    run("export", "--format", "focus", "--out", "focus.csv")
    with (place / "focus.csv").open(newline="") as file:
        assert sum(nano(row["BilledCost"]) for row in csv.DictReader(file)) == 1_200_000_000
    run("export", "--format", "parquet", "-o", "lines.parquet")
    run("export", "--format", "focus", "-o", "focus.parquet")
    assert parquet.read_table(place / "lines.parquet").num_rows == 3
    assert "BilledCost" in parquet.read_table(place / "focus.parquet").column_names
    assert not list(place.glob(".*.part"))
    none = run("export", "--to", "2026-10-01")
    assert none.count("\n") == 1


def test_an_export_that_cannot_be_is_refused(place: Path) -> None:
    """Parquet to a terminal, a folder that is not there, a date that is none: exit 2."""
    assert "name a file with --out" in run("export", "--format", "parquet", code=2)
    assert "cannot be written" in run("export", "-o", str(place / "no" / "x.csv"), code=2)
    assert "no ISO date" in run("export", "--from", "October", code=2)
    assert "Invalid value" in run("export", "--format", "xml", code=2)


def test_reconcile_exits_by_what_remains(place: Path) -> None:
    """A delta exits 1 and is explained; booked, the day agrees and exits 0, for good."""
    file = provider_says(place, "1.00")
    said = run("reconcile", file, code=1)
    assert "-0.2" in said
    assert "unexplained" in said
    assert "--book" in said
    booked = run("reconcile", file, "--book")
    assert "Booked -0.2 USD" in booked
    assert "Every day agrees" in run("reconcile", file)
    found = json.loads(run("ledger", "totals", "--json"))
    assert (found["cost"], found["corrected"]) == ("1.2", "-0.2")
    run("ledger", "verify")


def test_reconcile_takes_a_tolerance(place: Path) -> None:
    """Up to the tolerance a day agrees; it cannot be negative, nor no number."""
    file = provider_says(place, "1.195")
    assert "Every day agrees" in run("reconcile", file)
    run("reconcile", file, "--tolerance", "0.004", code=1)
    assert "cannot be negative" in run("reconcile", file, "--tolerance", "-1", code=2)
    assert "not an amount" in run("reconcile", file, "--tolerance", "little", code=2)


def test_reconcile_in_json(place: Path) -> None:
    """The machine's view: each day with its delta and reasons."""
    found = json.loads(run("reconcile", provider_says(place, "1"), "--json", code=1))
    (day,) = found["days"]
    assert (day["ours_usd"], day["theirs_usd"], day["delta_usd"]) == ("1.2", "1", "-0.2")
    assert found["agrees"] is False


def test_whose_export_it_is_must_be_clear(place: Path) -> None:
    """Two accounts of one provider: the command asks which; a stranger is refused."""
    page = {
        "data": [
            {
                "start_time": 1_792_540_800,
                "end_time": 1_792_627_200,
                "results": [{"amount": {"value": 1.2, "currency": "usd"}}],
            }
        ]
    }
    (place / "costs.json").write_text(json.dumps(page))
    assert "name it with --account" in run("reconcile", "costs.json", code=2)
    assert "Every day agrees" in run("reconcile", "costs.json", "--account", "openai")
    run("reconcile", "costs.json", "--account", "other", code=1)
    assert "no upstream here" in run("reconcile", "costs.json", "--account", "azure", code=2)
    refused = run("reconcile", "costs.json", "--format", "anthropic", code=2)
    assert "kind openai, not anthropic" in refused
    assert "cannot be read" in run("reconcile", "missing.json", code=2)


def test_a_broken_ledger_is_said_in_a_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A database that is none: one line that names it and exit 1, no traceback."""
    for file in place.glob("weir.db*"):
        file.unlink()
    (place / "weir.db").write_bytes(b"not a database at all" * 100)
    monkeypatch.setattr(sys, "argv", ["weir", "savings"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "weir.db: file is not a database" in capsys.readouterr().err


def test_a_month_is_closed_by_command(place: Path) -> None:
    """Closing says the figures; again it says so; what cannot be closed exits 2."""
    assert (place / "weir.yaml").exists()
    said = run("close", "2026-10")
    assert "2026-10 is closed: 3 requests, 1.2 USD" in said
    assert "was closed already" in run("close", "2026-10")
    found = json.loads(run("close", "2026-10", "--json"))
    assert (found["total"], found["already"], found["unsettled"]) == ("1.2", True, 0)
    assert "no month" in run("close", "October", code=2)
    assert "not over" in run("close", "9000-01", code=2)
    rows = list(csv.DictReader(io.StringIO(run("export"))))
    assert {row["state"] for row in rows} == {"closed"}
    run("ledger", "verify")


@pytest.mark.parametrize(("delta", "clean"), [("", False), ("savings: { delta: 40 points }", True)])
def test_the_policy_says_what_clean_is(place: Path, delta: str, clean: bool) -> None:
    """Savings with two of three tasks accepted are clean only where `savings.delta` allows it."""
    text = (place / "weir.yaml").read_text() + delta + "\n"
    (place / "weir.yaml").write_text(text)
    settings = parse(text.replace("${NOT_SET}", "sk-x"), "weir.yaml")
    ledger = Ledger(settings.database, settings.accounts, lambda: OCT_21).open()
    for number, arm in enumerate(("routed", "routed", "routed", "holdout")):
        one = receipt(f"task{number}", 10**8, task=f"t{number}", arm=arm)
        ledger.settle(ledger.hold(request(one.request_id)), one)
    ledger.close()
    for number in range(4):
        word = "rejected" if number == 0 else "accepted"
        body = {"task": f"t{number}", "outcome": word}
        post(settings.database, outcome_of(body, "t", "k", OCT_21))
    assert json.loads(run("savings", "--json"))["clean"] is clean

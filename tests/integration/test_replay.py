"""`weir policy replay` over the ledger of a real gateway that served real prompts."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from processes import Key, config_for, gateway, http, simulator

from billing.money import nano
from billing.receipt import Receipt
from gateway.demo_traffic import bundled
from gateway.replay_log import Range, receipts
from gateway.replay_record import choice_of
from gateway.replay_report import replayed, to_json
from gateway.settings import parse
from gateway.snapshot import build_snapshot

pytestmark = pytest.mark.slow

TEAMS = """
ladders:
  steady:
    3%: { route: cheaper }
    15%: [{ compress: hard }, { max_output: 300 }]
at: steady
holdout: 25% of sessions
teams:
  support: { keys: [main], budget: 0.6 per day }
  claims: { keys: [strict], forbid: [trim, compress, downgrade], budget: 100 per month }
"""


@dataclass(frozen=True)
class Served:
    """A ledger with traffic, and the configuration it was served under."""

    folder: Path
    config: str
    requests: int

    def replay(self, config: str) -> dict[str, Any]:
        """The JSON of a replay under another configuration."""
        settings = parse(config, "weir.yaml")
        outcome = replayed(build_snapshot(settings), settings.database, Range(0, 10**14))
        return to_json(outcome)

    def command(self, *options: str) -> subprocess.CompletedProcess[str]:
        """`weir policy replay` as a process."""
        command = [
            sys.executable, "-m", "gateway", "policy", "replay", *options,
            "--config", str(self.folder / "weir.yaml"),
        ]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def chosen() -> list[dict[str, Any]]:
    """Short prompts, documents and a session turn by turn, of the bundled sample."""
    rows = [dict(item) for item in bundled()]
    small = [row for row in rows if len(json.dumps(row["body"])) < 70_000]
    alone = [row for row in small if not row.get("session")]
    session = [{**row, "session": "talk"} for row in rows if row.get("session")]
    return alone[:34] + session + alone[-8:]


def sent(number: int, row: dict[str, Any], main: Key, strict: Key) -> tuple[dict[str, str], Any]:
    """Headers and body of one request: some of another key, some `auto`, some tightened."""
    session = row.get("session")
    other = number % 5 == 4 and not session
    headers = {
        "authorization": f"Bearer {strict.secret if other else main.secret}",
        "x-weir-session": session or f"session-{number}",
    }
    if number % 7 == 3 and not session:
        headers["x-weir-fit"] = "lossless"
    body = {**row["body"], "stream": False}
    body.pop("stream_options", None)
    if number % 6 == 0:
        body["model"] = "auto"
    return headers, body


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Traffic of two keys through a gateway with a ladder, a holdout and prohibitions."""
    folder = tmp_path_factory.mktemp("replay")
    main, strict = Key.new(), Key.new()
    count = 0
    with simulator(folder) as provider:
        config = config_for(provider.url, folder, main, TEAMS, f"  strict: {strict.hash}")
        with gateway(folder, config) as running:
            for number, row in enumerate(chosen()):
                headers, body = sent(number, row, main, strict)
                with http(running.url, **headers) as client:
                    count += client.post("/v1/chat/completions", json=body).status_code == 200
    return Served(folder, config, count)


def records(served: Served) -> list[Receipt]:
    """The receipts as the replay reads them."""
    settings = parse(served.config, "weir.yaml")
    return list(receipts(settings.database, Range(0, 10**14)))


def test_the_traffic_has_every_kind_of_decision(served: Served) -> None:
    """The sample routes, fits, holds out and brakes, so that equal plans prove something."""
    found = records(served)
    assert {receipt.arm for receipt in found} == {"routed", "holdout"}
    assert {receipt.action for receipt in found} >= {"pass", "route"}
    ways = {choice.way for receipt in found if (choice := choice_of(receipt.decision))}
    assert ways & {"trim", "compress"}
    brakes = [receipt.decision.get("brake") for receipt in found]
    assert {"route": "cheaper"} in brakes
    assert any(brake and "compress" in brake for brake in brakes)
    assert any("warm" in receipt.decision for receipt in found)


def test_a_record_holds_no_text_of_a_prompt(served: Served) -> None:
    """Nothing that a client wrote stands in the record of a decision."""
    texts = [
        message["content"]
        for row in chosen()
        for message in row["body"]["messages"]
        if isinstance(message.get("content"), str)
    ]
    for receipt in records(served):
        kept = json.dumps(receipt.decision)
        assert len(kept) < 1_500
        assert not [text for text in texts if len(text) > 12 and text[:40] in kept]


def test_the_same_policy_gives_the_same_plans(served: Served) -> None:
    """Under the policy that was in force every plan is the one that the gateway made."""
    done = served.command("all", "--json")
    found = json.loads(done.stdout)
    assert served.requests > 40
    assert (found["replayed"], found["same_plan"]) == (served.requests, served.requests)
    assert (done.returncode, found["drifted"], found["unrecorded"]) == (0, 0, 0)
    assert found["recorded_under_this_policy"] == served.requests
    assert found["total"]["difference_usd"] == "0"
    assert Decimal(found["total"]["paid_usd"]) > 0
    paid = sum(receipt.cost_nano for receipt in records(served))
    assert nano(found["total"]["paid_usd"]) == paid


def test_a_policy_that_forbids_routing_costs_more(served: Served) -> None:
    """Without routing nobody is routed, and the sum says what that would have cost."""
    stricter = served.config.replace(
        "support: { keys: [main],", "support: { keys: [main], forbid: [route, trim, compress],"
    ).replace("budget: 0.6 per day", "budget: 100 per day")
    found = served.replay(stricter)
    assert not [name for name in found["by_action"] if "route" in name or "trim" in name]
    assert Decimal(found["total"]["would_pay_usd"]) > Decimal(found["total"]["paid_usd"])
    assert 0 < found["same_plan"] < found["replayed"]
    assert found["examples"][0]["now"]["action"] == "pass"


def test_a_smaller_budget_refuses_what_no_longer_fits(served: Served) -> None:
    """Budgets are filled anew in the replay: what comes after the limit is refused."""
    tight = served.config.replace("budget: 0.6 per day", "budget: 0.0065 per day")
    found = served.replay(tight)
    refused = found["refusals"]["budget"]["requests"]
    assert 0 < refused < found["replayed"]
    assert found["refused"]["would_pay_usd"] == "0"
    spent = Decimal(found["by_team"]["support"]["would_pay_usd"])
    assert Decimal(0) < spent <= Decimal("0.0065")


def test_a_revoked_key_is_refused(served: Served) -> None:
    """A key that the new file revokes sends nothing any more."""
    config, _, tail = served.config.rpartition("  strict: ")
    revoked = f"{config}  strict: {{ hash: {tail.strip()}, revoked: true }}\n"
    found = served.replay(revoked)
    assert found["refusals"]["key"]["requests"] == served.requests - _of_team(served, "support")


def _of_team(served: Served, team: str) -> int:
    found = served.replay(served.config)
    number: int = found["by_team"][team]["requests"]
    return number


def test_observe_mode_says_what_it_would_have_done(served: Served) -> None:
    """Under `mode: observe` every request passes as it came."""
    observing = served.config.replace("mode: route", "mode: observe")
    found = served.replay(observing)
    assert set(found["by_action"]) == {"pass"}


def test_a_missing_ledger_is_said(served: Served, tmp_path: Path) -> None:
    """A ledger that is not there is named, and the exit code is 2."""
    done = served.command("--ledger", f"sqlite:///{tmp_path}/none.db")
    assert done.returncode == 2
    assert "no ledger at" in done.stderr


def test_the_table_names_what_changes(served: Served) -> None:
    """For a person the outcome is a table with paid, would pay and difference."""
    done = served.command("1d")
    assert done.returncode == 0, done.stderr
    assert "get the plan that they had" in " ".join(done.stdout.split())
    assert "would pay USD" in done.stdout

"""`weir router`: thresholds from labels, other floors on a real ledger, what observing saved."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import MutableMapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeUpstream, completion, plain_reply
from typer.testing import CliRunner

from billing.outcome_rows import post
from billing.outcomes import Outcome
from gateway.app import create_app
from gateway.auth import hash_of
from gateway.cli import app
from gateway.settings import parse

RUN = CliRunner()
NOW_MS = 1_795_000_000_000
SECRET = "weir-unit"
EASY = "Who was the first person to walk on the surface of the moon?"
CONFIG = """
database: sqlite:///weir.db
upstreams: {{ openai: {{ kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: x,
                         provider: openai }} }}
models: {{ gpt-6-luna: {{ upstream: openai, tier: small }}, gpt-6.1-sol: {{ upstream: openai }} }}
routing: {{ mode: {mode}, baseline: gpt-6.1-sol, quality: {{ limits: {{ 97%: {limit} }} }} }}
teams: {{ t: {{ keys: [k], holdout: {holdout} }} }}
keys: {{ k: {key} }}
"""


def configured(folder: Path, mode: str = "route", holdout: str = "0%", limit: float = 0.1) -> Path:
    """A weir.yaml of one team."""
    path = folder / "weir.yaml"
    path.write_text(
        CONFIG.format(mode=mode, holdout=holdout, key=hash_of(SECRET), limit=limit),
        encoding="utf-8",
    )
    return path


def serve(path: Path, count: int) -> None:
    """So many tasks through the real gateway, each accepted but every fifth."""
    settings = parse(path.read_text(encoding="utf-8"), str(path))
    upstream = FakeUpstream(plain_reply(completion()))
    gateway = create_app(settings, upstreams={"openai": upstream}, clock=lambda: NOW_MS)

    async def send(message: MutableMapping[str, Any]) -> None:
        assert message.get("status", 200) == 200

    async def story() -> None:
        await gateway.start()
        for number in range(count):
            said = {"role": "user", "content": f"{EASY} Say it for reader {number}."}
            raw = json.dumps({"model": "gpt-6.1-sol", "messages": [said], "max_tokens": 50})
            sent = iter([{"type": "http.request", "body": raw.encode()}])

            async def receive(sent: Any = sent) -> Any:
                first = next(sent, None)
                if first is None:
                    await asyncio.Event().wait()
                return first

            headers = [
                (b"authorization", f"Bearer {SECRET}".encode()),
                (b"x-weir-task", f"task-{number}".encode()),
            ]
            scope = {
                "type": "http", "method": "POST", "path": "/v1/chat/completions",
                "headers": headers,
            }  # fmt: skip
            await gateway(scope, receive, send)
        await gateway.stop()

    asyncio.run(story())
    for number in range(count):
        word = "rejected" if number % 5 == 0 else "accepted"
        post(settings.database, Outcome("t", f"task-{number}", word, None, "k", NOW_MS))


def labels(folder: Path, count: int) -> Path:
    """Labelled questions: the small model fails on one in four."""
    rng = random.Random(3)
    path = folder / "labels.jsonl"
    rows = [
        {
            "prompt": f"Which river flows through city number {n}, and into which sea?",
            "weak_correct": float(rng.random() < 0.75),
            "strong_correct": float(rng.random() < 0.9),
            "category": "rivers",
        }
        for n in range(count)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_calibrate_prints_what_to_write(tmp_path: Path) -> None:
    """The printed line is a valid section of weir.yaml, and its threshold is then in force."""
    done = RUN.invoke(
        app, ["router", "calibrate", str(labels(tmp_path, 400)), "--target-quality", "0.8"]
    )
    assert done.exit_code == 0, done.output
    found = re.search(r"limits: \{ 80%: (-?[\d.]+) \}", done.output)
    assert found is not None
    config = configured(tmp_path, limit=float(found[1]))
    settings = parse(config.read_text(encoding="utf-8"), str(config))
    assert settings.routing.quality.limits == {0.97: float(found[1])}
    assert "rivers" in done.output


def test_calibrate_refuses_too_few_labels_and_what_is_no_label(tmp_path: Path) -> None:
    """Below 200 labels it exits 1 and says why; a bad line exits 2 and is named."""
    few = RUN.invoke(app, ["router", "calibrate", str(labels(tmp_path, 199))])
    assert few.exit_code == 1
    assert "199 labels are too few" in few.output
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "x", "weak_correct": 1}\n', encoding="utf-8")
    wrong = RUN.invoke(app, ["router", "calibrate", str(bad)])
    assert wrong.exit_code == 2
    assert "line 1" in wrong.output
    assert "strong_correct" in wrong.output


def test_evaluate_says_what_a_floor_keeps_on_labels(tmp_path: Path) -> None:
    """On labels every floor has its kept quality, bound and share of large calls."""
    config = configured(tmp_path)
    done = RUN.invoke(
        app,
        ["router", "evaluate", str(labels(tmp_path, 300)), "-c", str(config), "--floor", "0.9",
         "--json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert set(found) == {"0.97", "0.9"}
    assert all(0 <= row["lower"] <= row["kept"] <= 1.2 for row in found.values())


def test_evaluate_reads_the_ledger(tmp_path: Path) -> None:
    """Without labels the receipts and outcomes of a real gateway give the floor's value."""
    config = configured(tmp_path, holdout="30%", limit=0.5)
    serve(config, 60)
    done = RUN.invoke(app, ["router", "evaluate", "-c", str(config), "--json"])
    assert done.exit_code == 0, done.output
    row = json.loads(done.output)["0.97"]
    assert row["count"] == 60
    assert row["low"] < 0.8 < row["high"]
    assert row["supported"] == 1.0


def test_evaluate_needs_outcomes(tmp_path: Path) -> None:
    """A ledger without outcomes gives no estimate, and says how they come."""
    config = configured(tmp_path)
    serve(config, 1)
    done = RUN.invoke(app, ["router", "evaluate", "-c", str(config)])
    assert done.exit_code == 1
    assert "/weir/outcomes" in done.output


@pytest.mark.parametrize("mode", ["observe", "route"])
def test_observed_says_what_would_have_been_saved(tmp_path: Path, mode: str) -> None:
    """In observe mode all of it, by action and team; where the gateway acts, nothing."""
    config = configured(tmp_path, mode=mode, limit=0.5)
    serve(config, 4)
    done = RUN.invoke(app, ["router", "observed", "-c", str(config), "--last", "all", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    if mode == "route":
        assert (found["requests"], found["saved_usd"]) == (0, "0")
        return
    assert (found["requests"], found["changed"]) == (4, 4)
    assert Decimal(found["saved_usd"]) == Decimal(found["expected_usd"]) - Decimal(
        found["would_usd"]
    )
    assert found["by_action"] == {"route": found["saved_usd"]} == {
        "route": found["by_team"]["t"]
    }  # fmt: skip
    said = RUN.invoke(app, ["router", "observed", "-c", str(config), "--last", "all"])
    assert "4 observed requests" in said.output

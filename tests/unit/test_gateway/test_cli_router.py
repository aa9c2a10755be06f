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
from gateway.replay_log import Range, receipts
from gateway.router_report import logged
from gateway.settings import parse
from gateway.snapshot import build_snapshot
from router.complexity import bundled_complexity
from router.learning_ope import doubly_robust, threshold
from router.plan import RequestFacts

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


def known_better(folder: Path, count: int) -> Path:
    """Labels of a team whose small model is always right on rivers and never on lakes."""
    rng = random.Random(5)
    rows = []
    for n in range(count):
        river = rng.random() < 0.5
        what = (
            f"Which river flows through city {n}?"
            if river
            else (
                f"Lakes: {n} of them are deep, {n + 3} wide. If half are deep, how many are left?"
            )
        )
        rows.append({"prompt": what, "weak_correct": float(river), "strong_correct": 1.0})
    path = folder / "own.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_train_writes_weights_that_a_line_puts_in_force_and_takes_back(tmp_path: Path) -> None:
    """Better ones are written and named; with the line they decide, without it the shipped do."""
    config, own = configured(tmp_path), known_better(tmp_path, 400)
    done = RUN.invoke(app, ["router", "train", str(own), "-c", str(config)])
    assert done.exit_code == 0, done.output
    name = re.search(r"routing: \{ weights: (weights-[0-9a-f]{12}\.json) \}", done.output)
    assert name is not None
    assert "APGR" in done.output
    text = config.read_text(encoding="utf-8")
    with_line = text.replace("mode: route,", f"mode: route, weights: {name[1]},")
    config.write_text(with_line, encoding="utf-8")
    lake = "Lakes: 9 of them are deep, 12 wide. If half are deep, how many are left?"
    facts = RequestFacts("auto")
    ours = build_snapshot(parse(with_line, str(config))).complexity.score(lake, facts)
    back = build_snapshot(parse(text, str(config))).complexity.score(lake, facts)
    assert (ours.weights, back.weights) == (name[1], None)
    assert ours.gain > back.gain + 0.2
    told = RUN.invoke(app, ["router", "evaluate", str(own), "-c", str(config), "--json"])
    assert told.exit_code == 0, told.output
    again = RUN.invoke(
        app,
        ["router", "evaluate", str(own), "-c", str(config), "--weights", str(tmp_path / name[1])],
    )
    assert again.exit_code == 0, again.output
    (tmp_path / name[1]).write_text("{}", encoding="utf-8")
    wrong = RUN.invoke(app, ["router", "observed", "-c", str(config)])
    assert wrong.exit_code == 2
    assert "routing.weights" in wrong.output
    assert "remove the line" in wrong.output


def as_scored(number: int) -> str:
    """A label drawn as the shipped score says."""
    prompt = f"Which river flows through city number {number}, and into which sea?"
    score, drawn = bundled_complexity().score(prompt, RequestFacts("auto")), random.Random(number)
    at = drawn.random()
    row = {"weak_correct": float(at < score.p_small), "strong_correct": float(at < score.p_large)}
    return json.dumps({"prompt": prompt, **row})


def test_train_refuses_few_labels_and_what_is_not_better(tmp_path: Path) -> None:
    """Exit 1 with the reason, and no file: too few, or labels that are chance."""
    config = configured(tmp_path)
    few = RUN.invoke(app, ["router", "train", str(known_better(tmp_path, 150)), "-c", str(config)])
    assert few.exit_code == 1
    assert "150 labels are too few" in few.output
    assert "shipped weights stay" in few.output
    chance = tmp_path / "chance.jsonl"
    chance.write_text("\n".join(as_scored(n) for n in range(250)), encoding="utf-8")
    same = RUN.invoke(app, ["router", "train", str(chance), "-c", str(config), "--json"])
    assert same.exit_code == 1
    said = json.loads(same.output.splitlines()[0])
    assert said["better"] is False
    assert said["why_not"] in same.output
    assert not list(tmp_path.glob("weights-*"))


def test_train_reads_outcomes_from_the_ledger(tmp_path: Path) -> None:
    """Each closed task is one word; the off-policy estimate stands beside."""
    config = configured(tmp_path, holdout="20% of sessions")
    serve(config, 230)
    done = RUN.invoke(app, ["router", "train", "-c", str(config), "--json"])
    said = json.loads(done.output.splitlines()[0])
    assert said["by_source"] == {"outcome": 230}
    assert said["labels"] == pytest.approx(230)
    assert 0 < said["off_policy"]["before"]["value"] < 1


def explored_config(folder: Path, budget: str) -> Path:
    """A weir.yaml that turns half of its choices round."""
    path = configured(folder)
    text = path.read_text(encoding="utf-8")
    more = f"mode: route, explore: {{ share: 50%, budget_usd: {budget} }},"
    path.write_text(text.replace("mode: route,", more), encoding="utf-8")
    return path


def test_explored_requests_say_how_likely_they_were(tmp_path: Path) -> None:
    """About half go the other way; receipts say so, and off-policy estimates take the chance."""
    config = explored_config(tmp_path, "5")
    serve(config, 80)
    settings = parse(config.read_text(encoding="utf-8"), str(config))
    found = list(receipts(settings.database, Range(0, 2**60)))
    tried = [r for r in found if any(reason["code"] == "explored" for reason in r.reasons)]
    assert 20 < len(tried) < 60
    assert all(r.decision["chance"] == 0.5 for r in found)
    assert {r.served_model for r in tried} != {r.served_model for r in found if r not in tried}
    rows = list(logged(settings.database, Range(0, 2**60), settings, 0.1))
    assert {row.chance for row in rows} == {0.5}
    assert doubly_robust(rows, threshold(1.0)).supported == 1.0


def test_exploring_ends_with_its_budget(tmp_path: Path) -> None:
    """What was put at stake counts; beyond the day's budget every choice is the usual one."""
    config = explored_config(tmp_path, "0.000001")
    serve(config, 40)
    settings = parse(config.read_text(encoding="utf-8"), str(config))
    found = list(receipts(settings.database, Range(0, 2**60)))
    tried = [r for r in found if any(reason["code"] == "explored" for reason in r.reasons)]
    assert 1 <= len(tried) < 4
    assert sum("chance" in r.decision for r in found) < 10

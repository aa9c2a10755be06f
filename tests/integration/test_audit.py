"""`weir audit` from logs of four tools to a report: figures, privacy, partial runs."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from billing.money import nano
from gateway.audit_policy import load_assumed
from gateway.audit_rows import Judged
from gateway.audit_run import Task, run
from gateway.demo_traffic import bundled

CONFIG = """
version: 1
upstreams: { openai: { kind: openai, api_key: "${NOT_SET_ANYWHERE}" } }
models:
  gpt-6-luna:  { upstream: openai, tier: small }
  gpt-6.1-sol: { upstream: openai, tier: mid }
routing: { mode: route, baseline: gpt-6.1-sol }
keys: { main: "sha256:1000000000000000000000000000000000000000000000000000000000000000" }
"""
SECRET = "the launch code is 7741-alpha"


def body(text: str, model: str = "gpt-6.1-sol") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}


def usage(prompt: int, completion: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def openai_log() -> Iterator[dict[str, Any]]:
    """Requests with replies: questions of the sample, a secret, and a model nobody prices."""
    short = [item["body"] for item in bundled() if item["kind"] == "short"]
    for number, sent in enumerate(short):
        yield {
            "id": f"req_{number}",
            "created_at": f"2026-10-{number % 9 + 1:02}T10:00:00Z",
            "request": {**sent, "model": "gpt-6.1-sol"},
            "response": {"model": "gpt-6.1-sol", "usage": usage(100 + number, 40)},
        }
    yield {"request": body(SECRET), "response": {"usage": usage(50, 5)}}
    yield {"request": body("Hello?", "acme-7"), "response": {"usage": usage(9, 9)}}


def litellm_row(number: int) -> dict[str, Any]:
    return {
        "request_id": f"l{number}",
        "call_type": "acompletion",
        "spend": 0.004,
        "prompt_tokens": 1500,
        "completion_tokens": 100,
        "startTime": "2026-10-03T09:00:00Z",
        "model": "gpt-6.1-sol",
        "custom_llm_provider": "openai",
        "api_key": "sk-never-to-be-shown",
        "metadata": {},
    }


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log of each kind and a policy."""
    folder = tmp_path_factory.mktemp("logs")
    lines = [json.dumps(row) for row in openai_log()]
    (folder / "openai.jsonl").write_text("\n".join([*lines, "{broken", '{"what": 1}']) + "\n")
    (folder / "litellm.json").write_text(json.dumps([litellm_row(n) for n in range(3)], indent=1))
    out = io.StringIO()
    writer = csv.DictWriter(out, list(litellm_row(0)))
    writer.writeheader()
    writer.writerows({**litellm_row(n), "metadata": "{}"} for n in range(2))
    (folder / "litellm.csv").write_text(out.getvalue())
    generation = {
        "id": "g1", "type": "GENERATION", "traceId": "t1", "model": "gpt-6.1-sol",
        "startTime": "2026-10-04T09:00:00Z", "input": [{"role": "user", "content": SECRET}],
        "usageDetails": {"input": 70, "output": 5, "total": 75},
    }  # fmt: skip
    span = {"id": "s1", "type": "SPAN", "traceId": "t1", "input": SECRET}
    (folder / "langfuse.json").write_text(json.dumps({"data": [generation, span]}))
    helicone = {
        "request_id": "h1", "request_created_at": "2026-10-05T09:00:00Z", "provider": "OPENAI",
        "request_body": body(SECRET), "response_body": {"usage": usage(60, 6)},
    }  # fmt: skip
    (folder / "helicone.jsonl").write_text(json.dumps(helicone) + "\n")
    (folder / "policy.yaml").write_text(CONFIG)
    return folder


def audited(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`weir audit` of every log of a folder."""
    command = [
        sys.executable, "-m", "gateway", "audit", "openai.jsonl", "litellm.json", "litellm.csv",
        "langfuse.json", "helicone.jsonl", *options,
    ]  # fmt: skip
    environ = {k: v for k, v in os.environ.items() if "API_KEY" not in k}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=100, env=environ, check=False
    )


@pytest.fixture(scope="module")
def done(logs: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """One audit of all logs by two processes."""
    options = ("--config", "policy.yaml", "--out", "out", "--workers", "2", "--json")
    return audited(logs, *options), logs / "out"


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "rows.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_record_is_a_row_or_is_listed(
    done: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    """Requests of every tool are rows; broken lines are listed with their numbers; exit 1."""
    process, out = done
    found = json.loads(process.stdout)
    asked = len(list(openai_log()))
    assert process.returncode == 1, process.stderr
    assert found["total"]["requests"] == asked + 3 + 2 + 1 + 1 == len(rows_of(out))
    assert found["not_requests"] == 1
    assert found["unreadable"] == 2
    assert [(one["log"], one["line"]) for one in found["unreadable_lines"]] == [
        ("openai.jsonl", asked + 1),
        ("openai.jsonl", asked + 2),
    ]
    names = {row["log"] for row in rows_of(out)}
    assert len(names) == 5


def test_the_report_adds_up_to_its_rows(
    done: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    """Every total is the exact sum of rows.csv, by model, by action and by day alike."""
    process, out = done
    found = json.loads(process.stdout)
    compared = [row for row in rows_of(out) if not row["refused"] and row["saved_usd"]]
    was = sum(Decimal(row["as_was_usd"]) for row in compared)
    policy = sum(Decimal(row["policy_usd"]) for row in compared)
    total = found["total"]
    assert (Decimal(total["as_was_usd"]), Decimal(total["policy_usd"])) == (was, policy)
    assert Decimal(total["saved_usd"]) == was - policy > 0
    assert total["compared"] == len(compared)
    for by in ("by_model", "by_action", "by_day", "by_basis", "by_team"):
        assert sum(nano(group["as_was_usd"]) for group in found[by]) == nano(str(was))
        assert sum(group["requests"] for group in found[by]) == total["requests"]


def test_what_is_unpriced_or_refused_is_seen(
    done: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    """An unknown model is no $0 row: it is counted apart, and so is what would be refused."""
    process, _ = done
    found = json.loads(process.stdout)
    assert found["unpriced"] == [{"name": "acme-7", "requests": 1, "as_was_usd": None}]
    assert found["refused"][0]["name"] == "model_not_declared"
    assert found["recorded"]["requests"] == 5
    assert Decimal(found["recorded"]["log_usd"]) == Decimal("0.02")
    assert found["counts_only"]["requests"] == 5


def test_nothing_that_was_said_is_in_any_output(
    done: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    """No prompt text and no key of a log is in the rows, the report or the output."""
    process, out = done
    texts = [process.stdout, process.stderr, (out / "report.html").read_text()]
    texts.append((out / "rows.csv").read_text())
    words = [SECRET, "7741", "sk-never-to-be-shown"]
    short = [item for item in bundled() if item["kind"] == "short"]
    words += [item["body"]["messages"][-1]["content"] for item in short]
    for text in texts:
        assert not [word for word in words if word in text]


class _Page(HTMLParser):
    """What a page shows, and what it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in {"src", "href", "action", "data"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_stands_alone(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """The page fetches nothing, runs nothing, and shows the totals, charts and caveats."""
    process, out = done
    found, page = json.loads(process.stdout), _Page()
    source = (out / "report.html").read_text(encoding="utf-8")
    page.feed(source)
    assert page.links == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert "@import" not in source
    assert "url(" not in source
    assert page.tags.count("svg") == 2
    assert "$$" not in source
    assert Decimal(found["total"]["as_was_usd"]).quantize(Decimal("0.0001")) > 0
    shown = f"${Decimal(found['total']['as_was_usd']):.4f}"
    assert shown in page.text
    assert "2 lines could not be read" in page.text
    assert "Budgets, rate limits and retries are not part" in page.text
    assert len(source) < 60_000


def test_the_summary_is_a_table(logs: Path) -> None:
    """Without --json a person reads totals, savings, refusals and where the report is."""
    process = audited(logs, "--config", "policy.yaml", "--out", "table", "--workers", "1")
    assert process.returncode == 1
    text = " ".join(process.stdout.split())
    for said in ("as it was", "top savings", "would be refused", "without a price", "report.html"):
        assert said in text


def test_without_a_policy_one_is_assumed_and_written_down(tmp_path: Path) -> None:
    """No weir.yaml: the models of the log are declared, the file lies beside the report."""
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps(body("What is the capital of France?", "gpt-4o")) + "\n")
    command = [sys.executable, "-m", "gateway", "audit", "log.jsonl", "--json", "--workers", "1"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    found = json.loads(done.stdout)
    assert (done.returncode, found["assumed_policy"]) == (0, True)
    assert found["by_action"][0]["name"] == "route"
    assert "gpt-4o" in (tmp_path / "weir-audit" / "assumed-weir.yaml").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["missing.jsonl"], "is no file"),
        (["log.jsonl", "--config", "bad.yaml"], "bad.yaml:"),
        (["log.jsonl", "--key", "nobody"], "no key 'nobody'"),
        (["log.jsonl", "--format", "excel"], "excel"),
    ],
)
def test_bad_usage_exits_2(tmp_path: Path, options: list[str], said: str) -> None:
    """A missing log, a wrong policy, an unknown key or format is named, with exit code 2."""
    (tmp_path / "log.jsonl").write_text(json.dumps(body("Hello")) + "\n")
    (tmp_path / "bad.yaml").write_text("version: 1\nmodels: {}\nupstreams: {}\nnonsense: 1\n")
    command = [sys.executable, "-m", "gateway", "audit", *options]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr


def test_an_interrupt_reports_what_there_is(tmp_path: Path) -> None:
    """Ctrl-C while judging keeps every line that was written, and says that it is a part."""
    _, text = load_assumed([("gpt-6.1-sol", "openai")])
    task = Task(text, "weir.yaml", None, None, fit=False, now_ms=1_795_000_000_000)
    out = io.StringIO()
    seen: list[Judged] = []

    def step(done: Judged) -> None:
        seen.append(done)
        if len(seen) == 2:
            raise KeyboardInterrupt

    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(json.dumps(litellm_row(n)) for n in range(2_500)))
    read = run([(log, "log.jsonl")], task, out, 1, step)
    assert read.partial
    assert read.rows == sum(done.rows for done in seen) == 1000
    assert len(list(csv.DictReader(io.StringIO(out.getvalue())))) == 1000


@pytest.mark.slow
def test_ctrl_c_in_a_terminal(tmp_path: Path) -> None:
    """SIGINT to the whole process group ends with a partial report and the rows so far."""
    with (tmp_path / "log.jsonl").open("w") as file:
        file.writelines(json.dumps(litellm_row(n)) + "\n" for n in range(300_000))
    command = [sys.executable, "-m", "gateway", "audit", "log.jsonl", "--json", "--workers", "2"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    rows = tmp_path / "weir-audit" / "rows.csv"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (rows.exists() and rows.stat().st_size > 100_000):
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    found = json.loads(out)
    assert (found["partial"], process.returncode) == (True, 1), err
    assert 0 < found["total"]["requests"] < 300_000
    assert "interrupted" in (tmp_path / "weir-audit" / "report.html").read_text()


def test_workers_agree(logs: Path) -> None:
    """One process and two write the same rows in the same order."""
    _, text = load_assumed([("gpt-6.1-sol", "openai")])
    task = Task(text, "weir.yaml", None, None, fit=True, now_ms=1_795_000_000_000)
    names = [(logs / name, name) for name in ("openai.jsonl", "litellm.json", "helicone.jsonl")]
    one, two = io.StringIO(), io.StringIO()
    run(names, task, one, 1)
    run(names, task, two, 2)
    assert one.getvalue() == two.getvalue()
    assert run(names, task, io.StringIO(), 1, limit=3).rows == 3

"""The benchmark's metrics on cases whose answer is known."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
BENCHMARK = runpy.run_path(str(ROOT / "benchmarks" / "routing.py"))
apgr, auroc, cpt = BENCHMARK["apgr"], BENCHMARK["auroc"], BENCHMARK["cpt"]
ece, family = BENCHMARK["ece"], BENCHMARK["family"]
GAP = np.array([1.0, 1.0, 0.0, 0.0])


def test_apgr_of_a_perfect_a_blind_and_a_reversed_score() -> None:
    """Perfect order recovers early, one score for all is random, reversed is late."""
    assert apgr(np.array([4.0, 3.0, 2.0, 1.0]), GAP) == pytest.approx(0.75)
    assert apgr(np.ones(4), GAP) == pytest.approx(0.5)
    assert apgr(np.array([1.0, 2.0, 3.0, 4.0]), GAP) == pytest.approx(0.25)
    assert apgr(np.ones(4), -GAP) is None


def test_cpt_is_the_share_of_strong_calls() -> None:
    """Half the gap is recovered with a quarter of the calls, by a perfect score."""
    assert cpt(np.array([4.0, 3.0, 2.0, 1.0]), GAP, 0.5) == 25.0


def test_auroc_and_ece() -> None:
    """Ties count half; a score that is right on average has no calibration error."""
    label = np.array([True, True, False, False])
    assert auroc(np.array([0.9, 0.8, 0.2, 0.1]), label) == 1.0
    assert auroc(np.full(4, 0.5), label) == 0.5
    assert ece(np.full(4, 0.5), label) == 0.0
    assert ece(np.full(4, 0.9), label) == pytest.approx(0.4)


def test_families() -> None:
    """RouteLLM's two benchmarks stand apart, other collections are one slice each."""
    assert family("routellm/gsm8k") == "routellm/gsm8k"
    assert family("llmrouter/mbpp") == "llmrouter"
    assert family("mmlu_pro") == "mmlu_pro"


@pytest.mark.slow
def test_it_runs_on_any_file_of_that_shape(tmp_path: Path) -> None:
    """The command prints the promised JSON and writes a score a row."""
    rows = [
        {"id": f"r{n}", "source": "own/set", "category": "c", "prompt": f"What is {n} times 17?",
         "weak_model": "a", "strong_model": "b", "weak_correct": n % 2, "strong_correct": 1}
        for n in range(20)
    ]  # fmt: skip
    file, out = tmp_path / "rows.jsonl", tmp_path / "scores.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    command = [
        sys.executable,
        "-m",
        "benchmarks.routing",
        str(file),
        "--json",
        "--scores",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=ROOT)
    result = json.loads(done.stdout)
    assert set(result["slices"]) == {"own"}
    assert {"n", "apgr", "cpt50", "cpt80", "auroc", "ece"} <= set(result["slices"]["own"])
    assert isinstance(result["mean_apgr"], float)
    scores = [json.loads(line) for line in out.read_text().splitlines()]
    assert [s["id"] for s in scores] == [r["id"] for r in rows]
    assert {"small_is_enough", "gain"} <= set(scores[0])

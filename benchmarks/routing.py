"""How well the complexity score routes, on any file of labelled prompts.

    python -m benchmarks.routing ../shared/data/routing/dev.jsonl
    python -m benchmarks.routing FILE --json --scores OUT.jsonl

Metrics as RouteLLM defines them: APGR is the area under the recovered quality gap against
the share of calls to the strong model (random: 0.5); CPT50 and CPT80 the share needed for
50% and 80% of the gap. AUROC and ECE are of ``small_is_enough`` against "the weak model
did as well". The shipped weights are used and nothing is fitted on the file; random and
prompt length stand beside it, computed in the same way, with ``--litellm`` also litellm's
rule-based complexity router (its own code, in a process of its own). ``--plot OUT.svg``
draws quality against the share of strong calls.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks._routing_plot import drawing
from router.complexity import Complexity, bundled_complexity
from router.plan import RequestFacts

Array = npt.NDArray[np.float64]
BINS = 10
SAMPLES = 300
PUBLISHED = {
    "routellm/mmlu": "RouteLLM, best published: APGR 0.603, CPT50 35.4, CPT80 70.3",
    "routellm/gsm8k": "RouteLLM, best published: APGR 0.622 (an 8B LLM), next 0.568",
}


def family(source: str) -> str:
    """The slice a source belongs to: one a benchmark for routellm, else one a collection."""
    return source if source.startswith("routellm/") else source.partition("/")[0]


def recovered(score: Array, gain: Array) -> Array:
    """Share of the quality gap recovered by the k highest scores, k = 0..n.

    Rows of one score share what they recover, so their order in the file does not count.
    """
    order = np.argsort(-score, kind="stable")
    ranked, gained = score[order], gain[order].astype(float)
    groups = np.unique(-ranked, return_inverse=True)[1]
    means = np.bincount(groups, weights=gained) / np.bincount(groups)
    return np.concatenate([[0.0], np.cumsum(means[groups])]) / gained.sum()


def apgr(score: Array, gain: Array) -> float | None:
    """Area under ``recovered``; None where the strong model is not better on the whole."""
    if gain.sum() <= 0:
        return None
    curve = recovered(score, gain)
    return float((curve[1:] + curve[:-1]).mean() / 2)


def cpt(score: Array, gain: Array, share: float) -> float | None:
    """Percent of strong calls needed to recover ``share`` of the gap."""
    if gain.sum() <= 0:
        return None
    return float(np.argmax(recovered(score, gain) >= share)) / len(gain) * 100


def auroc(score: Array, label: npt.NDArray[np.bool_]) -> float | None:
    """Chance that a positive row scores above a negative one; ties count half."""
    positive, negative = score[label], score[~label]
    if not len(positive) or not len(negative):
        return None
    order = np.sort(negative)
    below = np.searchsorted(order, positive, "left") + np.searchsorted(order, positive, "right")
    return float(below.mean() / 2 / len(negative))


def ece(score: Array, label: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error over ten bins of equal width."""
    bins = np.minimum((score * BINS).astype(int), BINS - 1)
    error = 0.0
    for number in range(BINS):
        inside = bins == number
        if inside.any():
            error += inside.mean() * abs(score[inside].mean() - label[inside].mean())
    return float(error)


def interval(score: Array, gain: Array) -> list[float] | None:
    """95% bootstrap interval of the APGR (seeded)."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(SAMPLES):
        rows = rng.integers(0, len(gain), len(gain))
        value = apgr(score[rows], gain[rows])
        if value is not None:
            drawn.append(value)
    return [float(v) for v in np.percentile(drawn, [2.5, 97.5])] if drawn else None


def litellm_scores(file: str) -> Array:
    """What litellm's complexity router scores each row of ``file``."""
    command = [sys.executable, "-m", "benchmarks._routing_litellm", file]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return np.array(json.loads(done.stdout.splitlines()[-1]), dtype=float)


def plot(rows: Sequence[dict[str, Any]], columns: dict[str, Array]) -> str:
    """An SVG of the recovered gap against the share of strong calls, a panel a slice."""
    gap = np.array([float(row["strong_correct"]) - float(row["weak_correct"]) for row in rows])
    families = np.array([family(row["source"]) for row in rows])
    panels = {}
    for name in sorted(set(families)):
        here = families == name
        if gap[here].sum() > 0:
            panels[name] = {
                label: recovered(column[here], gap[here]).tolist()
                for label, column in columns.items()
            }
    return drawing(panels)


def measure(
    rows: Sequence[dict[str, Any]], scores: Sequence[Complexity], peer: Array | None = None
) -> dict[str, Any]:
    """All figures by slice, ours and the baselines'; ``peer`` is litellm's score a row."""
    gain_of = np.array([score.gain for score in scores])
    enough = np.array([score.small_is_enough for score in scores])
    gap = np.array([float(row["strong_correct"]) - float(row["weak_correct"]) for row in rows])
    lengths = np.array([float(len(row["prompt"])) for row in rows])
    random = np.random.default_rng(0).random(len(rows))
    families = np.array([family(row["source"]) for row in rows])
    slices: dict[str, Any] = {}
    for name in sorted(set(families)):
        here = families == name
        slices[name] = {
            "n": int(here.sum()),
            "apgr": apgr(gain_of[here], gap[here]),
            "apgr_95": interval(gain_of[here], gap[here]),
            "cpt50": cpt(gain_of[here], gap[here], 0.5),
            "cpt80": cpt(gain_of[here], gap[here], 0.8),
            "auroc": auroc(enough[here], gap[here] <= 0),
            "ece": ece(enough[here], gap[here] <= 0),
            "apgr_length": apgr(lengths[here], gap[here]),
            "apgr_random": apgr(random[here], gap[here]),
            "cpt50_length": cpt(lengths[here], gap[here], 0.5),
            "cpt80_length": cpt(lengths[here], gap[here], 0.8),
        }
        if peer is not None:
            slices[name]["apgr_litellm"] = apgr(peer[here], gap[here])
    both = np.isin(families, ["routellm/mmlu", "routellm/gsm8k"])
    result = {"slices": slices}
    for column in ("apgr", "apgr_length", *(["apgr_litellm"] if peer is not None else [])):
        key = f"mean_{column}"
        known = [part[column] for part in slices.values() if part[column] is not None]
        result[key] = float(np.mean(known)) if known else None
    if both.any():
        result["routellm"] = {
            "auroc": auroc(enough[both], gap[both] <= 0),
            "ece": ece(enough[both], gap[both] <= 0),
        }
    return result


def table(result: dict[str, Any]) -> str:
    """The figures for a person."""

    def shown(value: float | None, places: int = 3) -> str:
        return "-" if value is None else f"{value:.{places}f}"

    head = f"{'slice':18}{'n':>6}{'APGR':>8}{'95%':>16}{'length':>8}{'random':>8}"
    lines = [head + f"{'CPT50':>7}{'CPT80':>7}{'AUROC':>7}{'ECE':>7}"]
    for name, part in result["slices"].items():
        low_high = part["apgr_95"]
        span = "-" if low_high is None else f"{low_high[0]:.3f}-{low_high[1]:.3f}"
        lines.append(
            f"{name:18}{part['n']:>6}{shown(part['apgr']):>8}{span:>16}"
            f"{shown(part['apgr_length']):>8}{shown(part['apgr_random']):>8}"
            f"{shown(part['cpt50'], 1):>7}{shown(part['cpt80'], 1):>7}"
            f"{shown(part['auroc']):>7}{shown(part['ece']):>7}"
        )
    if "mean_apgr_litellm" in result:
        lines += [
            f"{name}: litellm's complexity router {shown(part['apgr_litellm'])}"
            for name, part in result["slices"].items()
        ]
        lines.append(f"mean of litellm's router {shown(result['mean_apgr_litellm'])}")
    lines.append(
        f"mean APGR {shown(result['mean_apgr'])}, "
        f"of prompt length {shown(result['mean_apgr_length'])}"
    )
    if "routellm" in result:
        both = result["routellm"]
        lines.append(f"MMLU + GSM8K: AUROC {shown(both['auroc'])}, ECE {shown(both['ece'])}")
    lines += [f"{name}: {text}" for name, text in PUBLISHED.items() if name in result["slices"]]
    lines.append("Labels are of models of 2023-2025, mostly English multiple choice, one turn.")
    return "\n".join(lines)


def timings() -> dict[str, dict[str, float]]:
    """Milliseconds a score by prompt size: p50 and p99 of 400 runs on varied text."""
    model, facts = bundled_complexity(), RequestFacts("auto")
    words = ["the", "quick", "proof", "of", "theorem", "n", "=", "12", "cells,", "why", "1999?"]
    rng = np.random.default_rng(0)
    result = {}
    for tokens in (50, 500, 8_000):
        taken = []
        for _ in range(400):
            text = " ".join(rng.choice(words, size=int(tokens / 1.3)))
            start = time.perf_counter()
            model.score(text, facts)
            taken.append((time.perf_counter() - start) * 1000)
        p50, p99 = np.percentile(taken, [50, 99])
        result[str(tokens)] = {"p50_ms": float(p50), "p99_ms": float(p99)}
    return result


def main() -> int:
    """Score a file and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", default="../shared/data/routing/dev.jsonl")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--scores", help="write id, small_is_enough, gain a row to this file")
    parser.add_argument("--time", action="store_true", help="also time the score by prompt size")
    parser.add_argument("--litellm", action="store_true", help="also litellm's own router")
    parser.add_argument("--plot", type=Path, help="draw the curves to this SVG")
    arguments = parser.parse_args()
    try:
        lines = Path(arguments.file).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        print(f"cannot read {arguments.file}: {error}", file=sys.stderr)
        return 2
    model, facts = bundled_complexity(), RequestFacts("auto")
    scores = [model.score(row["prompt"], facts) for row in rows]
    if arguments.scores:
        with Path(arguments.scores).open("w", encoding="utf-8") as out:
            for row, score in zip(rows, scores, strict=True):
                line = {"id": row["id"], "small_is_enough": score.small_is_enough}
                out.write(json.dumps({**line, "gain": score.gain}) + "\n")
    peer = litellm_scores(arguments.file) if arguments.litellm else None
    if arguments.plot:
        columns = {
            "the score": np.array([score.gain for score in scores]),
            "prompt length": np.array([float(len(row["prompt"])) for row in rows]),
        }
        if peer is not None:
            columns["litellm"] = peer
        arguments.plot.write_text(plot(rows, columns), encoding="utf-8")
    result = measure(rows, scores, peer)
    if arguments.time:
        result["timings"] = timings()
    print(json.dumps(result) if arguments.json else table(result))
    if arguments.time and not arguments.json:
        for tokens, taken in result["timings"].items():
            print(f"{tokens:>6} tokens: p50 {taken['p50_ms']:.2f} ms, p99 {taken['p99_ms']:.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())

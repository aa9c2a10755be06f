"""How much of the needed evidence survives a fit, and what a fit costs.

    python benchmarks/fit.py ../shared/data/longcontext/dev.jsonl --json

Each row of FILE is one context with questions and evidence (character offsets). Context
and question are sent as one user message, the context first, as a gateway's user sends
them; evidence is looked for in what would be sent. A context counts for a budget only
when it has at least 1.5 times that many tokens. "whole" is the share of questions with
95 % or more of their evidence characters kept. Head+tail and plain BM25 run beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from compressor.conversation import Conversation, Message, Part, PartKind
from compressor.fit import fit
from compressor.kit import Embedder, Kit
from compressor.measure import measure
from compressor.media import media_rule
from compressor.recipe import Fitted, Recipe, Way
from compressor.tokens import TokenCounter, load_counter

BUDGETS: dict[str, float] = {"2K": 2000, "4K": 4000, "8K": 8000, "25%": 0.25, "10%": 0.10}
MARK = re.compile(r" ?\[\.\.\. [^\[\]\n]{1,60} omitted(?: \(\d+-\d+\))? ?\.\.\.\]\n?")
JSON_MARK = re.compile(
    r'(?:"[^"\n]{1,80}": )?"\[?\.\.\. (?:\d+ (?:items?|keys) )?omitted[^"\n]{0,20}"'
    r'(?:: null|, (?="))?'
)
Spans = list[tuple[int, int]]


def chat(context: str, question: str) -> Conversation:
    """Context and question as one user message."""
    text = f"{context}\n\n{question}"
    part = Part(PartKind.TEXT, text, ("messages", 0, "content"))
    return Conversation((Message("user", (part,)),))


def kept_spans(whole: str, sent: str) -> Spans:
    """Where the pieces of ``sent`` between the gap marks stand in ``whole``, in order."""
    spans, cursor = [], 0
    for piece in MARK.split(sent):
        for bit in map(str.strip, JSON_MARK.split(piece)):
            at = whole.find(bit, cursor) if bit else -1
            if at >= 0:
                spans.append((at, at + len(bit)))
                cursor = at + len(bit)
    return spans


def covered(evidence: Sequence[dict[str, int]], spans: Spans) -> float:
    """Share of the evidence's characters within ``spans``."""
    total = sum(piece["end"] - piece["start"] for piece in evidence)
    kept = sum(
        max(0, min(end, piece["end"]) - max(start, piece["start"]))
        for piece in evidence
        for start, end in spans
    )
    return kept / max(1, total)


class Baselines:
    """Head+tail and plain BM25 (lower-case words, k1 1.2, b 0.75) over packed lines."""

    def __init__(self, context: str, counter: TokenCounter) -> None:
        self._chunks: Spans = []
        start = 0
        for line in re.finditer(r"[^\n]*\n|[^\n]+$", context):
            for at in range(line.start(), line.end(), 1200):
                end = min(at + 1200, line.end())
                if end - start > 1000 and at > start:
                    self._chunks.append((start, at))
                    start = at
        if start < len(context):
            self._chunks.append((start, len(context)))
        texts = [context[a:b] for a, b in self._chunks]
        self._tokens = counter.count_many(texts)
        self._bags = [Counter(re.findall(r"\w+", text.lower())) for text in texts]
        self._mean = statistics.fmean(bag.total() for bag in self._bags)

    def head_tail(self, budget: float) -> Spans:
        """Half of the budget from either end."""
        kept: Spans = []
        for order in (range(len(self._chunks)), range(len(self._chunks) - 1, -1, -1)):
            left = budget / 2
            for number in order:
                if self._tokens[number] > left:
                    break
                kept.append(self._chunks[number])
                left -= self._tokens[number]
        return sorted(set(kept))

    def bm25(self, question: str, budget: float) -> Spans:
        """The best chunks that fit, by plain BM25."""
        scores = [0.0] * len(self._bags)
        for word in set(re.findall(r"\w+", question.lower())):
            df = sum(word in bag for bag in self._bags)
            idf = math.log(1 + (len(self._bags) - df + 0.5) / (df + 0.5))
            for number, bag in enumerate(self._bags):
                if word in bag:
                    norm = 1.2 * (0.25 + 0.75 * bag.total() / self._mean)
                    scores[number] += idf * bag[word] * 2.2 / (bag[word] + norm)
        kept: Spans = []
        for number in sorted(range(len(scores)), key=lambda n: (-scores[n], n)):
            if self._tokens[number] <= budget:
                budget -= self._tokens[number]
                kept.append(self._chunks[number])
        return sorted(kept)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows that have evidence to look for."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            row["qas"] = [qa for qa in row["qas"] if qa["evidence"]]
            if row["qas"]:
                yield row


def run_row(row: dict[str, Any], kit: Kit, found: dict[str, list[dict[str, Any]]]) -> None:
    """Fit every question of one row at every budget."""
    context = row["context"]
    size = kit.counter.count(context)
    others = Baselines(context, kit.counter)
    for qa in row["qas"]:
        conversation = chat(context, qa["question"])
        measurement = measure(conversation, kit.counter, media_rule("openai_tiles"))
        for name, budget in BUDGETS.items():
            target = budget if budget > 1 else budget * measurement.prompt_tokens
            if budget > 1 and size < 1.5 * target:
                continue
            started = time.perf_counter()
            fitted = fit(conversation, measurement, Recipe(Way.TRIM, int(target)), kit)
            took = time.perf_counter() - started
            found[name].append(
                {
                    "kind": row["kind"],
                    "source": row["source"],
                    "question": qa["question"],
                    "fit": covered(qa["evidence"], _sent(conversation, fitted)),
                    "refused": fitted.refused,
                    "confidence": fitted.confidence,
                    "tokens": fitted.prompt_tokens,
                    "over": not fitted.refused and fitted.prompt_tokens > target,
                    "ms": took * 1000,
                    "head_tail": covered(qa["evidence"], others.head_tail(target)),
                    "bm25": covered(qa["evidence"], others.bm25(qa["question"], target)),
                }
            )


def _sent(conversation: Conversation, fitted: Fitted) -> Spans:
    whole = conversation.messages[0].text
    return kept_spans(whole, fitted.edits[0].text) if fitted.edits else [(0, len(whole))]


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and whole in per cent of each method; ``trimmed`` leaves refusals out."""
    trimmed = [one for one in results if not one["refused"]]
    out: dict[str, Any] = {"questions": len(results)}
    for method in ("head_tail", "bm25", "fit"):
        out[method] = _figures([one[method] for one in results])
    out["trimmed"] = _figures([one["fit"] for one in trimmed])
    out["refused"] = round(100 * (1 - len(trimmed) / max(1, len(results))), 1)
    out["over_budget"] = sum(one["over"] for one in results)
    return out


def _figures(kept: list[float]) -> list[float]:
    if not kept:
        return [0.0, 0.0]
    whole = sum(share >= 0.95 for share in kept) / len(kept)
    return [round(100 * statistics.fmean(kept), 1), round(100 * whole, 1)]


def timings(path: Path, kit: Kit) -> dict[str, float]:
    """CPU ms of one fit to 4K tokens at 32K, 128K and 1M tokens (measuring apart), median of 3."""
    texts = [row["context"] for row in rows(path)]
    question = "Which function returns the longest prefix, and what did the manager decide on cost?"
    out: dict[str, float] = {}
    for name, tokens in {"32K": 32_000, "128K": 128_000, "1M": 1_000_000}.items():
        text, size, number = "", 0, 0
        while size < tokens:
            text += texts[number % len(texts)] + "\n\n"
            size = kit.counter.count(text)
            number += 1
        text = text[: int(len(text) * tokens / size)]
        spent = []
        for _ in range(3):
            conversation = chat(text, question)
            measurement = measure(conversation, kit.counter, media_rule("openai_tiles"))
            started = time.process_time()
            recipe = Recipe(Way.TRIM, 4000, time_limit_ms=60_000)
            fit(conversation, measurement, recipe, kit)
            spent.append((time.process_time() - started) * 1000)
        out[name] = round(statistics.median(spent), 1)
    return out


def main() -> int:
    """Run and print; nothing here gates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "file", type=Path, nargs="?", default=Path("../shared/data/longcontext/dev.jsonl")
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--dense", action="store_true", help="with the packaged MiniLM (slow)")
    parser.add_argument("--rows", type=Path, help="write every single result here, as JSON Lines")
    parser.add_argument("--no-timing", action="store_true")
    arguments = parser.parse_args()
    embedder: Embedder | None = None
    if arguments.dense:
        from compressor.embedder import load_embedder

        embedder = load_embedder()
    kit = Kit(load_counter("o200k_base"), embedder)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows(arguments.file):
        run_row(row, kit, found)
        print(".", end="", file=sys.stderr, flush=True)
    if arguments.rows:
        lines = [json.dumps({"budget": name, **one}) for name in found for one in found[name]]
        arguments.rows.write_text("\n".join(lines) + "\n", encoding="utf-8")
    report = {
        "file": str(arguments.file),
        "overall": {name: summary(found[name]) for name in BUDGETS},
        "by_kind": {
            kind: {
                name: summary([one for one in found[name] if one["kind"] == kind])
                for name in BUDGETS
            }
            for kind in sorted({one["kind"] for results in found.values() for one in results})
        },
        "cpu_ms": {} if arguments.no_timing else timings(arguments.file, kit),
    }
    print(file=sys.stderr)
    print(json.dumps(report, indent=1) if arguments.json else table(report))
    return 0


def table(report: dict[str, Any]) -> str:
    """The report for people: mean/whole of each method by budget and kind."""
    lines = [f"{'':22}" + "".join(f"{name:>30}" for name in BUDGETS)]
    lines.append(f"{'':22}" + f"{'head+tail  bm25  fit (ref%)':>30}" * len(BUDGETS))
    for kind, by_budget in {"all": report["overall"], **report["by_kind"]}.items():
        cells = []
        for name in BUDGETS:
            one = by_budget[name]
            shown = "/".join(f"{value:.0f}" for value in one["fit"])
            cells.append(
                f"{one['head_tail'][0]:.0f} {one['bm25'][0]:.0f} {shown} ({one['refused']:.0f})"
                f" n{one['questions']}"
                if one["questions"]
                else "-"
            )
        lines.append(f"{kind:22}" + "".join(f"{cell:>30}" for cell in cells))
    lines.append("CPU ms a fit: " + json.dumps(report["cpu_ms"]))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

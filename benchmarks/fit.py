"""How much of the needed evidence survives a fit, and what a fit costs.

    python -m benchmarks.fit ../shared/data/longcontext/dev.jsonl --json
    python -m benchmarks.fit FILE --headroom FOLDER --plot docs/images/context-fit.svg

Each row of FILE is one context with questions and evidence (character offsets). Context
and question are sent as one user message, the context first, as a gateway's user sends
them; evidence is looked for in what would be sent. A context counts for a budget only
when it has at least 1.5 times that many tokens. "whole" is the share of questions with
95 % or more of their evidence characters kept. Head+tail and plain BM25 run beside it, and
with --headroom the package of that name, installed into an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # run as a file, too

from benchmarks._fit_others import Baselines, Headroom, Spans, echoed  # noqa: E402 - the path comes first
from benchmarks._fit_report import other_summary, plot, summary, table  # noqa: E402
from compressor.conversation import Conversation, Message, Part, PartKind  # noqa: E402
from compressor.fit import fit  # noqa: E402
from compressor.kin import packaged_vectors  # noqa: E402
from compressor.kit import Embedder, Kit  # noqa: E402
from compressor.measure import Measurement, measure  # noqa: E402
from compressor.media import media_rule  # noqa: E402
from compressor.protect import open_spans  # noqa: E402
from compressor.recipe import Fitted, Recipe, Way  # noqa: E402
from compressor.relevance import rank_pieces  # noqa: E402
from compressor.text import WORD  # noqa: E402
from compressor.tokens import load_counter  # noqa: E402
from compressor.trim import choose, take_apart  # noqa: E402
from router.fitting import NEED_SURE  # noqa: E402
from router.need import NeedKind, classify  # noqa: E402
from router.plan import RequestFacts  # noqa: E402

BUDGETS: dict[str, float] = {"2K": 2000, "4K": 4000, "8K": 8000, "25%": 0.25, "10%": 0.10}
SIZES = {"32K": 32_000, "128K": 128_000, "1M": 1_000_000}
MARK = re.compile(r" ?\[\.\.\. [^\[\]\n]{1,60} omitted(?: \(\d+-\d+\))? ?\.\.\.\]\n?")
JSON_MARK = re.compile(
    r'(?:"[^"\n]{1,80}": )?"\[?\.\.\. (?:\d+ (?:items?|keys) )?omitted[^"\n]{0,20}"'
    r'(?:: null|, (?="))?'
)


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


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows that have evidence to look for; ``kind`` and ``source`` may be missing."""
    with path.open(encoding="utf-8") as file:
        for line in filter(str.strip, file):
            row = json.loads(line)
            row["qas"] = [qa for qa in row["qas"] if qa.get("evidence")]
            row.setdefault("kind", "unknown")
            row.setdefault("source", row["kind"])
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
        need = classify(measurement.question, RequestFacts("auto"), measurement)
        for name, budget in BUDGETS.items():
            target = budget if budget > 1 else budget * measurement.prompt_tokens
            if budget > 1 and size < 1.5 * target:
                continue
            started = time.process_time()
            fitted = fit(conversation, measurement, Recipe(Way.TRIM, int(target)), kit)
            took = time.process_time() - started
            kept = survived(context, qa["evidence"], conversation, fitted)
            always = kept
            if fitted.refused:
                always = covered(qa["evidence"], forced(conversation, measurement, target, kit))
            found[name].append(
                {
                    "kind": row["kind"],
                    "source": row["source"],
                    "question": qa["question"],
                    "fit": kept,
                    "always": always,
                    "refused": fitted.refused,
                    "confidence": fitted.confidence,
                    "lookup": need.kind is NeedKind.LOOKUP and need.confidence >= NEED_SURE,
                    "tokens": fitted.prompt_tokens,
                    "over": not fitted.refused and fitted.prompt_tokens > target,
                    "ms": took * 1000,
                    "head_tail": covered(qa["evidence"], others.head_tail(target)),
                    "bm25": covered(qa["evidence"], others.bm25(qa["question"], target)),
                }
            )


def forced(conversation: Conversation, measurement: Measurement, target: float, kit: Kit) -> Spans:
    """What a trim that may not refuse would keep."""
    spans = open_spans(conversation, kit.counter, 0)
    room = int(target) - (measurement.prompt_tokens - sum(span.tokens for span in spans))
    if not spans or room <= 0:
        return []
    found = take_apart(spans, kit.counter, room)
    question = measurement.question
    ranking = rank_pieces(found, f"{question}\n", kit.embedder, packaged_vectors())
    kept = choose(found, ranking.scores, room)
    return [(found.pieces[at].start, found.pieces[at].end) for at in kept]


def survived(
    context: str, evidence: Sequence[dict[str, int]], conversation: Conversation, fitted: Fitted
) -> float:
    """Share of the evidence in what would be sent.

    A trim by characters. A lossless form has the same content in another order of words,
    so there the share of the evidence's own words counts.
    """
    if not fitted.edits:
        return 1.0
    sent = fitted.edits[0].text
    if fitted.way is Way.LOSSLESS:
        said = [word for e in evidence for word in WORD.findall(context[e["start"] : e["end"]])]
        return sum(word in sent for word in said) / max(1, len(said))
    return covered(evidence, kept_spans(conversation.messages[0].text, sent))


def compare(row: dict[str, Any], kit: Kit, other: Headroom) -> Iterator[dict[str, Any]]:
    """The other package's result for every question of one row."""
    context = row["context"]
    size = kit.counter.count(context)
    for qa in row["qas"]:
        sent, took = other.shorten(context, qa["question"])
        kept = echoed(context, qa["evidence"], sent)
        count = kit.counter.count(sent)
        yield {"kind": row["kind"], "kept": kept, "sent": count, "tokens": size, "ms": took}


def timings(path: Path, kit: Kit) -> dict[str, float]:
    """CPU ms of one fit to 4K tokens by size (measuring apart), median of 3."""
    texts = [row["context"] for row in rows(path)]
    question = "Which function returns the longest prefix, and what did the manager decide on cost?"
    out: dict[str, float] = {}
    for name, tokens in SIZES.items():
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


def report_on(arguments: argparse.Namespace, kit: Kit) -> dict[str, Any]:
    """Everything that was asked for, as one JSON-able value."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    others: list[dict[str, Any]] = []
    other = Headroom(arguments.headroom) if arguments.headroom else None
    for row in rows(arguments.file):
        run_row(row, kit, found)
        if other is not None:
            others += compare(row, kit, other)
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if other is not None:
        other.close()
    if arguments.rows:
        lines = [json.dumps({"budget": name, **one}) for name in found for one in found[name]]
        arguments.rows.write_text("\n".join(lines) + "\n", encoding="utf-8")
    kinds = sorted({one["kind"] for results in found.values() for one in results})
    headroom = {
        kind: other_summary([one for one in others if kind in ("all", one["kind"])])
        for kind in (("all", *kinds) if others else ())
    }
    return {
        "file": str(arguments.file),
        "overall": {name: summary(found[name]) for name in BUDGETS},
        "by_kind": {kind: _of_kind(found, kind) for kind in kinds},
        "headroom": headroom,
        "cpu_ms": {} if arguments.no_timing else timings(arguments.file, kit),
    }


def _of_kind(found: dict[str, list[dict[str, Any]]], kind: str) -> dict[str, Any]:
    return {name: summary([one for one in found[name] if one["kind"] == kind]) for name in BUDGETS}


def main() -> int:
    """Run and print; nothing here gates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "file", type=Path, nargs="?", default=Path("../shared/data/longcontext/dev.jsonl")
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--dense", action="store_true", help="with the packaged MiniLM (slow)")
    parser.add_argument("--rows", type=Path, help="write every single result here, as JSON Lines")
    parser.add_argument("--plot", type=Path, help="write a bar chart here, as SVG")
    parser.add_argument(
        "--headroom", type=Path, help="compare with headroom-ai, installed into this folder"
    )
    parser.add_argument("--no-timing", action="store_true")
    arguments = parser.parse_args()
    embedder: Embedder | None = None
    if arguments.dense:
        from compressor.embedder import load_embedder

        embedder = load_embedder()
    report = report_on(arguments, Kit(load_counter("o200k_base"), embedder))
    if arguments.plot:
        plot(report, list(BUDGETS), arguments.plot)
    print(json.dumps(report, indent=1) if arguments.json else table(report, list(BUDGETS)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

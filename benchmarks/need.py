"""What kind of reading questions are taken for, against labels made from long-context data.

    python -m benchmarks.need ../shared/data/longcontext/train.jsonl [MORE.jsonl ...] [--json]

A question's label follows from its answer: ``one place`` (a span or a yes/no whose evidence
stands in one place), ``places`` (evidence in several), ``summary``, ``free`` (free text,
one place or none known), ``position`` (asks by number or order). A *sure look-up*, confidence
0.7 or more, may be trimmed: right for one place, dangerous for a summary. The last line puts
"And", "So" or "Ok, and" before each question, as a conversation does: nothing should change.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compressor.measure import Measurement
from router.need import NeedKind, classify
from router.plan import RequestFacts

SURE = 0.7
OPENINGS = ("And ", "So ", "Ok, and ")
FACTS = RequestFacts("auto", human_turns=2)
DOCUMENT = Measurement(
    prompt_tokens=9_000,
    message_tokens=(9_000,),
    by_role={"user": 9_000},
    tools_tokens=0,
    media_tokens=0,
    tokenizer="o200k_base",
    exact=True,
    segments=1,
    question="",
    document_tokens=8_900,
)


def examples(path: Path) -> Iterator[tuple[str, str]]:
    """Each question with its label."""
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for qa in row["qas"]:
            yield qa["question"], _label(qa, row)


def _label(qa: dict[str, Any], row: dict[str, Any]) -> str:
    kind = qa["answer_type"]
    if kind == "summary":
        return "summary"
    if "topic" in qa["question"].lower() and row["kind"] == "dialogue" and kind == "span":
        return "position"
    if kind == "free":
        return "free"
    return "one place" if len(qa["evidence"]) <= 1 else "places"


def taken_for(question: str) -> str:
    """What it is taken for; a look-up that is not sure is said so."""
    need = classify(question, FACTS, DOCUMENT)
    if need.kind is NeedKind.LOOKUP:
        return "lookup" if need.confidence >= SURE else "unsure lookup"
    return need.kind.value


def table(rows: list[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """How many questions of each label are taken for what."""
    counts: dict[str, Counter[str]] = {}
    for question, label in rows:
        counts.setdefault(label, Counter())[taken_for(question)] += 1
    return {label: dict(found) for label, found in sorted(counts.items())}


def turned(rows: list[tuple[str, str]]) -> float:
    """The share of questions that an opening word makes another kind of."""
    changed = sum(
        taken_for(opening + question[:1].lower() + question[1:]) != taken_for(question)
        for question, _ in rows
        for opening in OPENINGS
    )
    return changed / max(1, len(rows) * len(OPENINGS))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [row for path in options.files for row in examples(path)]
    found, flips = table(rows), turned(rows)
    if options.json:
        print(json.dumps({"questions": len(rows), "taken_for": found, "turned": flips}))
        return
    for label, counts in found.items():
        total = sum(counts.values())
        said = ", ".join(f"{name} {n / total:.1%}" for name, n in sorted(counts.items()))
        print(f"{label:<10} {total:>6}  {said}")
    print(f"an opening word turns {flips:.1%} of {len(rows):,} questions into another kind")


if __name__ == "__main__":
    main()

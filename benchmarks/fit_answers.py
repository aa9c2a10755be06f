"""Whether a real small model answers as well from a trimmed prompt as from head and tail.

    python scripts/fetch_local_model.py
    python -m benchmarks.fit_answers ../shared/data/longcontext/dev.jsonl --minutes 10

Each question with a short answer is asked twice, with the same number of tokens of its
context: what our trim keeps, and the context's head and tail, cut to the token. The reply is
right when it holds one of the labelled answers. Questions that the gate would send whole are
left out. Greedy decoding; the order of questions is fixed by their hash, so that a shorter
run is the beginning of a longer one. Each answered pair is a line of ``--journal``: a run that
was stopped goes on there, and a pair whose prompts have changed since is asked anew. The
intervals are paired bootstraps, 95 %: over questions, and over whole documents, whose
questions are not independent.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # run as a file, too

from benchmarks.fit import chat, rows  # noqa: E402 - the path comes first
from compressor.fit import fit  # noqa: E402
from compressor.kit import Kit  # noqa: E402
from compressor.measure import measure  # noqa: E402
from compressor.media import media_rule  # noqa: E402
from compressor.recipe import Recipe, Way  # noqa: E402
from compressor.tokens import TokenCounter, load_counter  # noqa: E402

ANSWER_CHARS = 40
NEW_TOKENS = 64  # 32 cut prices and long identifiers off
SAMPLES = 10_000
ASKED = "Answer in a few words, from the text only."
GAP = "\n[...]\n"


@dataclass(frozen=True, slots=True)
class Pair:
    """One question with both prompts, of the same number of tokens."""

    document: str
    source: str
    answers: tuple[str, ...]
    trimmed: str
    head_tail: str


def pairs(path: Path, kit: Kit, target: int) -> Iterator[Pair]:
    """Questions with short answers, in an order that only depends on them."""
    asked: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    for row in rows(path):
        for qa in row["qas"]:
            answers = [str(answer) for answer in qa.get("answers", [])]
            if answers and max(map(len, answers)) <= ANSWER_CHARS and qa["answer_type"] == "span":
                key = hashlib.sha256(f"{row['id']} {qa['question']}".encode()).hexdigest()
                asked.append((key, row, qa))
    for _, row, qa in sorted(asked, key=lambda one: one[0]):
        context, question = row["context"], qa["question"]
        conversation = chat(context, question)
        measurement = measure(conversation, kit.counter, media_rule("openai_tiles"))
        fitted = fit(conversation, measurement, Recipe(Way.TRIM, target), kit)
        if fitted.refused or not fitted.edits:
            continue
        trimmed = fitted.edits[0].text
        other = ends(context, question, kit.counter.count(trimmed), kit.counter)
        yield Pair(row["id"], row["source"], tuple(map(str, qa["answers"])), trimmed, other)


def ends(context: str, question: str, tokens: int, counter: TokenCounter) -> str:
    """As much of the context's head and tail, in equal parts, as fits beside the question."""
    few, many = 0, len(context) // 2
    while few < many:
        half = (few + many + 1) // 2
        if counter.count(_prompt(context, question, half)) <= tokens:
            few = half
        else:
            many = half - 1
    return _prompt(context, question, few)


def _prompt(context: str, question: str, half: int) -> str:
    return f"{context[:half]}{GAP}{context[len(context) - half :]}\n\n{question}"


class Model:
    """A transformers chat model from a folder, on the CPU, greedy."""

    def __init__(self, folder: Path, dtype: str, threads: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(threads)
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()

    def answer(self, prompt: str) -> str:
        """The reply to one user message."""
        import torch

        turns = [{"role": "system", "content": ASKED}, {"role": "user", "content": prompt}]
        text = self._tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True
        )
        inputs = self._tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            out = self._model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        new = out[0, inputs["input_ids"].shape[1] :]
        return str(self._tokenizer.decode(new, skip_special_tokens=True))


class Journal:
    """Answered pairs as JSON lines, by what was asked of whom."""

    def __init__(self, path: Path, model: str) -> None:
        self._path, self._model = path, model
        self._known: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if text and not text.endswith("\n"):  # the last line of a run that was killed
            path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
        for line in text.splitlines():
            try:
                row = json.loads(line)
                self._known[row["key"]] = row
            except (ValueError, LookupError, TypeError):
                continue

    def answered(self, pair: Pair, answer: Callable[[str], str] | None) -> dict[str, Any] | None:
        """The row of ``pair``, asked now if it is new; None where nobody may be asked."""
        asked = (self._model, ASKED, NEW_TOKENS, pair.trimmed, pair.head_tail)
        key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]
        if key not in self._known and answer is not None:
            self._known[key] = {
                "key": key, "document": pair.document, "source": pair.source,
                "answers": list(pair.answers),
                "trimmed": answer(pair.trimmed), "head_tail": answer(pair.head_tail),
            }  # fmt: skip
            with self._path.open("a", encoding="utf-8") as out:
                out.write(json.dumps(self._known[key], ensure_ascii=False) + "\n")
        return self._known.get(key)


def is_right(reply: str, answers: tuple[str, ...]) -> bool:
    """Whether one of the answers stands in the reply, case, punctuation and underscores aside."""
    said = f" {_plain(reply)} "
    return any(f" {_plain(answer)} " in said for answer in answers)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


def interval(
    trimmed: Sequence[bool], others: Sequence[bool], groups: Sequence[str] | None = None
) -> tuple[float, float, float]:
    """The mean difference and its 95 % interval, percentage points; ``groups`` are drawn whole."""
    gain = 100.0 * (np.array(trimmed, dtype=float) - np.array(others, dtype=float))
    names = np.unique(groups if groups is not None else np.arange(len(gain)), return_inverse=True)[
        1
    ]
    sums, sizes = np.bincount(names, weights=gain), np.bincount(names)
    drawn = np.random.default_rng(0).integers(0, len(sums), (SAMPLES, len(sums)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return round(float(gain.mean()), 1), round(float(low), 1), round(float(high), 1)


def report(found: Sequence[dict[str, Any]], target: int) -> dict[str, Any]:
    """Rates, their difference with both intervals, and the rates by source."""
    trimmed = [is_right(row["trimmed"], tuple(row["answers"])) for row in found]
    others = [is_right(row["head_tail"], tuple(row["answers"])) for row in found]
    documents = [str(row["document"]) for row in found]
    gain, low, high = interval(trimmed, others)
    by_source: dict[str, list[int]] = {}
    for row, one, other in zip(found, trimmed, others, strict=True):
        counts = by_source.setdefault(row["source"], [0, 0, 0])
        for at, more in enumerate((1, one, other)):
            counts[at] += more
    return {
        "questions": len(found),
        "documents": len(set(documents)),
        "tokens": target,
        "right_trimmed": round(100 * float(np.mean(trimmed)), 1),
        "right_head_tail": round(100 * float(np.mean(others)), 1),
        "only_trimmed": sum(a and not b for a, b in zip(trimmed, others, strict=True)),
        "only_head_tail": sum(b and not a for a, b in zip(trimmed, others, strict=True)),
        "gain_points": gain,
        "interval_95": [low, high],
        "interval_95_documents": list(interval(trimmed, others, documents)[1:]),
        "by_source": {
            name: dict(zip(("asked", "trimmed", "head_tail"), counts, strict=True))
            for name, counts in sorted(by_source.items())
        },
    }


def main() -> int:
    """Ask until the time is up, then print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", type=Path, default=Path(".cache/local-model"))
    parser.add_argument(
        "--dtype", default="float32", help="bfloat16 is faster where there is AVX-512"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--tokens", type=int, default=600, help="prompt, question included")
    parser.add_argument("--most", type=int, default=500, help="questions at most")
    parser.add_argument("--journal", type=Path, default=Path("artifacts/fit_answers.jsonl"))
    arguments = parser.parse_args()
    model = Model(arguments.model, arguments.dtype, arguments.threads)
    stamp = arguments.model / "fetched.json"
    name = stamp.read_text(encoding="utf-8") if stamp.exists() else str(arguments.model)
    journal = Journal(arguments.journal, f"{name} {arguments.dtype}")
    end = time.monotonic() + 60 * arguments.minutes
    found: list[dict[str, Any]] = []
    for pair in pairs(arguments.file, Kit(load_counter("o200k_base")), arguments.tokens):
        may_ask = time.monotonic() < end
        row = journal.answered(pair, model.answer if may_ask else None)
        if row is None:
            break
        found.append(row)
        print(".", end="", file=sys.stderr, flush=True)
        if len(found) >= arguments.most:
            break
    if not found:
        print("no question could be asked in the time given", file=sys.stderr)
        return 1
    print(f"\n{json.dumps(report(found, arguments.tokens), indent=1)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Whether a real small model answers as well from a trimmed prompt as from head and tail.

    python scripts/fetch_local_model.py
    python -m benchmarks.fit_answers ../shared/data/longcontext/dev.jsonl --minutes 10

Each question with a short answer is asked twice, with the same number of tokens of its
context: what our trim keeps, and the context's head and tail. The reply is right when it
holds one of the labelled answers. Questions that the gate would send whole are left out.
Greedy decoding; the order of questions is fixed by their hash, so that a shorter run is the
beginning of a longer one. The interval is a paired bootstrap, 95 %.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # run as a file, too

from benchmarks._fit_others import Baselines  # noqa: E402 - the path comes first
from benchmarks.fit import chat, rows  # noqa: E402
from compressor.fit import fit  # noqa: E402
from compressor.kit import Kit  # noqa: E402
from compressor.measure import measure  # noqa: E402
from compressor.media import media_rule  # noqa: E402
from compressor.recipe import Recipe, Way  # noqa: E402
from compressor.tokens import load_counter  # noqa: E402

TARGET = 600  # prompt tokens, question included
ANSWER_CHARS = 40
NEW_TOKENS = 32
SAMPLES = 10_000
ASKED = "Answer in a few words, from the text only."


@dataclass(frozen=True, slots=True)
class Pair:
    """One question with both prompts."""

    source: str
    answers: tuple[str, ...]
    trimmed: str
    head_tail: str


def pairs(path: Path, kit: Kit) -> Iterator[Pair]:
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
        fitted = fit(conversation, measurement, Recipe(Way.TRIM, TARGET), kit)
        if fitted.refused or not fitted.edits:
            continue
        room = fitted.prompt_tokens - kit.counter.count(question)
        spans = Baselines(context, kit.counter).head_tail(room)
        ends = "\n[...]\n".join(context[start:end] for start, end in spans)
        if not spans:
            half = len(context) * room // max(1, 2 * measurement.prompt_tokens)
            ends = f"{context[:half]}\n[...]\n{context[-half:]}"
        answers = tuple(map(str, qa["answers"]))
        yield Pair(row["source"], answers, fitted.edits[0].text, f"{ends}\n\n{question}")


class Model:
    """A transformers chat model from a folder, on the CPU, greedy."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")

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


def is_right(reply: str, answers: tuple[str, ...]) -> bool:
    """Whether one of the answers stands in the reply, case and punctuation aside."""
    said = f" {_plain(reply)} "
    return any(f" {_plain(answer)} " in said for answer in answers)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def interval(trimmed: list[bool], others: list[bool]) -> tuple[float, float, float]:
    """The mean difference and its 95 % interval, percentage points, questions resampled."""
    gain = 100.0 * (np.array(trimmed, dtype=float) - np.array(others, dtype=float))
    drawn = np.random.default_rng(0).integers(0, len(gain), (SAMPLES, len(gain)))
    low, high = np.percentile(gain[drawn].mean(1), [2.5, 97.5])
    return round(float(gain.mean()), 1), round(float(low), 1), round(float(high), 1)


def main() -> int:
    """Ask until the time is up, then print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", type=Path, default=Path(".cache/local-model"))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--most", type=int, default=200, help="questions at most")
    arguments = parser.parse_args()
    model = Model(arguments.model)
    end = time.monotonic() + 60 * arguments.minutes
    trimmed: list[bool] = []
    others: list[bool] = []
    for pair in pairs(arguments.file, Kit(load_counter("o200k_base"))):
        if time.monotonic() > end or len(trimmed) >= arguments.most:
            break
        trimmed.append(is_right(model.answer(pair.trimmed), pair.answers))
        others.append(is_right(model.answer(pair.head_tail), pair.answers))
        print(".", end="", file=sys.stderr, flush=True)
    if not trimmed:
        print("no question could be asked in the time given", file=sys.stderr)
        return 1
    gain, low, high = interval(trimmed, others)
    report = {
        "questions": len(trimmed),
        "tokens": TARGET,
        "right_trimmed": round(100 * float(np.mean(trimmed)), 1),
        "right_head_tail": round(100 * float(np.mean(others)), 1),
        "gain_points": gain,
        "interval_95": [low, high],
    }
    print(f"\n{json.dumps(report, indent=1)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a fit is compared with: head and tail, plain BM25, and another compressor's package."""

from __future__ import annotations

import json
import math
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compressor.tokens import TokenCounter

Spans = list[tuple[int, int]]
HEADROOM = "headroom-ai==0.42.0"
INSTALL_S = 900
LINE = re.compile(r"[^\n]+")
LONG_LINE = 200  # characters; a longer line counts by its sentences
SENTENCE = re.compile(r"[^.!?]+[.!?]*")

# Runs inside the other package's own environment: one JSON line in, one out.
RUNNER = """
import json, sys, time
from headroom import compress
for line in sys.stdin:
    asked = json.loads(line)
    started = time.process_time()
    result = compress(asked["messages"], model="gpt-4o", compress_user_messages=True)
    took = (time.process_time() - started) * 1000
    print(json.dumps({"messages": result.messages, "ms": took}), flush=True)
"""


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
                    norm = 1.2 * (0.25 + 0.75 * bag.total() / max(1.0, self._mean))
                    scores[number] += idf * bag[word] * 2.2 / (bag[word] + norm)
        kept: Spans = []
        for number in sorted(range(len(scores)), key=lambda n: (-scores[n], n)):
            if self._tokens[number] <= budget:
                budget -= self._tokens[number]
                kept.append(self._chunks[number])
        return sorted(kept)


class Headroom:
    """headroom-ai in a virtual environment of its own, never a dependency of ours.

    Its public ``compress`` is used with user messages open to it and all else as it comes:
    it chooses itself how much it removes, so it has one result a question and no budget.
    """

    def __init__(self, folder: Path) -> None:
        python = folder / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        command = [str(python), "-c", "import headroom"]
        installed = subprocess.run(command, capture_output=True, check=False)
        if installed.returncode:
            command = [str(python), "-m", "pip", "install", "--quiet", HEADROOM]
            subprocess.run(command, check=True, timeout=INSTALL_S)
        self._process = subprocess.Popen(
            [str(python), "-c", RUNNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={"HEADROOM_TELEMETRY": "off", "HEADROOM_OFFLINE": "1", "HOME": str(folder)},
        )

    def shorten(self, context: str, question: str) -> tuple[str, float]:
        """What it would send of the context, and the CPU time it took, ms."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the other package's process has no pipes")
        messages = [{"role": "user", "content": context}, {"role": "user", "content": question}]
        self._process.stdin.write(json.dumps({"messages": messages}) + "\n")
        self._process.stdin.flush()
        while True:
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"{HEADROOM} ended early")
            if line.startswith('{"messages"'):
                break
        answer: dict[str, Any] = json.loads(line)
        return str(answer["messages"][0]["content"]), float(answer["ms"])

    def close(self) -> None:
        """End its process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=30)


def echoed(context: str, evidence: Sequence[dict[str, int]], sent: str) -> float:
    """Share of the evidence's characters in lines or sentences that ``sent`` has word for word.

    For results that are rewritten: what moved is found, what was reworded is not. Blank
    space does not count: JSON written closer is the same.
    """
    known = "".join(sent.split())
    total = kept = 0
    for piece in evidence:
        for line in LINE.findall(context[piece["start"] : piece["end"]]):
            for bit in SENTENCE.findall(line) if len(line) > LONG_LINE else [line]:
                said = "".join(bit.split())
                total += len(said)
                kept += len(said) if said in known else 0
    return kept / max(1, total)

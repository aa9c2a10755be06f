"""How fast `weir audit` is: rows a second, and the most memory that it takes.

    python benchmarks/audit.py --rows 1000000 --kind counts
    python benchmarks/audit.py --rows 20000 --kind bodies

``counts`` are LiteLLM spend logs without prompts; ``bodies`` the bundled sample's short
prompts over and over, each with a number of its own, so that no count is found in a cache.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.demo_traffic import bundled

MODELS = (("gpt-6.1-sol", "openai"), ("gpt-6-luna", "openai"), ("claude-sonnet-5-5", "anthropic"))
START = datetime(2026, 10, 1, tzinfo=UTC)


def counts(rows: int) -> Iterator[dict[str, Any]]:
    """Spend log rows with sizes like those of a support team's month."""
    rng = random.Random(7)
    for number in range(rows):
        model, provider = rng.choice(MODELS)
        prompt, answer = int(rng.lognormvariate(7.5, 1.2)), rng.randint(20, 900)
        moment = START + timedelta(seconds=2.5 * number)
        yield {
            "request_id": f"chatcmpl-{number}",
            "call_type": "acompletion",
            "spend": round(prompt * 2e-6 + answer * 1e-5, 9),
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "startTime": moment.isoformat(),
            "model": model,
            "model_group": model,
            "custom_llm_provider": provider,
            "metadata": {"user_api_key_team_alias": rng.choice(["support", "claims", "search"])},
            "cache_hit": "False",
        }


def bodies(rows: int) -> Iterator[dict[str, Any]]:
    """Request and usage; prompts of the bundled sample below 8,000 characters."""
    rng = random.Random(7)
    sample = [item["body"] for item in bundled() if len(json.dumps(item["body"])) < 8_000]
    for number in range(rows):
        body = json.loads(json.dumps(sample[number % len(sample)]))
        last = body["messages"][-1]
        if isinstance(last.get("content"), str):
            last["content"] += f" (case {number})"
        usage = {
            "prompt_tokens": len(json.dumps(body)) // 4,
            "completion_tokens": rng.randint(20, 400),
        }
        moment = START + timedelta(seconds=30 * number)
        yield {
            "id": f"req_{number}",
            "created_at": moment.isoformat(),
            "request": body,
            "response": {"model": body["model"], "usage": usage},
        }


def main() -> None:
    """Write a log, audit it in a process of its own, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--kind", choices=["counts", "bodies"], default="counts")
    parser.add_argument("--workers", type=int, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        with log.open("w", encoding="utf-8") as file:
            made = counts(options.rows) if options.kind == "counts" else bodies(options.rows)
            file.writelines(json.dumps(row) + "\n" for row in made)
        command = [sys.executable, "-m", "gateway", "audit", str(log), "--json"]
        command += ["--out", str(Path(folder) / "out")]
        command += ["--workers", str(options.workers)] if options.workers else []
        started = time.perf_counter()
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
        took = time.perf_counter() - started
        found = json.loads(done.stdout)
        used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(
            f"{options.kind}: {found['total']['requests']:,} rows of {log.stat().st_size >> 20} MB "
            f"in {took:.1f} s, {found['total']['requests'] / took:,.0f} rows/s, largest process "
            f"{used:.0f} MB, exit {done.returncode}"
        )


if __name__ == "__main__":
    main()

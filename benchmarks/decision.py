"""How long a decision takes, by size of the prompt, and whether it ever holds up the event loop.

    python -m benchmarks.decision

A decision is all that happens before money moves: measure, score, need, memory of the
conversation, candidates, the body. Times are medians and 99th percentiles in this process,
``cpu`` its own CPU time, which a busy machine moves less;
sockets are forbidden while it runs, so that a network call would fail. The second part puts
requests through the whole gateway and watches the loop: the longest time that it did not
answer, with and without them. Bodies over 32 KB leave the loop for a thread.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.week import Run
from gateway.exchange import Caller, ClientHeaders
from gateway.kits import Kits
from gateway.prepare import Question, prepare, think_over
from gateway.sessions import session_key
from gateway.wire import chat
from router.decide import decide

SIZES = (50, 500, 8_000, 32_000, 128_000)
WORDS = ["contract", "delivery", "notice", "which", "party", "shall", "within", "days", "of", "the"]


def body_of(tokens: int, turns: int, rng: random.Random) -> bytes:
    """A conversation of about so many tokens and so many turns; every text is new."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You answer briefly."}]
    for turn in range(turns):
        text = " ".join(rng.choice(WORDS) for _ in range(max(8, tokens // turns)))
        messages.append({"role": "user", "content": f"{text} {rng.random()}?"})
        if turn < turns - 1:
            messages.append({"role": "assistant", "content": "Within ten days."})
    return json.dumps({"model": "gpt-6.1-sol", "messages": messages, "max_tokens": 300}).encode()


def refuse(*_: object, **__: object) -> None:
    """A network call where there must be none."""
    raise RuntimeError("a decision made a network call")


def times(run: Run, tokens: int, count: int) -> dict[str, float]:
    """Milliseconds of a whole decision, and of candidates and prices alone."""
    shell, snapshot = run.app.shell, run.app.shell.snapshot
    kit = Kits(snapshot.settings).kit_for(snapshot, "sol", "gpt-6.1-sol")
    key = snapshot.accounts.named("sol")
    if key is None:
        raise RuntimeError("no such key")
    rng, whole, alone, cpu = random.Random(tokens), [], [], []
    for _ in range(count):
        raw = body_of(tokens, 1 if tokens < 1_000 else 8, rng)
        request = chat.parse(raw, ClientHeaders())
        name = session_key(key.name, None, request.conversation, run.now_ms)
        question = Question(
            request, Caller(key, None), shell.ledger.brake(key.path, None, run.now_ms), {}, None,
            run.now_ms, shell.recall, name,
        )  # fmt: skip
        started, busy = time.perf_counter(), time.thread_time()
        prepare(snapshot, question, kit)
        whole.append((time.perf_counter() - started) * 1_000)
        cpu.append((time.thread_time() - busy) * 1_000)
        situation = think_over(snapshot, question, None).situation
        started = time.perf_counter()
        decide(situation)
        alone.append((time.perf_counter() - started) * 1_000)
    return {
        "p50_ms": statistics.median(whole),
        "p99_ms": statistics.quantiles(whole, n=100)[98],
        "cpu_p50_ms": statistics.median(cpu),
        "cpu_p99_ms": statistics.quantiles(cpu, n=100)[98],
        "decide_p50_ms": statistics.median(alone),
        "decide_p99_ms": statistics.quantiles(alone, n=100)[98],
    }


async def longest_pause(run: Run, tokens: int, seconds: float) -> float:
    """The longest time that the loop did not answer, ms; ``tokens`` 0: nothing is asked."""
    rng, worst, ending = random.Random(1), 0.0, time.perf_counter() + seconds

    async def ask() -> None:
        while time.perf_counter() < ending:
            await run._ask("sol", body_of(tokens, 4, rng))  # noqa: SLF001 - the same client
            await asyncio.sleep(0.02)

    task = asyncio.create_task(ask()) if tokens else None
    while time.perf_counter() < ending:
        started = time.perf_counter()
        await asyncio.sleep(0.001)
        worst = max(worst, (time.perf_counter() - started - 0.001) * 1_000)
    if task is not None:
        await task
    return worst


async def measure(run: Run) -> None:
    """Both parts, printed."""
    await run.app.start()
    real, socket.socket.connect = socket.socket.connect, refuse  # type: ignore[method-assign]  # forbidden
    try:
        for tokens in SIZES:
            count = 300 if tokens <= 8_000 else 60
            times(run, tokens, 20)
            gc.collect()
            said = {k: round(v, 3) for k, v in times(run, tokens, count).items()}
            print(f"{tokens:>7} tokens  {json.dumps(said)}", flush=True)
        for tokens in (0, 500, 6_000):
            pauses = [await longest_pause(run, tokens, 2.0) for _ in range(5)]
            print(
                f"loop, requests of {tokens} tokens: longest pause in 2 s, median of five "
                f"{statistics.median(pauses):.2f} ms"
            )
    finally:
        socket.socket.connect = real  # type: ignore[method-assign]  # as it was
        await run.app.stop()


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Run("weir", Path(folder))))


if __name__ == "__main__":
    main()

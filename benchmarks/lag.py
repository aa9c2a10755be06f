"""What a request of a million tokens costs everybody else.

Usage: nice -n 5 python -m benchmarks.lag [--tokens 1000000] [--seconds 20]
           [--shapes document,history,json,pass]

One real gateway in front of the simulated provider. First only small requests, forty a
second on one connection; then the same while another process sends requests of so many tokens
one after the other: a document with a question, a conversation of an agent, a list of records,
and a document that passes untouched. Small requests go to a provider of their own, so that
they wait for the gateway alone. For each: the event loop's lag inside the gateway (from
its own /metrics, a bucket's upper edge), how long small requests took, and the memory of the
gateway with its helpers beyond what it had before.

The machine's own noise is in every figure: hold them against the idle line of the same run, and
against `machine`, the p99 of the same lag in a process that does nothing else, meanwhile.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._process import Server, free_port, server
from gateway.auth import hash_of, new_secret

SMALL_EVERY_S = 0.025
BIG = """
import sys, urllib.request
url, secret, path = sys.argv[1:]
body = open(path, "rb").read()
while True:
    headers = {"authorization": "Bearer " + secret, "content-type": "application/json"}
    headers |= {"x-weir-mode": "pass"} if "pass" in path else {}
    request = urllib.request.Request(url, body, headers)
    got = urllib.request.urlopen(request, timeout=300).headers
    print(got["x-weir-action"], got["x-weir-prompt-tokens"], got["x-weir-overhead-ms"], flush=True)
"""
SMALL = """
import http.client, json, sys, time
port, secret, seconds, every = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
headers = {"authorization": "Bearer " + secret, "content-type": "application/json"}
said = [{"role": "user", "content": "Hello?"}]
body = {"model": "gpt-5-nano", "max_tokens": 8, "messages": said}
body, took, until, due = json.dumps(body), [], time.monotonic() + seconds, time.monotonic()
while time.monotonic() < until:
    began = time.perf_counter()
    link.request("POST", "/v1/chat/completions", body, headers)
    answer = link.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
    took.append((time.perf_counter() - began) * 1000)
    due = max(due + every, time.monotonic())
    time.sleep(max(0.0, due - time.monotonic()))
print(json.dumps(took))
"""
BARE = """
import asyncio, sys
from gateway.lag import watch
notes = []
async def main():
    try:
        await asyncio.wait_for(watch(notes.append), float(sys.argv[1]))
    except TimeoutError:
        pass
asyncio.run(main())
print(sorted(notes)[int(len(notes) * 0.99)] * 1000)
"""


@dataclass
class Phase:
    """What was seen while one kind of big request was worked on; ms and MiB."""

    name: str
    small: list[float]
    lag: dict[float, float]
    bare: float
    peak_mb: float
    big: list[str] = field(default_factory=list)

    def small_at(self, share: float) -> float:
        """So long or less did this share of the small requests take, ms."""
        return sorted(self.small)[min(len(self.small) - 1, int(len(self.small) * share))]

    def lag_at(self, share: float) -> float:
        """The edge of the bucket that this share of the notes does not pass, ms."""
        total = max(self.lag.values())
        return min(edge for edge, count in self.lag.items() if count >= share * total) * 1000

    def line(self, before_mb: float) -> str:
        """One row of the table."""
        lags = " ".join(f"{self.lag_at(share):7.1f}" for share in (0.5, 0.99, 1.0))
        smalls = " ".join(f"{self.small_at(share):7.1f}" for share in (0.5, 0.99, 1.0))
        more = f"{self.peak_mb - before_mb:6.0f}"
        seen = f"{self.name:10}{self.bare:7.1f} {lags}  {smalls}  {more}"
        return f"{seen}  {len(self.big):4} {self.big[-1:]}"


def words(rng: random.Random, count: int) -> str:
    """Sentences of some 3,000 different words, names and numbers."""
    said = []
    for _ in range(count):
        at = min(2_999, int(rng.expovariate(1 / 300)))
        said.append(f"w{'aeiou'[at % 5]}{'bcdfglmnprst'[at % 12]}{at:x}" if at % 7 else str(at))
        if rng.random() < 0.06:
            said[-1] += ".\n\n" if rng.random() < 0.2 else "."
    return " ".join(said)


def prose(rng: random.Random, tokens: int) -> str:
    """A document of about so many tokens."""
    names = ("harbour", "turbine", "archive", "glacier", "orchard", "ledger", "viaduct", "mine")
    said: list[str] = []
    size = 0
    while size < tokens * 2.95:  # characters a token, many of them digits
        first, second = rng.sample(names, 2)
        said.append(
            f"In {rng.randint(1700, 1999)} the {first} near {second} {rng.randint(1, 999)} was "
            f"sold for {rng.randint(100, 99_999)} crowns, while {words(rng, 6)} stayed closed."
        )
        size += len(said[-1]) + 1
    return "\n\n".join(" ".join(said[at : at + 5]) for at in range(0, len(said), 5))


def body_of(shape: str, tokens: int) -> dict[str, object]:
    """A request of about so many tokens."""
    rng = random.Random(shape)
    asked = "Which price had the viaduct near turbine 417, and in which year was it sold?"
    messages: list[dict[str, object]] = []
    if shape in {"document", "pass"}:
        messages = [{"role": "user", "content": f"{prose(rng, tokens)}\n\n{asked}"}]
    elif shape == "json":
        rows = [
            {"id": n, "name": words(rng, 2), "cost": rng.randint(1, 9_999), "tags": words(rng, 4)}
            for n in range(tokens // 42)
        ]
        messages = [
            {"role": "user", "content": f"{json.dumps(rows)}\n\nWhat is the cost of id 417?"}
        ]
    else:
        for turn in range(max(1, tokens // 2_000)):
            call = {"name": "read", "arguments": json.dumps({"path": f"src/part_{turn}.txt"})}
            calls = [{"id": f"c{turn}", "type": "function", "function": call}]
            messages += [
                {"role": "user", "content": f"And what is in part {turn}?"},
                {"role": "assistant", "content": None, "tool_calls": calls},
                {"role": "tool", "tool_call_id": f"c{turn}", "content": prose(rng, 1_900)},
                {"role": "assistant", "content": f"Part {turn} says {words(rng, 12)}."},
            ]
        messages.append({"role": "user", "content": asked})
    return {"model": "gpt-6.1-sol", "max_tokens": 8, "messages": messages}


def lag_of(port: int) -> dict[float, float]:
    """How often the event loop was at most so late, from /metrics."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    link.request("GET", "/metrics")
    found = {}
    for line in link.getresponse().read().decode().splitlines():
        if line.startswith("weir_loop_lag_seconds_bucket"):
            edge = line.split('le="')[1].split('"')[0]
            found[float(edge)] = float(line.rpartition(" ")[2])
    link.close()
    return found


def phase(name: str, gate: Server, secret: str, seconds: float, big: Path | None) -> Phase:
    """Small requests for so long, with or without big ones beside them."""
    sender = None
    if big is not None:
        url = f"http://127.0.0.1:{gate.port}/v1/chat/completions"
        command = [sys.executable, "-c", BIG, url, secret, str(big)]
        sender = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert sender.stdout is not None
        print(f"  {name}, first: {sender.stdout.readline().strip()}", flush=True)
    peak, stop = [gate.memory_mb()], threading.Event()

    def watch() -> None:
        while not stop.wait(0.2):
            peak.append(gate.memory_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = lag_of(gate.port)
    bare = subprocess.Popen(
        [sys.executable, "-c", BARE, str(seconds)], stdout=subprocess.PIPE, text=True
    )
    command = [
        sys.executable,
        "-c",
        SMALL,
        str(gate.port),
        secret,
        str(seconds),
        str(SMALL_EVERY_S),
    ]
    small = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    after = lag_of(gate.port)
    noise = float(bare.communicate()[0])
    stop.set()
    watcher.join()
    done: list[str] = []
    if sender is not None:
        sender.terminate()
        done = sender.communicate()[0].splitlines()
    lag = {edge: after[edge] - before[edge] for edge in after}
    return Phase(name, small, lag, noise, max(peak), done)


def main() -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--shapes", default="document,history,json,pass")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(options, Path(folder))
    return 0


def run(options: argparse.Namespace, folder: Path) -> None:
    """All phases on one gateway."""
    secret = new_secret()
    sim, other, port = free_port(), free_port(), free_port()
    config = folder / "weir.yaml"
    config.write_text(
        f"""
version: 1
database: sqlite:///{folder}/weir.db
upstreams:
  openai: {{ kind: openai, base_url: "http://127.0.0.1:{sim}/v1", api_key: sk-sim }}
  small: {{ kind: openai, base_url: "http://127.0.0.1:{other}/v1", api_key: sk, provider: openai }}
models:
  gpt-5-nano: {{ upstream: small, tier: small }}
  gpt-6-luna: {{ upstream: openai, tier: small }}
  gpt-6.1-sol: {{ upstream: openai, tier: mid }}
routing: {{ mode: route, baseline: gpt-6.1-sol }}
teams: {{ support: {{ keys: [main], budget: 100000 per month }} }}
keys: {{ main: "{hash_of(secret)}" }}
"""
    )
    simulator = [sys.executable, "-m", "gateway.simulator", "--port"]
    gateway_ = [sys.executable, "-m", "gateway", "serve", "--config", str(config)]
    gateway_ += ["--port", str(port), "--log-level", "warning"]
    files = {}
    for shape in options.shapes.split(","):
        files[shape] = folder / f"{shape}.json"
        files[shape].write_text(json.dumps(body_of(shape, options.tokens)))
    with (
        server("simulator", [*simulator, str(sim)], sim, "/sim/served", {}),
        server("small", [*simulator, str(other)], other, "/sim/served", {}),
        server("gateway", gateway_, port, "/readyz", {}) as gate,
    ):
        phase("warm", gate, secret, 2.0, None)
        before = gate.memory_mb()
        idle = phase("idle", gate, secret, options.seconds, None)
        phases = [idle]
        for shape, path in files.items():
            time.sleep(1.0)
            phases.append(phase(shape, gate, secret, options.seconds, path))
        print(
            f"{'':10}machine {'loop lag p50, p99, max':23}  {'small p50, p99, max, ms':23}"
            "  MB more, big"
        )
        for each in phases:
            ratio = each.small_at(0.99) / idle.small_at(0.99)
            print(each.line(before), f"p99 x {ratio:.1f}")


if __name__ == "__main__":
    sys.exit(main())

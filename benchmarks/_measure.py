"""One measurement of one gateway, and our own gateway to measure, with everything on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._load import Work
from benchmarks._mock import MODEL
from benchmarks._peers import KEY, Peer, Place
from benchmarks._process import Server, free_port, pinned, server
from benchmarks._rounds import OURS, Cell, Measured
from gateway.auth import hash_of, new_secret

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
_WEIR = """\
version: 1
database: sqlite:///{folder}/weir.db
upstreams:
  mock: {{ kind: openai, base_url: "http://127.0.0.1:{mock}/v1", api_key: k, provider: openai }}
models:
  {model}: {{ upstream: mock, tier: mid }}
  gpt-4.1-nano: {{ upstream: mock, tier: small }}
  gpt-4o-mini: {{ upstream: mock, tier: small }}
fit: {{ allow: [] }}
holdout: 0%
routing: {{ mode: route, baseline: {model} }}
budget: 1000000 per month
teams: {{ bench: {{ budget: 900000 per month, keys: [bench] }} }}
keys: {{ bench: "{hash}" }}
"""


@dataclass
class Target:
    """Something that answers on ``port``; ``server`` is None for the mock itself."""

    name: str
    port: int
    key: str
    server: Server | None = None
    stretch: float = 1.0
    headers: dict[str, str] = field(default_factory=dict)


class Failed(Exception):
    """A gateway did not answer as it should; the message says which, and what came."""


@dataclass(frozen=True)
class Cores:
    """The core of the gateway measured, and the one of all else."""

    measured: int
    other: int


def measure(target: Target, load: Cell, seconds: float, cores: Cores, *, fresh: bool) -> Measured:
    """One round of one cell: what the client saw, and the CPU of the target a request."""
    work = Work(
        port=target.port,
        key=target.key,
        model=MODEL,
        size=load.size,
        connections=load.connections,
        stream=load.stream,
        seconds=seconds * target.stretch,
        fresh=fresh,
        headers=target.headers,
    )
    before = target.server.cpu_seconds() if target.server else 0.0
    command = [sys.executable, str(HERE / "_load.py"), json.dumps(asdict(work))]
    try:
        done = subprocess.run(
            pinned(cores.other, command), capture_output=True, text=True, timeout=300, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{target.name}, {load}: no end after 300 s") from None
    if done.returncode != 0:
        raise Failed(f"{target.name}, {load}: no end of the load:\n{done.stderr[-1_500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    if found["errors"] or not found["requests"]:
        raise Failed(
            f"{target.name}, {load}: {found['errors']} of {found['requests']} requests failed "
            f"({found['sample']})"
        )
    time.sleep(0.2)  # what is written behind the answer belongs to it
    cpu = target.server.cpu_seconds() - before if target.server else float("nan")
    names = ("rps", "p50", "p99", "ttfb_p50", "ttfb_p99")
    return {
        **{name: float(found[name]) for name in names},
        "requests": float(found["requests"]),
        "cpu_us": cpu / found["requests"] * 1e6,
    }


def ours(stack: ExitStack, folder: Path, mock: int, cores: Cores) -> Target:
    """This checkout's gateway, started."""
    key, port = new_secret(), free_port()
    config = folder / "weir.yaml"
    config.write_text(_WEIR.format(folder=folder, mock=mock, model=MODEL, hash=hash_of(key)))
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(config)]
    running = server(
        OURS,
        pinned(cores.measured, [*command, "--port", str(port)]),
        port,
        "/readyz",
        {"PYTHONPATH": str(ROOT)},
    )
    return Target(OURS, port, key, stack.enter_context(running))


def theirs(stack: ExitStack, peer: Peer, place: Place, cores: Cores) -> Target:
    """A peer, started."""
    launch = peer.launch(place)
    command = pinned(cores.measured, launch.command)
    running = stack.enter_context(
        server(peer.name, command, place.port, peer.ready, launch.environ)
    )
    return Target(peer.name, place.port, KEY, running, peer.stretch, peer.headers(place.mock))


def newest_receipt(target: Target) -> dict[str, Any]:
    """The last receipt of our gateway, which says what was on."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{target.port}/weir/receipts?limit=1",
        headers={"authorization": f"Bearer {target.key}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        found = json.load(answer)
    receipts: list[dict[str, Any]] = found["data"]
    return receipts[0]


def everything_on(receipt: dict[str, Any]) -> str | None:
    """What our gateway left out of a request, None if nothing."""
    if len(receipt["candidates"]) < 3:
        return f"only {len(receipt['candidates'])} candidates were weighed"
    if not float(receipt["cost_usd"]) > 0 or not receipt["lines"]:
        return "the request cost nothing"
    if receipt["usage_source"] != "provider" or not receipt["tokens"]["original_prompt"]:
        return "the tokens were not counted"
    return None

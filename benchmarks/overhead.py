"""What the gateway adds to a call: latency, CPU a request, time to first byte; against a
direct call to the same mock provider and, as a ratio, against LiteLLM's proxy.

    python -m benchmarks.overhead --quick
    python -m benchmarks.overhead --litellm .cache/litellm/bin/litellm --json out.json
    python -m benchmarks.overhead --load 1:64 --load 32:8:stream --rounds 5

All in one run, on one machine: rounds are interleaved (direct, weir, litellm, direct, ...),
a figure is the median of the rounds, its spread their least and greatest. The gateway is
alone on one core; mock and load generator share the other. Every request has a text of its
own. "CPU" is that of the gateway's
own process from /proc, so a busy machine moves it least. Quote ratios, not milliseconds.

LiteLLM lives in an environment of its own, since its proxy pins other versions:
    python -m venv .cache/litellm && .cache/litellm/bin/pip install 'litellm[proxy]==1.106.2'
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # run as a file, too

from benchmarks._load import Work  # noqa: E402 - the path comes first
from benchmarks._mock import MODEL  # noqa: E402
from benchmarks._process import Server, free_port, pinned, server  # noqa: E402
from gateway.auth import hash_of, new_secret  # noqa: E402

CHUNKS = 50
_WEIR = """\
version: 1
database: sqlite:///{folder}/weir.db
upstreams:
  mock: {{ kind: openai, base_url: "http://127.0.0.1:{mock}/v1", api_key: k, provider: openai }}
models: {{ {model}: {{ upstream: mock, tier: small }} }}
fit: {{ allow: [] }}
holdout: 0%
budget: 1000000 per month
teams: {{ bench: {{ budget: 900000 per month, keys: [bench] }} }}
keys: {{ bench: "{hash}" }}
"""
_LITELLM = """\
model_list:
  - model_name: {model}
    litellm_params: {{ model: openai/{model}, api_base: "http://127.0.0.1:{mock}/v1", api_key: k }}
general_settings: {{ master_key: {key} }}
"""


@dataclass(frozen=True)
class Cell:
    """One load: body size in bytes, connections at once, streamed or not."""

    size: int
    connections: int
    stream: bool = False

    def __str__(self) -> str:
        sort = "stream" if self.stream else "whole"
        return f"{self.size // 1024} KB, {self.connections} conn, {sort}"


def cell(text: str) -> Cell:
    """``1:64`` or ``32:8:stream`` as a load."""
    size, connections, *stream = text.split(":")
    if stream not in ([], ["stream"]):
        raise ValueError(text)
    return Cell(int(size) * 1024, int(connections), bool(stream))


QUICK = (
    Cell(1024, 1),
    Cell(1024, 8),
    Cell(1024, 64),
    Cell(32 * 1024, 8),
    Cell(512 * 1024, 8),
    Cell(1024, 8, stream=True),
    Cell(1024, 100, stream=True),
)
FULL = (
    *(
        Cell(size * 1024, connections, stream)
        for size in (1, 32, 512)
        for stream in (False, True)
        for connections in (1, 8, 64)
    ),
    Cell(1024, 100, stream=True),
)


@dataclass
class Target:
    """Something that answers on ``port``; ``server`` is None for the mock itself."""

    name: str
    port: int
    key: str
    server: Server | None
    stretch: float = 1.0


Measured = dict[str, float]


def measure(target: Target, cell: Cell, seconds: float, core: int, *, fresh: bool) -> Measured:
    """One round of one cell: what the client saw, and the CPU of the target a request."""
    work = Work(
        port=target.port,
        key=target.key,
        model=MODEL,
        size=cell.size,
        connections=cell.connections,
        stream=cell.stream,
        seconds=seconds * target.stretch,
        fresh=fresh,
    )
    before = target.server.cpu_seconds() if target.server else 0.0
    command = [sys.executable, str(HERE / "_load.py"), json.dumps(asdict(work))]
    done = subprocess.run(
        pinned(core, command),
        capture_output=True,
        text=True,
        timeout=seconds * 10 + 120,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(
            f"the load generator failed on {target.name}, {cell}:\n{done.stderr[-2000:]}"
        )
    found: dict[str, Any] = json.loads(done.stdout)
    if found["errors"] or not found["requests"]:
        raise SystemExit(
            f"{target.name}, {cell}: {found['errors']} of {found['requests']} requests failed "
            f"({found['sample']})"
        )
    cpu = target.server.cpu_seconds() - before if target.server else float("nan")
    names = ("rps", "p50", "p99", "ttfb_p50", "ttfb_p99")
    return {
        **{name: float(found[name]) for name in names},
        "requests": float(found["requests"]),
        "cpu_us": cpu / found["requests"] * 1e6,
    }


@dataclass(frozen=True)
class Figure:
    """A median over rounds with its least and greatest."""

    median: float
    low: float
    high: float

    def text(self, digits: int = 1, suffix: str = "") -> str:
        """``12.3 (11.9-12.8)``; the spread is left out when nothing spreads."""
        middle = f"{self.median:,.{digits}f}{suffix}"
        if self.low == self.high:
            return middle
        return f"{middle} ({self.low:,.{digits}f}-{self.high:,.{digits}f})"


def figure(values: list[float]) -> Figure:
    """The figure of one value a round."""
    return Figure(statistics.median(values), min(values), max(values))


class Rounds:
    """All that was measured: by cell and target, one ``Measured`` a round."""

    def __init__(self) -> None:
        self._found: dict[tuple[Cell, str], list[Measured]] = {}

    def add(self, cell: Cell, target: str, measured: Measured) -> None:
        """Keep one round's result."""
        self._found.setdefault((cell, target), []).append(measured)

    def values(self, cell: Cell, target: str, read: Callable[[Measured], float]) -> list[float]:
        """One value a round."""
        return [read(measured) for measured in self._found[cell, target]]

    def added(self, cell: Cell, target: str, name: str) -> list[float]:
        """``name`` beyond the direct call of the same round, milliseconds."""
        direct = self.values(cell, "direct", itemgetter(name))
        ours = self.values(cell, target, itemgetter(name))
        return [mine - base for mine, base in zip(ours, direct, strict=True)]

    def plain(self) -> list[dict[str, Any]]:
        """Everything, for JSON."""
        return [
            {"cell": asdict(cell), "target": target, "rounds": rounds}
            for (cell, target), rounds in self._found.items()
        ]


def targets(
    stack: ExitStack, folder: Path, litellm: Path | None, gateway_core: int, core: int
) -> list[Target]:
    """The mock and the gateways, started; the mock answers as ``direct``."""
    mock, weir, key = free_port(), free_port(), new_secret()
    command = [sys.executable, str(HERE / "_mock.py"), "--port", str(mock), "--chunks", str(CHUNKS)]
    stack.enter_context(server("mock", pinned(core, command), mock, None, {}))
    config = folder / "weir.yaml"
    config.write_text(_WEIR.format(folder=folder, mock=mock, model=MODEL, hash=hash_of(key)))
    serve = [sys.executable, "-m", "gateway", "serve", "--config", str(config), "--port", str(weir)]
    found = [
        Target("direct", mock, key, None),
        Target(
            "weir",
            weir,
            key,
            stack.enter_context(
                server(
                    "weir",
                    pinned(gateway_core, serve),
                    weir,
                    "/readyz",
                    {"PYTHONPATH": str(HERE.parent)},
                )
            ),
        ),
    ]
    if litellm is None:
        return found
    port, master = free_port(), "sk-bench"
    config = folder / "litellm.yaml"
    config.write_text(_LITELLM.format(model=MODEL, mock=mock, key=master))
    proxy = [str(litellm), "--config", str(config), "--port", str(port), "--num_workers", "1"]
    environ = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "HF_HUB_OFFLINE": "1",
    }
    running = server(
        "litellm",
        pinned(gateway_core, [*proxy, "--host", "127.0.0.1"]),
        port,
        "/health/liveliness",
        environ,
    )
    found.append(Target("litellm", port, master, stack.enter_context(running), stretch=2.0))
    return found


def cell_rows(rounds: Rounds, cell: Cell, names: list[str]) -> Iterator[tuple[str, ...]]:
    """A table row a gateway: added latency, requests/s, CPU a request."""
    for name in names:
        cpu = figure(rounds.values(cell, name, itemgetter("cpu_us")))
        row = [f"{figure(rounds.added(cell, name, which)).median:,.2f}" for which in ("p50", "p99")]
        row.append(f"{figure(rounds.values(cell, name, itemgetter('rps'))).median:,.0f}")
        row += [cpu.text(0), f"{1e6 / cpu.median:,.0f}" if cpu.median else "-"]
        if cell.stream:
            first = (rounds.values(cell, name, itemgetter(key)) for key in ("ttfb_p50", "ttfb_p99"))
            row += [f"{figure(values).median:,.1f}" for values in first]
            row.append(f"{cpu.median / (CHUNKS + 2):,.0f}")
        yield (str(cell), name, *row)


def results_table(rounds: Rounds, cells: tuple[Cell, ...], names: list[str]) -> Table:
    """Every cell, every gateway."""
    table = Table(title="Added to a direct call (median of rounds; CPU: least-greatest)")
    for heading in ("load", "gateway"):
        table.add_column(heading, no_wrap=True)
    for heading in (
        "added\np50 ms",
        "added\np99 ms",
        "requests\na second",
        "CPU us\na request",
        "requests/s\na core",
        "TTFB\np50 ms",
        "TTFB\np99 ms",
        "CPU us\na chunk",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for cell in cells:
        for row in cell_rows(rounds, cell, names):
            table.add_row(*row)
    return table


def ratios(rounds: Rounds, cells: tuple[Cell, ...]) -> Table:
    """LiteLLM over weir, round by round: how many times as much it needs."""
    table = Table(
        title="LiteLLM proxy / weir, same run: how many times as much (median, least-greatest)"
    )
    table.add_column("load", no_wrap=True)
    for heading in ("CPU a request", "added p50", "added p99", "TTFB p50", "TTFB p99"):
        table.add_column(heading, justify="right", no_wrap=True)

    def over(theirs: list[float], ours: list[float]) -> str:
        if any(value <= 0 for value in ours):
            return "not above the noise"
        return figure([a / b for a, b in zip(theirs, ours, strict=True)]).text(1, "x")

    for cell in cells:
        row = [over(*(rounds.values(cell, n, itemgetter("cpu_us")) for n in ("litellm", "weir")))]
        row += [
            over(*(rounds.added(cell, n, name) for n in ("litellm", "weir")))
            for name in ("p50", "p99")
        ]
        for name in ("ttfb_p50", "ttfb_p99"):
            both = (rounds.values(cell, n, itemgetter(name)) for n in ("litellm", "weir"))
            row.append(over(*both) if cell.stream else "")
        table.add_row(str(cell), *row)
    return table


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="seven loads, two short rounds")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (3; quick: 2)")
    parser.add_argument("--seconds", type=float, help="of each measurement (3; quick: 1.5)")
    parser.add_argument("--repeat", action="store_true", help="the same document in each request")
    parser.add_argument(
        "--load", type=cell, action="append", help="KB:CONNECTIONS[:stream], instead of the loads"
    )
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    default = HERE.parent / ".cache/litellm/bin/litellm"
    parser.add_argument("--litellm", type=Path, default=default, help="LiteLLM's executable")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    chosen = options()
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    cores = sorted(os.sched_getaffinity(0))
    gateway_core, core = cores[0], cores[-1]
    if len(cores) < 2:
        console.print("one core only: gateway, mock and load share it; ratios mean little here")
    litellm = chosen.litellm if chosen.litellm.exists() else None
    if litellm is None:
        console.print(f"{chosen.litellm} is not there: no ratios (see the top of this file)")
    cells = tuple(chosen.load) if chosen.load else QUICK if chosen.quick else FULL
    count = chosen.rounds or (2 if chosen.quick else 3)
    seconds = chosen.seconds or (1.5 if chosen.quick else 3.0)
    rounds = Rounds()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="overhead-")))
        running = targets(stack, folder, litellm, gateway_core, core)
        servers = [target.server for target in running if target.server]
        idle = {one.name: one.memory_mb() for one in servers}
        for target in running:  # connections, caches and pools warm up before anything counts
            measure(target, cells[0], 0.5, core, fresh=not chosen.repeat)
        for number in range(count):
            for cell in cells:
                for target in running:
                    console.print(
                        f"round {number + 1} of {count}: {cell}, {target.name}", style="dim"
                    )
                    measured = measure(target, cell, seconds, core, fresh=not chosen.repeat)
                    rounds.add(cell, target.name, measured)
        after = {one.name: one.memory_mb() for one in servers}
    console.print(results_table(rounds, cells, [one.name for one in servers]))
    if litellm is not None:
        console.print(ratios(rounds, cells))
    for one in servers:
        console.print(
            f"{one.name}: ready after {one.start_s:.1f} s; {idle[one.name]:.0f} MB idle, "
            f"{after[one.name]:.0f} MB after the load"
        )
    if chosen.json is not None:
        started = {one.name: one.start_s for one in servers}
        found = {"rounds": rounds.plain(), "start_s": started, "idle_mb": idle, "after_mb": after}
        chosen.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

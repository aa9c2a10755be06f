"""Our gateway beside others: CPU a request, added latency, streams, memory, start; one run.

    python -m benchmarks.peers --quick --json        # JSON on stdout, the rest on stderr
    python -m benchmarks.peers --quick               # the same as tables
    python -m benchmarks.peers                       # every size and number of connections
    python -m benchmarks.peers --peers litellm --load 1:64 --load 32:8:stream --rounds 5
    python -m benchmarks.peers --peers ''            # ours and the direct call alone

The peers are installed from PyPI and npm, pinned, into ``.cache/peers`` (the first time a
minute or two). All answer from one mock provider to one load generator. Rounds are
interleaved (direct, weir, litellm, ..., direct, ...) and begin with another gateway each;
a figure is the median of the rounds, its spread their least and greatest, a ratio is made
round by round. The gateway measured is alone on one core; mock and load generator share
the other. Every request has a text of its own.

Ours has everything on but the rewriting of prompts, which no other does: a key, budgets, the
ledger on SQLite, receipts, metrics, exact counts, score and decision among three models; a
receipt is read to make sure, and at the end the ledger must hold as many requests as were
answered. The others check a key and keep no accounts. "CPU" is that of the gateway's
processes from /proc, which a busy machine moves least; requests/s a core is its inverse.
Quote ratios, not milliseconds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
_OWN = ROOT / ".venv" / "bin" / "python"
if importlib.util.find_spec("uvloop") is None and _OWN.exists():  # another Python: take ours
    os.execv(_OWN, [str(_OWN), *sys.argv])  # noqa: S606 - a program of this checkout
sys.path.insert(0, str(ROOT))  # run as a file, too

from rich.console import Console  # noqa: E402 - the path comes first

from benchmarks._measure import (  # noqa: E402
    Cores,
    Failed,
    Target,
    everything_on,
    measure,
    newest_receipt,
    ours,
    theirs,
)
from benchmarks._peers import ABSENT, KEY, NotInstalled, Peer, Place, chosen, install  # noqa: E402
from benchmarks._process import NotStarted, free_port, pinned, server  # noqa: E402
from benchmarks._rounds import (  # noqa: E402
    DIRECT,
    OURS,
    Cell,
    Rounds,
    cell,
    ratio_table,
    ratios,
    results_table,
    rps_per_core,
)

CHUNKS = 50
HEADLINE = Cell(1024, 64)
# A quick run begins no round that would end later than this: it has ten minutes.
QUICK_S, LOAD_S = 510.0, 450.0
QUICK = (
    HEADLINE,
    Cell(1024, 1),
    Cell(32 * 1024, 8),
    Cell(512 * 1024, 8),
    Cell(1024, 1, stream=True),
    Cell(1024, 100, stream=True),
)
FULL = (
    *(Cell(size * 1024, connections) for size in (1, 32, 512) for connections in (1, 8, 64)),
    *(Cell(1024, connections, stream=True) for connections in (1, 100, 1_000)),
    Cell(32 * 1024, 100, stream=True),
)


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


class Run:
    """One run: what is measured, what came of it, and what went wrong."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.rounds = options, Rounds()
        cores = sorted(os.sched_getaffinity(0))
        self.cores = Cores(cores[0], cores[-1])
        self.cells = tuple(options.load) if options.load else QUICK if options.quick else FULL
        self.targets: list[Target] = []
        self.errors: dict[str, str] = {}
        self.left_out: dict[tuple[str, Cell], str] = {}
        self.idle: dict[str, float] = {}
        self.after: dict[str, float] = {}
        self.answered = 0
        self.began = time.monotonic()
        self.rounds_done = 0

    def installed(self) -> list[Peer]:
        """The peers that can be started; what went wrong with the others is in ``errors``."""
        found = []
        for peer in chosen(self.options.peers):
            try:
                install(peer, self.options.home / peer.name, say)
            except NotInstalled as error:
                self.fail(peer.name, str(error))
            else:
                found.append(peer)
        return found

    def fail(self, name: str, message: str, load: Cell | None = None) -> None:
        """A peer is out of the run, or of one load, with the reason."""
        say(f"WITHOUT {name}: {message}")
        self.errors[name] = message
        self.rounds.drop(name, load)
        if load is None:
            self.targets = [target for target in self.targets if target.name != name]
        else:
            self.left_out[name, load] = message

    def start(self, stack: ExitStack, folder: Path, peers: list[Peer]) -> None:
        """The mock and every gateway, one after the other."""
        mock = free_port()
        command = [sys.executable, str(HERE / "_mock.py"), "--port", str(mock)]
        command += ["--chunks", str(CHUNKS)]
        stack.enter_context(server("mock", pinned(self.cores.other, command), mock, None, {}))
        self.targets = [Target(DIRECT, mock, KEY), ours(stack, folder, mock, self.cores)]
        for peer in peers:
            say(f"starting {peer.name}")
            place = Place(self.options.home / peer.name, folder, free_port(), mock)
            try:
                self.targets.append(theirs(stack, peer, place, self.cores))
                if peer.no_streams:
                    loads = [load for load in self.cells if load.stream]
                    self.left_out.update({(peer.name, load): peer.no_streams for load in loads})
            except NotStarted as error:
                self.fail(peer.name, str(error))
        self.idle = self.memory()

    def memory(self) -> dict[str, float]:
        """Resident MiB of each gateway."""
        return {one.name: one.server.memory_mb() for one in self.targets if one.server}

    def one(self, target: Target, load: Cell, seconds: float) -> None:
        """Measure once; a peer that fails is out of this load, our own failing ends the run."""
        try:
            fresh = not self.options.repeat
            found = measure(target, load, seconds, self.cores, fresh=fresh)
        except Failed as error:
            if target.name in (OURS, DIRECT):
                raise SystemExit(str(error)) from None
            self.fail(target.name, str(error), load)
            return
        if target.name == OURS:
            self.answered += int(found["requests"])
        self.rounds.add(load, target.name, found)

    def measure_all(self) -> None:
        """Every round; a quick run stops early rather than late."""
        options = self.options
        count = options.rounds or 3
        seconds = options.seconds or (1.5 if options.quick else 3.0)
        largest = max(self.cells, key=lambda load: load.size)
        for target in list(self.targets):  # pools, caches, compilers, helpers warm up first
            self.one(target, self.cells[0], 1.0)
            self.one(target, Cell(largest.size, 2), 1.0)
        self.rounds = Rounds()
        self.check_ours()
        for number in range(count):
            began = time.monotonic()
            for place, load in enumerate(self.cells):
                if options.quick and place and time.monotonic() - self.began > LOAD_S:
                    break  # a very busy machine: what there is has to do
                order = list(self.targets)
                at = number % len(order)
                for target in order[at:] + order[:at]:
                    if (target.name, load) not in self.left_out:
                        say(f"round {number + 1} of {count}: {load}, {target.name}")
                        self.one(target, load, seconds)
            self.rounds_done = number + 1
            now = time.monotonic()
            late = now - self.began + (now - began) > QUICK_S
            if options.quick and late and self.rounds_done < count:
                say(f"{self.rounds_done} of {count} rounds: the time for a quick run is over")
                break
        self.after = self.memory()

    def check_ours(self) -> None:
        """Our gateway has everything on, or the run ends."""
        target = next(one for one in self.targets if one.name == OURS)
        wrong = everything_on(newest_receipt(target))
        if wrong is not None:
            raise SystemExit(f"weir does not do all of its work: {wrong}")

    def check_ledger(self, folder: Path) -> None:
        """The ledger holds what was answered, or the run fails."""
        command = [sys.executable, "-m", "gateway", "ledger", "totals", "--json"]
        command += ["--config", str(folder / "weir.yaml")]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, env=environ
        )
        if done.returncode:
            raise SystemExit(f"weir ledger totals failed:\n{done.stderr[-1_500:]}")
        posted = json.loads(done.stdout)["requests"]
        if posted != self.answered:
            raise SystemExit(f"weir answered {self.answered} requests and posted {posted}")
        say(f"weir: {posted} requests answered, {posted} in the ledger")

    def peers(self) -> list[str]:
        """The peers that were measured to the end."""
        return [one.name for one in self.targets if one.name not in (OURS, DIRECT)]

    def plain(self) -> dict[str, Any]:
        """Everything, for JSON; a peer that was asked for and is missing is null."""
        wanted = [peer.name for peer in chosen(self.options.peers)]
        found: dict[str, Any] = {}
        for name in wanted:
            figure = rps_per_core(self.rounds, HEADLINE, name)
            found[f"rps_per_core_vs_{name}"] = round(figure.median, 2) if figure else None
            spread = figure.plain() if figure else None
            found[f"rps_per_core_vs_{name}_spread"] = spread
        return {
            **found,
            "times_as_much_as_weir": ratios(self.rounds, self.cells, self.peers()),
            "start_s": {one.name: one.server.start_s for one in self.targets if one.server},
            "idle_mb": self.idle,
            "after_mb": self.after,
            "errors": self.errors,
            "left_out": {f"{name}: {load}": why for (name, load), why in self.left_out.items()},
            "not_packaged": ABSENT,
            "versions": {peer.name: peer.spec for peer in chosen(self.options.peers)},
            "machine": {
                "python": platform.python_version(),
                "cores": len(os.sched_getaffinity(0)),
                "load_average": os.getloadavg(),
            },
            "rounds_done": self.rounds_done,
            "took_s": round(time.monotonic() - self.began, 1),
            "figures": self.rounds.plain(),
        }

    def print(self) -> None:
        """The tables."""
        console = Console()
        if not console.is_terminal:
            console = Console(width=160)
        names = [one.name for one in self.targets if one.server]
        console.print(results_table(self.rounds, self.cells, names, CHUNKS))
        if self.peers():
            console.print(ratio_table(self.rounds, self.cells, self.peers()))
        for one in self.targets:
            if one.server:
                console.print(
                    f"{one.name}: ready after {one.server.start_s:.2f} s; "
                    f"{self.idle[one.name]:.0f} MB idle, "
                    f"{self.after[one.name]:.0f} MB after the load"
                )
        left_out = {f"{name}, {load}": why for (name, load), why in self.left_out.items()}
        for name, message in {**left_out, **self.errors, **ABSENT}.items():
            console.print(f"without {name}: {message}", style="dim", soft_wrap=True)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="six loads, within ten minutes")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, no tables")
    parser.add_argument("--peers", help="names with commas between; '' for none")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (3)")
    parser.add_argument("--seconds", type=float, help="of each measurement (3; quick: 1.5)")
    parser.add_argument("--repeat", action="store_true", help="the same document in each request")
    parser.add_argument(
        "--load", type=cell, action="append", help="KB:CONNECTIONS[:stream], instead of the loads"
    )
    parser.add_argument(
        "--home", type=Path, default=ROOT / ".cache" / "peers", help="where peers are installed"
    )
    found = parser.parse_args()
    try:
        chosen(found.peers)
    except ValueError as error:
        parser.error(str(error))
    return found


def many_files() -> None:
    """A thousand streams need more open files than a shell may allow."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> int:
    """Measure and print; 1 where a peer is missing that was asked for."""
    run = Run(options())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is stopped
    many_files()
    if run.cores.measured == run.cores.other:
        say("one core only: gateway, mock and load share it; ratios mean little here")
    peers = run.installed()
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        with ExitStack() as stack:
            run.start(stack, Path(folder), peers)
            run.measure_all()
        run.check_ledger(Path(folder))
    if run.options.json:
        print(json.dumps(run.plain(), indent=1))
    else:
        run.print()
    return 1 if run.errors else 0


if __name__ == "__main__":
    raise SystemExit(main())

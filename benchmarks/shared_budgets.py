"""What sharing budgets costs: processes that hold and settle on one path with five budgets.

Usage: python benchmarks/shared_budgets.py [--processes 4] [--requests 5000] [--left 1.0]
           [--database URL] [--state redis://...] [--folder DIR]

``--left`` is how much of the smallest budget the run may use: 1.0 begins with all of it free
(slices are wide), 0.01 with its last hundredth (every request asks the store). Prints wall
time of a hold and of a settlement in each process, and requests a second of all together.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ledger import HASH, load, now_ms

from billing.accounts import Accounts, BillingSection, build_accounts
from billing.ledger import HoldRequest, Ledger
from billing.shared_ledger import SharedLedger

AMOUNT = 5_000_000


def accounts(limit_nano: int) -> Accounts:
    """Five budgets on the way from organisation to key, the team's month the smallest."""
    limit = f"{limit_nano / 1e9:.9f}"
    wide = f"{limit_nano / 1e8:.9f}"
    team = {
        "budget": [f"{limit} per month", f"{wide} per day", f"{wide} per user per day"],
        "projects": {"chat": {"budget": f"{wide} per month", "keys": ["chat-prod"]}},
    }
    document = {
        "budget": f"{wide} per month",
        "teams": {"support": team},
        "keys": {"chat-prod": f"sha256:{HASH}"},
    }
    return build_accounts(BillingSection.model_validate(document))


def opened(options: argparse.Namespace, tree: Accounts) -> Ledger:
    """A ledger that shares, or with one process and no store one that is alone."""
    if options.processes == 1 and options.alone:
        return Ledger(options.database, tree, now_ms).open()
    folder = Path(options.folder)
    return SharedLedger(options.database, tree, now_ms, state=options.state, folder=folder).open()


def child(options: argparse.Namespace) -> None:
    """One process: waits for a line, then works and prints its figures."""
    tree = accounts(options.limit)
    ledger = opened(options, tree)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()  # one clock for all processes of a machine
    took = load(ledger, options.name, options.requests, tree)
    ended = time.monotonic()
    ledger.flush(60)
    took.sort()
    count = len(took)
    figures = [took[count * part // 1000] / 1e3 for part in (500, 990, 999)]
    print(began, ended, *(f"{figure:.1f}" for figure in figures), flush=True)
    sys.stdin.readline()
    ledger.close()


def spend_before(options: argparse.Namespace, nano: int) -> None:
    """What makes the budget nearly used up before the run: one hold, charged as it is."""
    tree = accounts(options.limit)
    ledger = opened(options, tree)
    key = tree.named("chat-prod")
    assert key is not None
    ledger.hold(HoldRequest("before", key.path, "before", nano, now_ms(), "m", "u"))
    ledger.sweep(-1)
    ledger.close()


def main() -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--requests", type=int, default=5_000)
    parser.add_argument("--left", type=float, default=1.0)
    parser.add_argument("--database", default=None)
    parser.add_argument("--state", default=None)
    parser.add_argument("--folder", default=None)
    parser.add_argument("--alone", action="store_true", help="one process without a store")
    parser.add_argument("--name", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.name is not None:
        child(options)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        options.folder = options.folder or folder
        options.database = options.database or f"sqlite:///{folder}/weir.db"
        run(options)
    return 0


def run(options: argparse.Namespace) -> None:
    """All processes on one ledger."""
    needed = options.processes * options.requests * 1_000_000 + options.processes * AMOUNT * 20
    options.limit = int(needed / options.left)
    if options.left < 1:
        spend_before(options, options.limit - needed)
    shared = [f"--database={options.database}", f"--folder={options.folder}"]
    shared += [f"--requests={options.requests}", f"--limit={options.limit}"]
    shared += [f"--processes={options.processes}"]
    shared += [f"--state={options.state}"] if options.state else []
    shared += ["--alone"] if options.alone else []
    children = [
        subprocess.Popen(
            [sys.executable, __file__, *shared, f"--name=p{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(options.processes)
    ]
    for process in children:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in children:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    spans = []
    for number, process in enumerate(children):
        assert process.stdout is not None
        begin, end, p50, p99, p999 = (float(word) for word in process.stdout.readline().split())
        spans.append((begin, end))
        rate = options.requests / (end - begin)
        print(
            f"process {number}: {rate:8,.0f} requests/s; hold + settle p50 {p50:.1f} us, "
            f"p99 {p99:.1f} us, p99.9 {p999:.1f} us"
        )
    wall = max(end for _, end in spans) - min(begin for begin, _ in spans)
    print(f"together  {options.processes * options.requests / wall:10,.0f} requests/s")
    for process in children:
        process.communicate("close\n")


if __name__ == "__main__":
    raise SystemExit(main())

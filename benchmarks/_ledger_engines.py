"""The ledger whole, on each engine, beside no ledger at all; and one hot budget.

The floor writes each receipt as a line of JSON to a file and holds nothing: what a gateway
does that only logs. Every engine does all of it (hold, journal, settle, receipt, lines,
attempts, hash chain), with and without roll-ups in the thread that writes. Rounds are
interleaved; ratios are taken within a round.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from billing.accounts import Accounts
from billing.ledger import HoldRequest, Ledger
from billing.receipt import Receipt, to_fields
from billing.shared_ledger import SharedLedger

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))  # real servers, as the tests have them
Make = Callable[[str, int], Receipt]


@dataclass(frozen=True)
class Load:
    """How much is asked, on whose budgets, with which receipts."""

    requests: int
    rounds: int
    accounts: Accounts
    make: Make
    now_ms: Callable[[], int]


@dataclass(frozen=True)
class Took:
    """One round: microseconds a request, requests a second as called and as in the tables."""

    p50: float
    p99: float
    called: float
    written: float
    cpu_us: float


def whole(load: Load) -> None:
    """Measure every engine, round by round, and print the medians."""
    from engines import postgresql_server

    with ExitStack() as stack:
        server = stack.enter_context(postgresql_server())
        runs: dict[str, Callable[[], Took]] = {
            "receipts to a file, no ledger": lambda: _floor(load),
            "SQLite": lambda: _sqlite(load, roll=True),
            "SQLite, no roll-ups": lambda: _sqlite(load, roll=False),
            "PostgreSQL": lambda: _postgresql(load, server, roll=True),
            "PostgreSQL, no roll-ups": lambda: _postgresql(load, server, roll=False),
        }
        found: dict[str, list[Took]] = {name: [] for name in runs}
        for _ in range(load.rounds):
            for name, run in runs.items():
                found[name].append(run())
    _print(load, found)


def _floor(load: Load) -> Took:
    with tempfile.NamedTemporaryFile() as file:

        def one(request_id: str, receipt: Receipt) -> None:
            file.write(to_fields(receipt)[1] + b"\n")

        return _timed(load, one, file.flush)


def _sqlite(load: Load, *, roll: bool) -> Took:
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(f"sqlite:///{folder}/weir.db", load.accounts, load.now_ms)
        return _through(load, ledger, roll=roll)


def _postgresql(load: Load, server: str, *, roll: bool) -> Took:
    from engines import postgresql

    with tempfile.TemporaryDirectory() as folder, postgresql(server) as url:
        ledger = SharedLedger(url, load.accounts, load.now_ms, folder=Path(folder))
        return _through(load, ledger, roll=roll)


def _through(load: Load, ledger: Ledger, *, roll: bool) -> Took:
    key = load.accounts.named("chat-prod")
    assert key is not None
    path = key.path

    def one(request_id: str, receipt: Receipt) -> None:
        wanted = HoldRequest(
            request_id, path, "u", 5_000_000, load.now_ms(), "gpt-6-luna", "openai"
        )
        ledger.settle(ledger.hold(wanted), receipt)

    with _opened(ledger, roll=roll):
        return _timed(load, one, lambda: ledger.flush(120))


@contextmanager
def _opened(ledger: Ledger, *, roll: bool) -> Iterator[None]:
    ledger.open()
    try:
        if not roll:
            tables = ledger._store  # noqa: SLF001 - no user may turn them off
            tables.roll_up = lambda most: 0  # type: ignore[union-attr,method-assign]
        yield
    finally:
        ledger.close()


def _timed(load: Load, one: Callable[[str, Receipt], None], end: Callable[[], object]) -> Took:
    took = []
    wall, cpu = time.perf_counter(), time.process_time()
    for number in range(load.requests):
        request_id = f"r{number}"
        receipt = load.make(request_id, load.now_ms())
        begin = time.perf_counter_ns()
        one(request_id, receipt)
        took.append((time.perf_counter_ns() - begin) / 1e3)
    called = time.perf_counter() - wall
    end()
    written, cpu = time.perf_counter() - wall, time.process_time() - cpu
    took.sort()
    count = load.requests
    return Took(
        p50=took[count // 2],
        p99=took[count * 99 // 100],
        called=count / called,
        written=count / written,
        cpu_us=cpu / count * 1e6,
    )


def _print(load: Load, found: dict[str, list[Took]]) -> None:
    table = Table(title=f"{load.requests:,} requests, {load.rounds} rounds: medians")
    table.add_column("", no_wrap=True)
    for heading in (
        "added\np50 us", "added\np99 us", "requests/s\ncalled", "requests/s\nin the tables",
        "CPU us\na request", "of the floor's\nrequests/s",
    ):  # fmt: skip
        table.add_column(heading, justify="right", no_wrap=True)
    floor = next(iter(found.values()))

    for name, rounds in found.items():
        share = statistics.median(
            one.called / base.called for one, base in zip(rounds, floor, strict=True)
        )
        figures = [
            statistics.median(getattr(one, part) for one in rounds)
            for part in ("p50", "p99", "called", "written", "cpu_us")
        ]
        p50, p99, called, written, cpu = figures
        row = (f"{p50:,.0f}", f"{p99:,.0f}", f"{called:,.0f}", f"{written:,.0f}", f"{cpu:,.0f}")
        table.add_row(name, *row, f"{share:.2f}")
    Console(width=120).print(table)


def hot(requests: int) -> None:
    """Holds and settlements of one hot budget a second: alone, and by four processes."""
    from engines import postgresql, postgresql_server, valkey

    with ExitStack() as stack:
        server = stack.enter_context(postgresql_server())
        database = stack.enter_context(postgresql(server))
        state = stack.enter_context(valkey())
        alone = "1 process, SQLite"
        runs = {
            alone: ["--processes=1", "--alone"],
            "4 processes, SQLite": ["--processes=4"],
            "4 processes, PostgreSQL": ["--processes=4", f"--database={database}"],
            "4 processes, Valkey (rows in SQLite)": ["--processes=4", f"--state={state}"],
        }
        rates = {name: _rate([*run, f"--requests={requests}"]) for name, run in runs.items()}
    for name, rate in rates.items():
        print(f"{name:<40} {rate:10,.0f} holds/s, {rate / rates[alone]:.2f} of one process alone")


def _rate(options: list[str]) -> float:
    command = [sys.executable, str(HERE / "shared_budgets.py"), *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    last = next(line for line in done.stdout.splitlines() if line.startswith("together"))
    return float(last.split()[1].replace(",", ""))

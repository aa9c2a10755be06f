"""What the ledger costs: microseconds a hold and a settlement, rows a second, start-up.

Usage: python benchmarks/ledger.py [--requests 20000] [--threads 1] [--folder DIR]
       python benchmarks/ledger.py --rows 10000000 [--database FILE] [--rounds 3]
                                   [--a-session 10] [--full]
       python benchmarks/ledger.py --engines [--requests 5000] [--rounds 3]
       python benchmarks/ledger.py --hot [--requests 5000]

With ``--rows`` a ledger of that many receipts is made (1.5 KB of disk each, with ``--full``
5 KB: bodies, lines and attempts of ordinary size), rolled up, opened, and asked for every
report; a database that is there already is used again. ``--engines`` is
all of it on SQLite and PostgreSQL, with and without roll-ups, beside no ledger at all;
``--hot`` is one budget under one process and under four on SQLite, PostgreSQL and Valkey
(the servers of WEIR_TEST_DATABASE_URL and WEIR_TEST_REDIS_URL, else of one's own). Prints
wall and CPU time; compare only runs on one machine. Nothing is gated.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from _ledger_engines import Load, hot, whole
from _ledger_reports import reports
from _ledger_rows import DAY_MS, Shape

from billing.accounts import Accounts, BillingSection, build_accounts
from billing.errors import Throttled
from billing.ledger import Hold, HoldRequest, Ledger
from billing.receipt import Attempt, Line, Receipt
from billing.reports import Scope, grouped, totals, verify

DAYS = 90
HASH = "0" * 64
BOOK = "sha256:" + "b" * 64


def accounts() -> Accounts:
    """Five budgets on the way from organisation to key."""
    project = {"budget": "12000000 per month", "keys": ["chat-prod"]}
    team = {
        "budget": ["18000000 per month", "1200000 per day", "600000 per user per day"],
        "projects": {"chat": project},
    }
    document = {
        "timezone": "Europe/Berlin",
        "budget": "60000000 per month",
        "teams": {"support": team},
        "keys": {"chat-prod": f"sha256:{HASH}"},
    }
    return build_accounts(BillingSection.model_validate(document))


def template() -> Receipt:
    """A receipt of ordinary size: two lines, one attempt, three reasons and candidates."""
    candidate = {"model": "gpt-6.1-sol", "expected_usd": "0.1912", "rejected": "dearer"}
    return Receipt(
        request_id="",
        at_ms=0,
        team="support",
        project="chat",
        key="chat-prod",
        user="u",
        session="s",
        task=None,
        tags={"feature": "search"},
        requested_model="gpt-6.1-sol",
        served_model="gpt-6-luna",
        tier="small",
        upstream="openai",
        action="route+trim",
        arm="routed",
        reasons=({"code": "small_is_enough", "p": 0.94, "floor": 0.9},) * 3,
        candidates=(candidate,) * 3,
        original_prompt_tokens=91_200,
        sent_prompt_tokens=7_900,
        cached_tokens=0,
        completion_tokens=412,
        reasoning_tokens=0,
        effective_tokens=8_312,
        billed_tokens=8_312,
        cost_nano=996_000,
        gateway_cost_nano=0,
        baseline_nano=188_000_000,
        baseline_model="gpt-6.1-sol",
        waste_nano=0,
        usage_source="provider",
        lines=(),
        attempts=(),
        overhead_ms=1.9,
        status=200,
        policy_hash=BOOK,
        prices_hash=BOOK,
        catalog_hash=BOOK,
    )


def receipt(base: Receipt, request_id: str, at_ms: int) -> Receipt:
    """The template for one request."""
    attempt = f"{request_id}-a"
    return replace(
        base,
        request_id=request_id,
        at_ms=at_ms,
        lines=(
            Line(attempt, "input", 7_900, "0.1", 790_000, BOOK, "genai-prices:gpt-6-luna"),
            Line(attempt, "output", 412, "0.5", 206_000, BOOK, "genai-prices:gpt-6-luna"),
        ),
        attempts=(Attempt(attempt, "gpt-6-luna", "openai", 200, "ok", 310.2, 1202.9),),
    )


def now_ms() -> int:
    """UTC epoch milliseconds."""
    return time.time_ns() // 1_000_000


def timed(name: str, work: Callable[[], object]) -> object:
    """Runs something and prints what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:<44} {wall * 1e3:10.1f} ms wall {cpu * 1e3:10.1f} ms CPU")
    return result


def held(ledger: Ledger, request: HoldRequest) -> Hold:
    """A hold; asked for again while other processes give back what they do not use."""
    while True:
        try:
            return ledger.hold(request)
        except Throttled:
            time.sleep(0.01)


def load(ledger: Ledger, name: str, count: int, tree: Accounts) -> list[int]:
    """Holds and settles ``count`` requests; nanoseconds each pair took."""
    key = tree.named("chat-prod")
    assert key is not None
    base, took = template(), []
    for number in range(count):
        request_id = f"{name}-{number}"
        made = receipt(base, request_id, now_ms())
        request = HoldRequest(
            request_id, key.path, "u", 5_000_000, now_ms(), "gpt-6-luna", "openai"
        )
        begin = time.perf_counter_ns()
        ledger.settle(held(ledger, request), made)
        took.append(time.perf_counter_ns() - begin)
    return took


def main() -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--database", type=Path, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--a-session", type=float, default=10.0)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--engines", action="store_true")
    parser.add_argument("--hot", action="store_true")
    options = parser.parse_args()
    if options.engines:
        base = template()
        make = partial(receipt, base)
        whole(Load(options.requests, options.rounds, accounts(), make, now_ms))
        return 0
    if options.hot:
        hot(options.requests)
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.rows:
            path = options.database or Path(folder) / "rows.db"
            end_ms = now_ms() // DAY_MS * DAY_MS
            shape = Shape(options.rows, DAYS, end_ms, options.full, options.a_session)
            reports(path, shape, options.rounds, accounts())
            return 0
        measure(Path(folder) / "weir.db", options.requests, options.threads)
    return 0


def measure(path: Path, requests: int, threads: int) -> None:
    """Everything on one new database."""
    url, tree = f"sqlite:///{path}", accounts()
    ledger = Ledger(url, tree, now_ms)
    timed("open, new database", ledger.open)
    took: list[int] = []

    def work(number: int) -> None:
        took.extend(load(ledger, f"t{number}", requests // threads, tree))

    cpu, wall = time.process_time(), time.perf_counter()
    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    called = time.perf_counter() - wall
    ledger.flush(120)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    took.sort()
    count = len(took)
    print(
        f"hold + settle, {threads} thread(s), {count} requests: "
        f"p50 {took[count // 2] / 1e3:.1f} us, p99 {took[count * 99 // 100] / 1e3:.1f} us; "
        f"{count / called:,.0f} requests/s called, {count / wall:,.0f} requests/s in the tables; "
        f"{cpu / count * 1e6:.1f} us CPU a request, writer included"
    )
    timed("close", ledger.close)
    timed("open again", ledger.open)
    ledger.close()
    print(f"database {path.stat().st_size / count:,.0f} bytes a request")
    print(timed("totals", lambda: totals(url)))
    timed("by model", lambda: grouped(url, "model", Scope()))
    print("problems:", timed("verify", lambda: verify(url)))


if __name__ == "__main__":
    raise SystemExit(main())

"""What reading a large ledger costs: every report, and the start of a gateway on it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from _ledger_rows import Shape, make_ledger

from billing.accounts import Accounts
from billing.browse import listing, windows
from billing.ledger import Ledger
from billing.reports import Scope, daily, dearest, grouped, outcomes, overall, totals
from billing.savings_report import report
from billing.store import Store

_BATCH = 100_000
ZONE = ZoneInfo("Europe/Berlin")
INDIA = ZoneInfo("Asia/Kolkata")


def reports(path: Path, shape: Shape, rounds: int, tree: Accounts) -> None:
    """A ledger of that shape is made (or found), rolled up, opened and read; all printed."""
    if not path.exists():
        begin = time.perf_counter()
        sessions = make_ledger(path, shape)
        print(f"made {shape.rows:,} receipts, {sessions:,} sessions: {_since(begin):.0f} s")
    print(f"database {path.stat().st_size / 1e9:.1f} GB")
    begin, store = time.perf_counter(), Store(path)
    while store.roll_up(_BATCH):
        pass
    end_ms = store.latest_ms()
    store.close()
    print(f"rolled up: {_since(begin):.0f} s; database {path.stat().st_size / 1e9:.1f} GB")
    url = f"sqlite:///{path}"
    begin = time.perf_counter()
    Ledger(url, tree, lambda: end_ms).open().close()
    print(f"opened, budgets derived, closed: {_since(begin):.2f} s")
    end = datetime.fromtimestamp(end_ms / 1000, UTC)
    month = Scope(end - timedelta(days=30, hours=1), None)
    asked = {
        "all time": Scope(),
        "30 days": month,
        "one team": Scope(team="team-01"),
        "one model": Scope(also=(("model", "gpt-6-luna"),)),
    }
    for name, scope in asked.items():
        for what, ask in _questions(url, scope):
            took = [_timed(ask) for _ in range(rounds)]
            wall, cpu = (statistics.median(one) for one in zip(*took, strict=True))
            print(f"{name:<10} {what:<22} {wall:7.2f} s wall {cpu:7.2f} s CPU")
    wall, cpu = _timed(lambda: windows(url, tree, end))
    print(f"{'now':<10} {'budget windows':<22} {wall:7.2f} s wall {cpu:7.2f} s CPU")


def _questions(url: str, scope: Scope) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "totals", lambda: totals(url, scope.start, scope.end, scope.team)
    yield "overall", lambda: overall(url, scope)
    for by in ("team", "project", "key", "user", "model", "action", "arm"):
        yield f"by {by}", lambda by=by: grouped(url, by, scope)  # type: ignore[misc]
    for by in ("session", "task"):
        yield f"1,000 dearest {by}s", lambda by=by: dearest(url, by, scope, 1000)  # type: ignore[misc]
    yield "by day, Berlin", lambda: daily(url, ZONE, scope)
    yield "by day, Kolkata", lambda: daily(url, INDIA, scope)
    yield "savings", lambda: report(url, scope)
    yield "outcomes", lambda: outcomes(url, scope)
    yield "1,000 newest", lambda: listing(url, scope)


def _timed(ask: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    ask()
    return time.perf_counter() - wall, time.process_time() - cpu


def _since(begin: float) -> float:
    return time.perf_counter() - begin

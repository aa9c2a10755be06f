"""Whether PostgreSQL's ledger slows down as it grows, and whether months as partitions help.

    python benchmarks/postgres_growth.py --rows 1000000
    python benchmarks/postgres_growth.py --rows 200000 --writers 4   # several machines, one chain

Two databases of one server get the same groups of receipts, each with two lines and an
attempt, through the gateway's own store (chain lock, chain, COPY, position; committed): one
with the tables as they are, one with receipts, lines and attempts partitioned by month.
They take turns, so a busy machine disturbs both; a figure is the median of the turns of a
tenth of the rows. ANALYZE runs between turns, as autovacuum would. At the end a month is read
by team. Nothing is ever deleted: the tables refuse it. With ``--writers`` so many processes
post to one database at once, as the gateways of a cluster do; the chain lets one in at a time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing import Barrier, Event, Process
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from engines import own_postgresql, postgresql  # noqa: E402 - the path comes first
from sharing import receipt  # noqa: E402

from billing.journal import Position  # noqa: E402
from billing.postgres import PostgresStore  # noqa: E402
from billing.receipt import Line, to_fields  # noqa: E402
from billing.schema import upgrade_postgresql  # noqa: E402
from billing.store_rows import Group  # noqa: E402

MONTH_MS, MONTHS = 30 * 86_400_000, 12
START_MS = 1_750_000_000_000
GROUP, TURN = 2_000, 10_000
TABLES = ("receipts", "lines", "attempts")
HALVES = ("as it is", "by month")


def groups(rows: int, prefix: str = "01") -> Iterator[Group]:
    """All receipts in the order of time over twelve months, 2,000 a group."""
    step = MONTH_MS * MONTHS / rows
    for first in range(0, rows, GROUP):
        group = Group(position=Position(1, first + GROUP))
        for number in range(first, min(first + GROUP, rows)):
            at = START_MS + int(number * step)
            name = f"{prefix}{number:024d}"
            made = receipt(name, 500, at)
            lines = [Line(f"{name}-a", part, 250, "0.001", 250, "sha256:b", "r") for part in "io"]
            made = type(made)(
                **{
                    **{field: getattr(made, field) for field in made.__slots__},
                    "team": f"team-{number % 20}",
                    "session": f"s-{number * 7919 % (rows // 5)}",
                    "lines": tuple(lines),
                }
            )
            group.post(made, at, 1_000, to_fields(made)[1])
        yield group


def partition(url: str) -> None:
    """An empty ledger's big tables are cut by month; what was unique holds within a month."""
    with psycopg.connect(url, autocommit=True) as db:
        for table in TABLES:
            indexes = [
                row[0]
                for row in db.execute(
                    "SELECT indexdef FROM pg_indexes WHERE tablename = %s", (table,)
                )
            ]
            db.execute(f"ALTER TABLE {table} RENAME TO {table}_whole".encode())
            db.execute(
                f"CREATE TABLE {table} (LIKE {table}_whole INCLUDING DEFAULTS) "
                "PARTITION BY RANGE (posted_ms)".encode()
            )
            for month in range(MONTHS + 1):
                begin = START_MS + month * MONTH_MS
                db.execute(
                    f"CREATE TABLE {table}_m{month} PARTITION OF {table} "
                    f"FOR VALUES FROM ({begin}) TO ({begin + MONTH_MS})".encode()
                )
            for number, text in enumerate(indexes):
                columns = text[text.index(" USING") :]
                db.execute(f"CREATE INDEX ix_{table}_{number}_m ON {table}{columns}".encode())
            db.execute(f"DROP TABLE {table}_whole".encode())


def fill(
    urls: dict[str, str], stores: dict[str, PostgresStore], rows: int
) -> dict[str, list[float]]:
    """Receipts a second of each database, one value a turn."""
    found: dict[str, list[float]] = {half: [] for half in HALVES}
    turn: list[Group] = []
    for number, group in enumerate(groups(rows)):
        turn.append(group)
        if len(turn) * GROUP < TURN:
            continue
        for half in HALVES if number % 2 else HALVES[::-1]:
            began = time.perf_counter()
            for one in turn:
                stores[half].write(one)
            found[half].append(TURN / (time.perf_counter() - began))
        turn = []
        if number % 50 == 49:
            for half in HALVES:
                for table in TABLES:
                    timed(urls[half], f"ANALYZE {table}")
    return found


def timed(url: str, statement: str) -> float:
    """Seconds of one statement, committed."""
    with psycopg.connect(url, autocommit=True) as db:
        began = time.perf_counter()
        found = db.execute(statement.encode())
        if found.description:
            found.fetchall()
        return time.perf_counter() - began


def after(url: str) -> str:
    """A month read by team, and a receipt looked up."""
    begin = START_MS + 6 * MONTH_MS
    month = f"posted_ms >= {begin} AND posted_ms < {begin + MONTH_MS}"
    read = f"SELECT team, SUM(cost_nano) FROM receipts WHERE {month} GROUP BY team"  # noqa: S608 - numbers
    first = timed(url, read)
    again = min(timed(url, read) for _ in range(3))
    look = f"SELECT body FROM receipts WHERE request_id = '01{77:024d}'"  # noqa: S608 - a number
    found = min(timed(url, look) for _ in range(20)) * 1e3
    return f"a month by team {first:.2f} s, again {again:.2f} s; one receipt {found:.2f} ms"


def size(url: str, rows: int) -> str:
    """Disk a receipt, with its lines, attempt and indexes."""
    with psycopg.connect(url) as db:
        row = db.execute("SELECT pg_database_size(current_database())").fetchone()
        assert row is not None
        return f"{row[0] / rows / 1024:.2f} KB of disk a receipt"


def crowd(url: str, writers: int, rows: int) -> float:
    """Receipts a second of so many processes that post at once."""
    ready, go = Barrier(writers + 1), Event()
    crew = [Process(target=_post, args=(url, n, rows, ready, go)) for n in range(writers)]
    for one in crew:
        one.start()
    ready.wait()
    began = time.perf_counter()
    go.set()
    for one in crew:
        one.join()
        assert one.exitcode == 0
    return writers * rows / (time.perf_counter() - began)


def _post(url: str, number: int, rows: int, ready: Any, go: Any) -> None:
    store = PostgresStore(url, writer=f"w{number}")
    own = list(groups(rows, f"{rows % 10}{number}"))
    ready.wait()
    go.wait()
    for group in own:
        store.write(group)
    store.close()


def together(rows: int, writers: int) -> None:
    """One writer alone, then several at once, each into an empty database; three rounds."""
    with ExitStack() as stack:
        server = stack.enter_context(own_postgresql())
        rates: dict[int, list[float]] = {1: [], writers: []}
        for _ in range(3):
            for count, found in rates.items():
                with postgresql(server) as url:
                    upgrade_postgresql(url)
                    found.append(crowd(url, count, rows // count // GROUP * GROUP))
        for count, found in rates.items():
            print(
                f"{count} writers: {statistics.median(found):,.0f} receipts/s in the tables "
                f"({min(found):,.0f}-{max(found):,.0f}); load {os.getloadavg()}"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_500_000)
    parser.add_argument("--writers", type=int, default=0, help="at once, into one database")
    options = parser.parse_args()
    rows = options.rows
    if options.writers:
        together(rows, options.writers)
        return
    with ExitStack() as stack:
        server = stack.enter_context(own_postgresql())
        urls = {half: stack.enter_context(postgresql(server)) for half in HALVES}
        for url in urls.values():
            upgrade_postgresql(url)
        partition(urls["by month"])
        stores = {half: PostgresStore(url) for half, url in urls.items()}
        found = fill(urls, stores, rows)
        for store in stores.values():
            store.close()
        print(f"{rows:,} receipts; receipts a second, by tenth; load {os.getloadavg()}")
        for half in HALVES:
            turns, tenth = found[half], max(1, len(found[half]) // 10)
            parts = [turns[n : n + tenth] for n in range(0, tenth * 10, tenth)]
            print(f"{half:<10}", *(f"{statistics.median(part):7,.0f}" for part in parts if part))
        ratios = [b / a for a, b in zip(*(found[half] for half in HALVES), strict=True)]
        print(f"by month / as it is: {statistics.median(ratios):.2f} at the median of the turns")
        for half in HALVES:
            print(f"{half:<10} {after(urls[half])}; {size(urls[half], rows)}")


if __name__ == "__main__":
    main()

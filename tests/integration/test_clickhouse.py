"""The analytics queries on ClickHouse: its engine in a process, a table as the guide makes it.

`make test-clickhouse` installs the engine (300 MB, once) into an environment of its own and
names it in WEIR_CLICKHOUSE; without it these tests are left out.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rollup_story import fill

from billing.analytics import DAY, LABELS, Summed, asked, question, summed
from billing.exports import write_parquet
from billing.reports import Scope, overall

PYTHON = os.environ.get("WEIR_CLICKHOUSE")
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "analytics.md"
CUT = datetime(2026, 11, 2, tzinfo=UTC)
# Runs in the engine's own environment: statements in, the last columns of each answer out.
RUNNER = """
import json, sys
from chdb import session
asked = json.load(sys.stdin)
db = session.Session(asked["folder"])
for statement in asked["first"]:
    db.query(statement)
out = {}
for name, query in asked["queries"].items():
    told = db.query(query + " SETTINGS output_format_json_quote_decimals=1,"
                    " output_format_json_quote_64bit_integers=1", "JSONCompactEachRow")
    out[name] = [json.loads(line) for line in str(told).splitlines() if line]
print(json.dumps(out))
"""

pytestmark = [
    pytest.mark.clickhouse,
    pytest.mark.timeout(300),
]


def statements() -> list[str]:
    """The guide's own: the table, and how files come into it."""
    blocks = re.findall(r"```sql\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    return [part.strip() for part in blocks[0].split(";") if part.strip()]


def run(folder: Path, first: list[str], queries: dict[str, str]) -> dict[str, list[Any]]:
    """The answers of one engine that begins with an empty folder."""
    assert PYTHON, "`make test-clickhouse` installs the engine and names its Python"
    text = json.dumps({"folder": str(folder), "first": first, "queries": queries})
    done = subprocess.run(
        [PYTHON, "-c", RUNNER], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    answers: dict[str, list[Any]] = json.loads(done.stdout)
    return answers


def told(rows: list[Any]) -> list[Summed]:
    return sorted((summed(row) for row in rows), key=lambda row: row.label)


def test_clickhouse_says_what_duckdb_and_the_ledger_say(tmp_path: Path) -> None:
    """Every question, over files and over the guide's table, to the nano-dollar."""
    url = f"sqlite:///{tmp_path}/weir.db"
    fill(url, seed=12, count=400, fresh=50)
    exports = tmp_path / "exports"
    exports.mkdir()
    write_parquet(url, Scope(end=CUT), exports / "first.parquet")
    write_parquet(url, Scope(start=CUT, end=CUT + timedelta(days=4_000)), exports / "rest.parquet")
    files = f"file('{exports}/*.parquet', Parquet)"
    first = [each.replace("s3('LINES')", files) for each in statements()]
    assert any(files in each for each in first)
    groups = [*LABELS, DAY]
    queries = {f"table {by}": question(by, "lines") for by in groups}
    queries |= {f"files {by}": question(by, files) for by in groups}
    queries["corrections"] = question("team", "lines", corrections=True)
    queries["top"] = question("task", "lines", limit=2)
    queries["parts"] = "SELECT count(DISTINCT partition) FROM system.parts WHERE table = 'lines'"
    found = run(tmp_path / "engine", first, queries)
    for by in groups:
        wanted = sorted(asked([exports / "*.parquet"], by), key=lambda row: row.label)
        assert told(found[f"table {by}"]) == wanted, by
        assert told(found[f"files {by}"]) == wanted, by
    whole = overall(url, Scope())
    assert sum(row.cost_nano for row in told(found["table team"])) == whole.cost_nano
    assert sum(row.tokenmaxxed_nano for row in told(found["table day"])) == whole.baseline_nano
    assert sum(row.requests for row in told(found["table model"])) == whole.requests
    assert found["corrections"] == []
    assert len(found["top"]) == 2
    assert int(found["parts"][0][0]) > 1  # partitioned by month


def test_a_range_that_comes_in_twice_counts_once(tmp_path: Path) -> None:
    """A month's partition is dropped and inserted again, as the guide says, and sums stay."""
    url = f"sqlite:///{tmp_path}/weir.db"
    fill(url, seed=13, count=60, fresh=0)
    write_parquet(url, Scope(), tmp_path / "all.parquet")
    files = f"file('{tmp_path}/all.parquet', Parquet)"
    first = [each.replace("s3('LINES')", files) for each in statements()]
    insert = next(each for each in first if each.startswith("INSERT"))
    month = insert + " WHERE substring(posted_at, 1, 7) = '2026-11'"
    found = run(
        tmp_path / "engine",
        [*first, "ALTER TABLE lines DROP PARTITION '2026-11-01'", month],
        {"team": question("team", "lines")},
    )
    whole = overall(url, Scope())
    assert sum(row.cost_nano for row in told(found["team"])) == whole.cost_nano

"""Reports over Parquet exports are those of the ledger, to the nano-dollar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from rollup_story import fill

from billing.analytics import DAY, LABELS, NoExport, Summed, asked, question
from billing.exports import write_parquet
from billing.reports import Row, Scope, daily, grouped

START = datetime(2026, 11, 1, tzinfo=UTC)
FAR = START + timedelta(days=4_000)


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A ledger of 400 made-up requests, exported by month into one folder."""
    folder = tmp_path_factory.mktemp("analytics")
    url = f"sqlite:///{folder}/weir.db"
    fill(url, seed=11, count=400, fresh=50)
    cut = START + timedelta(days=1)
    write_parquet(url, Scope(end=cut), folder / "first.parquet")
    write_parquet(url, Scope(start=cut, end=FAR), folder / "rest.parquet")
    return url, folder


def as_summed(row: Row) -> tuple[str, int, int, int, int]:
    return (row.label, row.requests, row.effective_tokens, row.cost_nano, row.baseline_nano)


def told(rows: list[Summed]) -> list[tuple[str, int, int, int, int]]:
    return sorted(
        (r.label, r.requests, r.effective_tokens, r.cost_nano, r.tokenmaxxed_nano) for r in rows
    )


@pytest.mark.parametrize("by", sorted(set(LABELS) - {"component", "session"}))
def test_every_group_is_the_ledgers(by: str, golden: tuple[str, Path]) -> None:
    """Requests, effective tokens, cost and tokenmaxxed cost of each label, over two files."""
    url, folder = golden
    wanted = sorted(as_summed(row) for row in grouped(url, by, Scope()))
    found = asked([folder / "*.parquet"], by)
    assert told(found) == wanted
    assert [row.cost_nano for row in found] == sorted((r.cost_nano for r in found), reverse=True)


def test_every_day_is_the_ledgers(golden: tuple[str, Path]) -> None:
    """By UTC day, as the ledger's own report in that zone."""
    url, folder = golden
    wanted = sorted(as_summed(row) for _, row in daily(url, ZoneInfo("UTC"), Scope()))
    assert told(asked([folder / "first.parquet", folder / "rest.parquet"], DAY)) == wanted


def test_components_sum_to_the_whole(golden: tuple[str, Path]) -> None:
    """What each kind of line cost adds up to what everything cost."""
    url, folder = golden
    whole = sum(row.cost_nano for row in grouped(url, "team", Scope()))
    found = asked([folder / "*.parquet"], "component")
    assert sum(row.cost_nano for row in found) == whole
    assert {row.label for row in found} == {"input", "gateway:calls"}
    assert asked([folder / "*.parquet"], "team", corrections=True) == []
    assert len(asked([folder / "*.parquet"], "task", limit=2)) == 2


def test_what_is_no_export_is_said(golden: tuple[str, Path], tmp_path: Path) -> None:
    """A missing file, a file of another kind, a FOCUS export, an unknown group."""
    url, _ = golden
    write_parquet(url, Scope(), tmp_path / "focus.parquet", focus=True)
    (tmp_path / "notes.parquet").write_text("no parquet")
    with pytest.raises(NoExport, match="No files found"):
        asked([tmp_path / "it's not there.parquet"], "team")
    for name in ("focus", "notes"):
        with pytest.raises(NoExport, match="weir export --format parquet"):
            asked([tmp_path / f"{name}.parquet"], "team")
    with pytest.raises(ValueError, match="known: team"):
        question("colour", "lines")

"""The month on one page: the ledger's sums, safe to open anywhere."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from billing.accounts import Accounts
from billing.errors import BillingError
from billing.exports import FOCUS
from billing.ledger import HoldRequest, Ledger
from billing.money import nano
from dashboard import data
from dashboard.data import Source
from dashboard.downloads import column_file, text_file
from dashboard.format import money
from dashboard.month_report import written

MONTH = "2025-03"


@pytest.fixture
def source(house: Any, monkeypatch: pytest.MonkeyPatch) -> Source:
    """The golden ledger as the app opens it."""
    monkeypatch.setenv("WEIR_DATABASE", house.url)
    monkeypatch.setenv("WEIR_CONFIG", str(house.policy))
    return data.open_source()


def test_the_page_says_what_the_ledger_says(source: Source) -> None:
    """Paid, tokenmaxxed, the share and the teams are the golden ledger's, worked out by hand."""
    page = written(source, MONTH)
    assert f"Paid<b>{money(528_002_000)}</b>" in page
    assert f"Tokenmaxxed<b>{money(394_020_000)}</b>" in page
    assert "67.5%" in page
    for team, cost in (("support", 18_002_000), ("search", 510_000_000)):
        assert f"<td>{team}</td>" in page
        assert f"<td>{money(cost)}</td>" in page
    assert "1 receipt of 8 rest on estimated" in page
    assert "open: what settles late" in page


def test_nothing_is_fetched_and_nothing_runs(source: Source) -> None:
    """The page stands alone: no script, no address, no style sheet from elsewhere."""
    page = written(source, MONTH).lower()
    assert not [bad for bad in ("<script", "http:", "https:", "<link", "@import") if bad in page]


def test_a_name_cannot_become_markup(
    tmp_path: Path, accounts: Accounts, golden: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model called like a tag is shown, not run."""
    url = f"sqlite:///{tmp_path / 'weir.db'}"
    receipt = golden("R1", served_model="<img src=x onerror=alert(1)>")
    ledger = Ledger(url, accounts, lambda: receipt.at_ms).open()
    path = ("organisation", "support", "support/chat", "support/chat/chat-prod")
    request = HoldRequest("R1", path, None, 0, receipt.at_ms, "m", "u")
    ledger.settle(ledger.hold(request), receipt)
    ledger.close()
    monkeypatch.setenv("WEIR_DATABASE", url)
    monkeypatch.delenv("WEIR_CONFIG", raising=False)
    page = written(data.open_source(), MONTH)
    assert "<img" not in page
    assert "&lt;img src=x" in page


def test_a_month_without_requests_is_a_page_too(source: Source) -> None:
    """An empty month says so in figures, and what is no month is refused."""
    assert "0 requests cost $0.00" in written(source, "2025-05")
    with pytest.raises(BillingError, match="is no month"):
        written(source, "May")


@pytest.mark.parametrize("focus", [True, False])
def test_a_download_sums_to_the_month(source: Source, focus: bool) -> None:
    """The lines of a CSV add up to what the screen says, to the nano."""
    rows = list(csv.DictReader(io.StringIO(text_file(source, MONTH, focus=focus).decode())))
    name = "BilledCost" if focus else "amount_usd"
    assert sum(nano(row[name]) for row in rows) == 528_002_000


def test_parquet_holds_the_same(source: Source) -> None:
    """The Parquet file has the FOCUS columns and the same sum."""
    from pyarrow import BufferReader, parquet

    table = parquet.read_table(BufferReader(column_file(source, MONTH)))
    assert tuple(table.column_names) == FOCUS
    costs: list[Decimal] = table["BilledCost"].to_pylist()
    assert sum(costs) == Decimal("0.528002")

"""Exports: whatever the shape, the billed costs sum to what was paid."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from billing.exports import FOCUS, PLAIN, charges, write_csv, write_parquet
from billing.money import nano
from billing.receipt import Line
from billing.reports import Scope, overall


@pytest.fixture
def filled(money: Any, clock: Any, url: str, open_ledger: Any) -> str:
    """Requests with one line, two lines, none, and with a gateway cost listed and unlisted."""
    ledger = open_ledger(money.accounts())
    two = (
        Line("b1", "input", 300, "0.001", 300, "sha256:b", "r"),
        Line("b1", "tool_call:web_search", 3, "10000", 30_000_000, "sha256:b", "r"),
    )
    own = Line("g", "gateway:input", 40, "0.001", 40, "sha256:b", "r")
    made = [
        money.receipt("r0", 1000, tags={"feature": 'a,"b"'}),
        money.receipt("r1", 30_000_300, lines=two),
        money.receipt("r2", 0, baseline_nano=777),
        money.receipt("r3", 1040, gateway_cost_nano=40, lines=(two[0], _line(700), own)),
        money.receipt("r4", 1040, gateway_cost_nano=40, lines=(two[0], _line(700))),
    ]
    for receipt in made:
        hold = ledger.hold(money.request(receipt.request_id, 10**8, clock.now))
        ledger.settle(hold, receipt)
    ledger.flush()
    return url


def _line(quantity: int) -> Line:
    return Line("b1", "output", quantity, "0.001", quantity, "sha256:b", "r")


def as_csv(url: str, *, focus: bool) -> list[dict[str, str]]:
    out = io.StringIO()
    count = write_csv(url, Scope(), out, focus=focus)
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert len(rows) == count
    return rows


def test_plain_rows_sum_to_the_cost(filled: str) -> None:
    """Every line is a row; amounts sum to the ledger's total, tokenmaxxed counts once."""
    rows, whole = as_csv(filled, focus=False), overall(filled, Scope())
    assert sum(nano(row["amount_usd"]) for row in rows) == whole.cost_nano
    assert sum(nano(row["tokenmaxxed_usd"] or "0") for row in rows) == whole.baseline_nano
    assert sum(int(row["effective_tokens"] or 0) for row in rows) == (whole.effective_tokens)
    assert tuple(rows[0]) == PLAIN
    assert rows[0]["tags"] == '{"feature":"a,\\"b\\""}'
    assert rows[0]["posted_at"] == "2026-11-22T12:00:00.000Z"


def test_focus_rows_meet_the_invoice(filled: str) -> None:
    """BilledCost sums to what was paid; savings are a column and never a credit."""
    rows, whole = as_csv(filled, focus=True), overall(filled, Scope())
    assert tuple(rows[0]) == FOCUS
    assert sum(nano(row["BilledCost"]) for row in rows) == whole.cost_nano
    assert {row["ChargeCategory"] for row in rows} == {"Usage"}
    assert sum(nano(row["x_TokenmaxxedCost"] or "0") for row in rows) == whole.baseline_nano
    gateway = [row for row in rows if row["x_Origin"] == "gateway"]
    assert sum(nano(row["BilledCost"]) for row in gateway) == whole.gateway_cost_nano
    first = rows[0]
    assert (first["BillingPeriodStart"], first["BillingPeriodEnd"]) == (
        "2026-11-01T00:00:00Z",
        "2026-12-01T00:00:00Z",
    )
    assert (first["SubAccountId"], first["ConsumedUnit"], first["PricingUnit"]) == (
        "t",
        "Tokens",
        "1M Tokens",
    )
    searches = next(row for row in rows if row["SkuMeter"] == "tool_call:web_search")
    assert (searches["ConsumedQuantity"], searches["ConsumedUnit"]) == ("3", "Calls")
    for row in rows:
        assert Decimal(row["PricingQuantity"]) * Decimal(row["ListUnitPrice"]) == Decimal(
            row["ListCost"]
        )


def test_a_contract_shows_in_the_list_cost_alone(money: Any, open_ledger: Any, url: str) -> None:
    """ListCost is at the provider's own price; billed, effective and contracted at ours."""
    ledger = open_ledger(money.accounts())
    listed = {"r-a": {"input": "0.0025"}}
    made = money.receipt("r", 1_001, decision={"list": listed})
    ledger.settle(ledger.hold(money.request("r", 2_000)), made)
    ledger.flush()
    (row,) = as_csv(url, focus=True)
    assert [nano(row[f"{name}Cost"]) for name in ("Billed", "Effective", "Contracted")] == (
        [1_001] * 3
    )
    assert nano(row["ListCost"]) == 2_502  # half to even
    assert (row["ListUnitPrice"], row["ContractedUnitPrice"]) == ("0.0025", "0.001")


@pytest.mark.parametrize("focus", [False, True])
def test_parquet_is_the_same(filled: str, tmp_path: Path, focus: bool) -> None:
    """The Parquet file has the CSV's rows, money as decimals."""
    path = tmp_path / "out.parquet"
    count = write_parquet(filled, Scope(), path, focus=focus)
    table, rows = parquet.read_table(path), as_csv(filled, focus=focus)
    assert table.num_rows == count == len(rows)
    cost = "BilledCost" if focus else "amount_usd"
    assert [Decimal(row[cost]) for row in rows] == table.column(cost).to_pylist()


def test_a_range_is_respected(filled: str) -> None:
    """Only what is in scope is written."""
    assert list(charges(filled, Scope(team="other"))) == []
    assert len(list(charges(filled, Scope(team="t")))) == 10

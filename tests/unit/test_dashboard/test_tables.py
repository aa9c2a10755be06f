"""Tables and their CSV."""

from __future__ import annotations

import csv
import io
from datetime import date, datetime
from decimal import Decimal

from pyarrow import parquet

from billing.currency import Rate
from dashboard.tables import Column, Table

_COLUMNS = {
    "name": Column("Name"),
    "at": Column("When", "when"),
    "paid": Column("Paid", "money"),
    "secretly": Column("Extra", hidden=True),
}


def read(table: Table) -> list[list[str]]:
    """The CSV's cells."""
    return list(csv.reader(io.StringIO(table.csv().decode())))


def test_csv_has_exact_amounts() -> None:
    """A nano-dollar is not rounded away, unknown is empty, hidden columns are in the file."""
    when = datetime(2025, 3, 3, 12)  # noqa: DTZ001 - tables show wall time
    table = Table(
        _COLUMNS,
        [
            {"name": "a,b", "at": when, "paid": 1_000_000_001, "secretly": "x"},
            {"name": 'q"', "at": when, "paid": None, "secretly": ""},
        ],
    )
    assert read(table) == [
        ["name", "at", "paid_usd", "secretly"],
        ["a,b", "2025-03-03 12:00:00.000", "1.000000001", "x"],
        ['q"', "2025-03-03 12:00:00.000", "", ""],
    ]


def test_a_name_never_becomes_a_formula() -> None:
    """What a spreadsheet would run is quoted; numbers are left alone."""
    columns = {"name": Column("Name"), "paid": Column("Paid", "money")}
    for risky in ("=HYPERLINK(1)", "+1", "-1", "@x"):
        table = Table(columns, [{"name": risky, "paid": -5_000_000_000}])
        name, paid = read(table)[1]
        assert name == f"'{risky}"
        assert paid.startswith("-5")


def test_the_screen_leaves_hidden_columns_out() -> None:
    """What stands only in the download is not drawn."""
    table = Table(_COLUMNS, [{"name": "a", "at": None, "paid": 5, "secretly": "x"}])
    assert list(table.shown()) == ["name", "at", "paid"]


def test_parquet_has_the_same_amounts_as_decimals() -> None:
    """Every column of the CSV with its type; no cent is a float."""
    when = datetime(2025, 3, 3, 12)  # noqa: DTZ001 - tables show wall time
    table = Table(
        _COLUMNS,
        [
            {"name": "a", "at": when, "paid": 1_000_000_001, "secretly": "x"},
            {"name": "b", "at": None, "paid": None, "secretly": ""},
        ],
    )
    first, second = parquet.read_table(io.BytesIO(table.parquet())).to_pylist()
    assert first == {"name": "a", "at": when, "paid_usd": Decimal("1.000000001"), "secretly": "x"}
    assert (second["at"], second["paid_usd"]) == (None, None)


def test_converted_amounts_stand_beside_usd_and_name_their_rate() -> None:
    """A column more for each amount; the exact USD stays as it is."""
    rate = Rate("EUR", Decimal("1.25"), date(2026, 11, 1))
    table = Table({"paid": Column("Paid", "money")}, [{"paid": 1_250_000_000}, {"paid": None}])
    lines = table.csv(rate).decode().split()
    assert lines[:2] == ["paid_usd,paid_eur_at_2026-11-01", "1.25,1"]
    (first, second) = parquet.read_table(io.BytesIO(table.parquet(rate))).to_pylist()
    assert first["paid_eur_at_2026-11-01"] == Decimal(1)
    assert second["paid_eur_at_2026-11-01"] is None

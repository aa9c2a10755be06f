"""Rows of a report as a table on the screen and as CSV, with the same figures in both."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, Literal

import streamlit as st

from billing.currency import Rate
from billing.money import usd
from dashboard.format import SHOWN, code, column_places, dollars
from dashboard.shown import part_shown

PARQUET = "application/vnd.apache.parquet"
_HELP = {"FOCUS": "Every line behind these rows with the columns of FOCUS; they sum to the rows."}
Kind = Literal["text", "count", "money", "when", "ratio"]
_HEIGHT, _FRAME = 35, 3
_MOST_HEIGHT = 560
_RISKY = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, what it holds, and what it means (shown as a tooltip).

    ``hidden`` columns stand only in the download.
    """

    title: str
    kind: Kind = "text"
    means: str | None = None
    width: Literal["small", "medium", "large"] | None = None
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Named columns over records; money in records is integer nano-USD or None."""

    columns: Mapping[str, Column]
    records: Sequence[Mapping[str, Any]]

    def csv(self, rate: Rate | None = None) -> bytes:
        """RFC 4180 with a header; money as exact decimal USD, empty where unknown.

        Args:
            rate: adds each amount converted, after those in USD.
        """
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        amounts = self._amounts(rate)
        named = [
            f"{name}_usd" if column.kind == "money" else name
            for name, column in self.columns.items()
        ]
        writer.writerow([*named, *amounts])
        for record in self.records:
            own = [_cell(column.kind, record[name]) for name, column in self.columns.items()]
            more = [_cell("money", _in(rate, record[name])) for name in amounts.values()]
            writer.writerow([*own, *more])
        return out.getvalue().encode()

    def _amounts(self, rate: Rate | None) -> dict[str, str]:
        """The converted columns, each with the column that it is of; its rate's day is named."""
        if rate is None:
            return {}
        end = f"{rate.code.lower()}_at_{rate.since.isoformat()}"
        return {
            f"{name}_{end}": name for name, column in self.columns.items() if column.kind == "money"
        }

    def parquet(self, rate: Rate | None = None) -> bytes:
        """The same with types: money as decimal numbers of nine places, times without a zone."""
        import pyarrow as pa  # type: ignore[import-untyped]  # it has no types
        from pyarrow import parquet

        columns = {
            f"{name}_usd" if column.kind == "money" else name: pa.array(
                [_typed(column.kind, record[name]) for record in self.records],
                type=_arrow_type(pa, column.kind),
            )
            for name, column in self.columns.items()
        }
        for name, of in self._amounts(rate).items():
            values = [_typed("money", _in(rate, record[of])) for record in self.records]
            columns[name] = pa.array(values, type=_arrow_type(pa, "money"))
        out = io.BytesIO()
        parquet.write_table(pa.table(columns), out)
        return out.getvalue()

    def shown(self) -> dict[str, list[Any]]:
        """The same as columns for the screen; money as USD numbers."""
        return {
            name: [
                dollars(record[name]) if column.kind == "money" else record[name]
                for record in self.records
            ]
            for name, column in self.columns.items()
            if not column.hidden
        }

    def config(self) -> dict[str, Any]:
        """How the screen shows each column; all money with the same decimals."""
        amounts = [
            record[name]
            for name, column in self.columns.items()
            if column.kind == "money"
            for record in self.records
        ]
        digits = column_places(amounts)
        return {name: _config(column, digits) for name, column in self.columns.items()}


def _config(column: Column, digits: int) -> Any:
    said: dict[str, Any] = {"help": column.means, "width": column.width}
    kinds = st.column_config
    match column.kind:
        case "money":
            title = f"{column.title}, {code()}"
            return kinds.NumberColumn(title, format=f"%,.{digits}f", **said)
        case "count":
            return kinds.NumberColumn(column.title, format="%,d", **said)
        case "ratio":
            return kinds.NumberColumn(column.title, format="percent", **said)
        case "when":
            return kinds.DatetimeColumn(column.title, format="YYYY-MM-DD HH:mm", **said)
        case _:
            return kinds.TextColumn(column.title, **said)


def show(
    table: Table, name: str, *, pick: bool = False, lines: Callable[[], bytes] | None = None
) -> int | None:
    """Draw a table with its downloads; the index of the record picked, if one is.

    Args:
        name: of the download, and unique on the page.
        pick: let one row be chosen.
        lines: makes the lines behind rows of spend as FOCUS, where there are any.
    """
    options: dict[str, Any] = {
        "column_config": table.config(),
        "hide_index": True,
        "placeholder": "\u2013",
        "alt": f"Table: {name.replace('-', ' ')}",
        "height": min(_HEIGHT * (len(table.records) + 1) + _FRAME, _MOST_HEIGHT),
        "key": f"table-{name}",
    }
    picked: int | None = None
    if pick:
        event: Any = st.dataframe(
            table.shown(), on_select="rerun", selection_mode="single-row", **options
        )
        rows = event.selection.rows
        picked = rows[0] if rows else None
    else:
        st.dataframe(table.shown(), **options)
    download(table, name, lines)
    return picked


def download(table: Table, name: str, lines: Callable[[], bytes] | None = None) -> None:
    """Buttons that give the table as files; each is made when it is asked for."""
    start = file_start(name)
    files: list[tuple[str, str, str, Callable[[], bytes]]] = [
        ("Download CSV", f"{start}.csv", "text/csv", partial(table.csv, SHOWN.get())),
        ("Parquet", f"{start}.parquet", PARQUET, partial(table.parquet, SHOWN.get())),
    ]
    if lines is not None:
        files.append(("FOCUS", f"{start}-focus.csv", "text/csv", lines))
    with st.container(horizontal=True, gap="small"):
        for label, file, mime, make in files:
            st.download_button(
                label, make, file_name=file, mime=mime, key=f"{label}-{name}", on_click="ignore",
                icon=":material/download:", type="secondary", help=_HELP.get(label),
            )  # fmt: skip


def file_start(name: str) -> str:
    """How a file's name begins: what it is, and the filters that it was made under."""
    slug = part_shown()
    return f"tokenweir-{name}-{slug}" if slug else f"tokenweir-{name}"


def _in(rate: Rate | None, amount_nano: int | None) -> int | None:
    return None if rate is None or amount_nano is None else rate.nano(amount_nano)


def _typed(kind: Kind, value: Any) -> Any:
    if value is None:
        return None
    if kind == "money":
        return Decimal(value).scaleb(-9)
    return str(value) if kind == "text" else value


def _arrow_type(pa: Any, kind: Kind) -> Any:
    types = {
        "money": pa.decimal128(38, 9), "count": pa.int64(), "ratio": pa.float64(),
        "when": pa.timestamp("ms"), "text": pa.string(),
    }  # fmt: skip
    return types[kind]


def _cell(kind: Kind, value: Any) -> str:
    if value is None:
        return ""
    if kind == "money":
        return usd(value)
    if kind == "when":
        return str(value.isoformat(sep=" ", timespec="milliseconds"))
    text = str(value)
    # A spreadsheet would run a name that begins like a formula.
    return f"'{text}" if kind == "text" and text.startswith(_RISKY) else text

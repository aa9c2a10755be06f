"""Files to take away: a month's charges as CSV, Parquet and FOCUS, and its report as a page.

A file is made when its button is pressed, never while the page is drawn.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from billing.closing import month_of
from billing.exports import write_csv, write_parquet
from billing.reports import Scope
from dashboard.data import Source
from dashboard.month_report import written

_ICON = ":material/download:"


def charges(source: Source, month: str) -> None:
    """Buttons for every line of a month; a file is made only when its button is pressed."""
    csv, parquet = "text/csv", "application/vnd.apache.parquet"
    start = f"tokenweir-{month}"
    _button(
        "FOCUS CSV", f"{start}-focus.csv", csv, lambda: text_file(source, month, focus=True)
    )  # fmt: skip
    _button(
        "Lines CSV", f"{start}-lines.csv", csv, lambda: text_file(source, month, focus=False)
    )  # fmt: skip
    _button(
        "FOCUS Parquet", f"{start}-focus.parquet", parquet, lambda: column_file(source, month)
    )  # fmt: skip


MOST_LINES = 200_000


def focus_of(source: Source, scope: Scope) -> Callable[[], bytes] | None:
    """Makes the lines in scope as FOCUS; None where they are too many for a page or not theirs.

    A line may be of a request that the viewer may not see alone, so they need what a list does.
    """
    if not source.viewer.may("requests") or source.overall(scope).requests > MOST_LINES:
        return None
    asked = source.viewer.scope(scope)

    def make() -> bytes:
        out = io.StringIO(newline="")
        write_csv(source.url, asked, out, focus=True)
        return out.getvalue().encode()

    return make


def month_report(source: Source, month: str) -> None:
    """The month on one page that can be sent or printed."""
    _button(
        "Month report", f"tokenweir-{month}.html", "text/html",
        lambda: written(source, month).encode(), kind="primary",
    )  # fmt: skip


def text_file(source: Source, month: str, *, focus: bool) -> bytes:
    """Every line of a month as CSV. Raises CannotClose where it is no month."""
    out = io.StringIO(newline="")
    write_csv(source.url, Scope(*month_of(month)), out, focus=focus)
    return out.getvalue().encode()


def column_file(source: Source, month: str) -> bytes:
    """Every line of a month as Parquet with the FOCUS columns."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "month.parquet"
        write_parquet(source.url, Scope(*month_of(month)), path, focus=True)
        return path.read_bytes()


def _button(
    label: str, name: str, mime: str, make: Callable[[], bytes], *, kind: str = "secondary"
) -> None:
    st.download_button(
        label, make, file_name=name, mime=mime, key=f"file-{name}", icon=_ICON,
        on_click="ignore", type="primary" if kind == "primary" else "secondary",
    )  # fmt: skip

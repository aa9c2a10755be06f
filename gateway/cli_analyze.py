"""`weir analyze`: reports over Parquet exports, without the ledger."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gateway.cli_common import AsJson, fail


def register(app: typer.Typer) -> None:
    """This command belongs to ``weir``."""
    app.command("analyze")(analyze)


def analyze(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Plain Parquet exports, or patterns in quotes; each range once."),
    ] = None,
    by: Annotated[str, typer.Option(help="A label of requests, component, or day (UTC).")] = "team",
    corrections: Annotated[
        bool, typer.Option("--corrections", help="What reconciliations booked instead.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="Most rows, the dearest first.")] = 1000,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the query on a table `lines`; ask nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Sums over exports by team, model, day and so on, exactly as the ledger's own reports."""
    from billing.analytics import NoExport, Summed, asked, question, to_json

    try:
        if sql:
            typer.echo(question(by, "lines", corrections=corrections, limit=limit))
            return
        if not files:
            raise fail("name the exports: weir analyze 'exports/*.parquet'")
        rows: list[Summed] = asked(files, by, corrections=corrections, limit=limit)
    except (NoExport, ValueError) as error:
        raise fail(str(error)) from None
    if as_json:
        typer.echo(json.dumps(to_json(rows), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="dim")
    for title in (by, "requests", "effective tokens", "cost, USD", "tokenmaxxed, USD"):
        table.add_column(title, justify="left" if title == by else "right")
    for row in to_json(rows):
        figures = f"{row['requests']:,}", f"{row['effective_tokens']:,}"
        table.add_row(
            str(row["label"]) or "-", *figures, str(row["cost_usd"]), str(row["tokenmaxxed_usd"])
        )
    Console().print(table)

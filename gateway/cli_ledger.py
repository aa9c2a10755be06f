"""`weir ledger`: what was spent, whether it adds up, and a copy of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli_common import DEFAULT_CONFIG, AsJson, Config, fail, instant, ledger_of

_ROLLED_AT_ONCE = 20_000


def register(app: typer.Typer) -> None:
    """These commands belong to ``weir ledger``."""
    ledger_app = typer.Typer(help="What was spent.", no_args_is_help=True)
    app.add_typer(ledger_app, name="ledger")
    ledger_app.command("totals")(totals)
    ledger_app.command("verify")(verify)
    ledger_app.command("rollup")(rollup)
    ledger_app.command("backup")(backup)


def totals(
    config: Config = DEFAULT_CONFIG,
    start: Annotated[str | None, typer.Option("--from", help="ISO date, UTC.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="ISO date, UTC, exclusive.")] = None,
    team: Annotated[str | None, typer.Option()] = None,
    as_json: AsJson = False,
) -> None:
    """Settled requests, tokens and cost; open holds apart."""
    from billing import reports

    found = reports.totals(ledger_of(config), start=instant(start), end=instant(end), team=team)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, value in found.items():
        typer.echo(f"{name:<20} {value}")


def verify(config: Config = DEFAULT_CONFIG) -> None:
    """Check that every receipt's lines add up to its totals."""
    from billing import reports

    problems = reports.verify(ledger_of(config))
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(1)
    typer.echo("The ledger adds up.")


def rollup(
    config: Config = DEFAULT_CONFIG,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make all of it anew.")] = False,
) -> None:
    """Bring the sums that reports read up to date; stopped, it goes on where it was.

    A running gateway does it by itself. Reports are exact before and meanwhile, only slower.
    """
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from billing.store import open_tables

    tables = open_tables(ledger_of(config))
    try:
        if rebuild:
            tables.clear_rollups()
        left = whole = tables.roll_up(_ROLLED_AT_ONCE)
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, disable=not whole) as progress:
            task = progress.add_task("Rolling up", total=whole)
            while left:
                left = tables.roll_up(_ROLLED_AT_ONCE)
                progress.update(task, completed=whole - left)
    finally:
        tables.close()
    typer.echo("Roll-ups are up to date.")


def backup(
    folder: Annotated[Path, typer.Argument(help="Where to; made where missing.")],
    config: Config = DEFAULT_CONFIG,
    bodies: Annotated[
        bool, typer.Option("--bodies", help="Kept requests and answers, too.")
    ] = False,
) -> None:
    """Copy a SQLite ledger as of one moment, while the gateway runs.

    To go back to it: stop the gateway, put the copies where the ledger was, start it.
    """
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from billing import backup as copying
    from billing.errors import LedgerUnavailable
    from billing.schema import is_postgresql

    url = ledger_of(config)
    if is_postgresql(url):
        raise fail(
            "this ledger is PostgreSQL's: copy it with pg_dump, as docs/guides/operations.md says"
        )
    with Progress(console=Console(stderr=True), transient=True) as progress:
        tasks: dict[Path, TaskID] = {}

        def told(source: Path, done: int, whole: int) -> None:
            if source not in tasks:
                tasks[source] = progress.add_task(f"Copying {source.name}", total=whole)
            progress.update(tasks[source], completed=done, total=whole)

        try:
            copies = copying.backup(url, folder, told, bodies=bodies)
        except LedgerUnavailable as error:
            raise fail(str(error)) from None
    for path in copies:
        typer.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")

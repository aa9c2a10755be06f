"""`weir savings`, `weir export`, `weir reconcile`, `weir close`: one short function a command."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from gateway.cli_common import DEFAULT_CONFIG, AsJson, Config, fail, instant, ledger_of, load

if TYPE_CHECKING:  # SQLAlchemy is imported by the commands that need it
    from billing.reports import Scope

From = Annotated[str | None, typer.Option("--from", help="ISO date, UTC.")]
To = Annotated[str | None, typer.Option("--to", help="ISO date, UTC, exclusive.")]
Team = Annotated[str | None, typer.Option(help="Of one team only.")]


class Shape(StrEnum):
    """What an export is written as."""

    CSV = "csv"
    PARQUET = "parquet"
    FOCUS = "focus"


class Source(StrEnum):
    """Whose export a file is."""

    AUTO = "auto"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GENERIC = "generic"


def register(app: typer.Typer) -> None:
    """These commands belong to ``weir``."""
    app.command("savings")(savings)
    app.command("export")(export)
    app.command("reconcile")(reconcile)
    app.command("close")(close)


def savings(
    config: Config = DEFAULT_CONFIG,
    start: From = None,
    end: To = None,
    team: Team = None,
    as_json: AsJson = False,
) -> None:
    """What routing saved, with its interval, by cause, and whether quality held."""
    from rich.console import Console

    from billing.savings_report import report, to_json
    from gateway.finance_tables import print_savings

    settings = load(config, offline=True)
    delta = float(settings.accounts.config.savings.delta)
    found = report(ledger_of(config), _scope(start, end, team), delta)
    if as_json:
        typer.echo(json.dumps(to_json(found), indent=2))
    else:
        print_savings(found, Console())


def export(
    config: Config = DEFAULT_CONFIG,
    shape: Annotated[
        Shape, typer.Option("--format", help="A file name in .parquet makes focus Parquet, too.")
    ] = Shape.CSV,
    start: From = None,
    end: To = None,
    team: Team = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A file; by default CSV goes to stdout.")
    ] = None,
) -> None:
    """Every line of the ledger in a range as CSV, Parquet or FOCUS; amounts sum to its cost."""
    from billing.exports import write_csv, write_parquet

    focus = shape is Shape.FOCUS
    columnar = shape is Shape.PARQUET or (focus and out is not None and out.suffix == ".parquet")
    if columnar and out is None:
        raise fail("Parquet is no text: name a file with --out")
    url, scope = ledger_of(config), _scope(start, end, team)
    if out is None:
        write_csv(url, scope, sys.stdout, focus=focus)
        return

    def as_text(part: Path) -> int:
        with part.open("w", encoding="utf-8", newline="") as file:
            text: TextIO = file
            return write_csv(url, scope, text, focus=focus)

    def as_columns(part: Path) -> int:
        return write_parquet(url, scope, part, focus=focus)

    count = _whole(out, as_columns if columnar else as_text)
    typer.echo(f"{count:,} rows in {out}.", err=True)


def reconcile(
    file: Annotated[Path, typer.Argument(help="A provider's usage or cost export.")],
    config: Config = DEFAULT_CONFIG,
    source: Annotated[Source, typer.Option("--format", help="Whose export it is.")] = Source.AUTO,
    account: Annotated[
        str | None, typer.Option(help="The upstream it is the account of, where that is unclear.")
    ] = None,
    tolerance: Annotated[
        str, typer.Option(help="USD an account and day that count as agreement.")
    ] = "0.01",
    book: Annotated[bool, typer.Option("--book", help="Book what differs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Hold a provider's export against the ledger, by account and UTC day; say why they differ.

    Exits 1 while any day differs by more than the tolerance.
    """
    from rich.console import Console

    from gateway.finance_tables import print_deltas
    from gateway.reconcile_command import Asked, run

    try:
        raw = file.read_bytes()
    except OSError as error:
        raise fail(f"{file} cannot be read: {error.strerror}") from None
    now = datetime.now(UTC)  # noqa: TID251 - a command's clock
    asked = Asked(raw, source.value, account, tolerance, book, now)
    try:
        ledger_of(config)
        done = run(load(config, offline=True), asked)
    except ValueError as error:
        raise fail(f"{file}: {error}") from None
    if as_json:
        typer.echo(json.dumps(done.to_json(), indent=2))
    else:
        print_deltas(done, Console())
    raise typer.Exit(0 if done.agrees else 1)


def close(
    month: Annotated[str, typer.Argument(help="2026-10: it and all before it.")],
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Freeze a month in UTC: what comes later posts to the open month, with a note."""
    from billing.closing import CannotClose
    from billing.closing import close as freeze
    from gateway.finance_tables import closing_json, closing_words

    now = datetime.now(UTC)  # noqa: TID251 - a command's clock
    try:
        done = freeze(ledger_of(config), month, now)
    except CannotClose as error:
        raise fail(str(error)) from None
    typer.echo(json.dumps(closing_json(done)) if as_json else closing_words(done))


def _scope(start: str | None, end: str | None, team: str | None) -> Scope:
    from billing.reports import Scope

    return Scope(instant(start), instant(end), team)


def _whole(out: Path, write: Callable[[Path], int]) -> int:
    """A file that is there whole or not at all; how many rows."""
    part = out.with_name(f".{out.name}.part")
    try:
        count = write(part)
        part.replace(out)
    except OSError as error:
        raise fail(f"{out} cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    return count

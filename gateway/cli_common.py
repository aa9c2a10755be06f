"""What every `weir` command shares: its options, its errors, how it reads the configuration."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.errors import ConfigError
from gateway.offline import Offline

if TYPE_CHECKING:  # pydantic and YAML are imported by the commands that need them
    from gateway.settings import Settings

Config = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
DEFAULT_CONFIG = Path("weir.yaml")


def fail(message: str, code: int = 2) -> typer.Exit:
    """Print to stderr and give the exit to raise."""
    typer.echo(f"weir: {message}", err=True)
    return typer.Exit(code)


def load(path: Path, *, offline: bool = False) -> Settings:
    """Settings from a file, or exit 2 with file, line, key and fix.

    ``offline``: an unset ``${ENV}`` is no error, since no provider will be called.
    """
    from gateway.settings import parse

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise fail(f"{path} does not exist; `weir init` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"{path} cannot be read: {error}") from None
    try:
        return parse(text, str(path), Offline(os.environ) if offline else None)
    except ConfigError as error:
        raise fail(str(error)) from None


def ledger_of(path: Path, *, offline: bool = True) -> str:
    """The URL of a ledger that exists, for who only reads it; or exit 2."""
    from billing.errors import LedgerMissing
    from billing.schema import database_path, is_postgresql

    url = load(path, offline=offline).database
    if not is_postgresql(url) and not database_path(url).exists():
        raise fail(str(LedgerMissing(database_path(url).absolute())))
    return url


def check_folder(url: str) -> None:
    """The folder of a SQLite file is there; it is never made, since it may be a mistake."""
    from billing.schema import database_path, is_postgresql

    if not is_postgresql(url) and not database_path(url).parent.is_dir():
        folder = database_path(url).parent
        raise fail(f"the database's folder {folder} does not exist: make it, or name another")


def instant(text: str | None) -> datetime | None:
    """An ISO date or time, UTC where it names no zone; None for None. Or exit 2."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise fail(f"{text!r} is no ISO date; write 2026-11-01") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)

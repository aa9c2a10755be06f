"""A copy of a SQLite ledger as of one moment, taken while gateways write it.

The copy is one read transaction: writers go on, readers of the copy see one instant. What
stood only in a journal at that moment is not in it: milliseconds of settlements, unless the
database was locked or full. A gateway that starts on the copy numbers its journals on, so
nothing of what follows is skipped.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from billing.errors import LedgerMissing, LedgerUnavailable
from billing.schema import database_path

BODIES = "bodies"
"""What the name of the file of kept bodies ends with: prompts and answers."""
_PAGES = 200
_HEAD = b"SQLite format 3\x00"

Told = Callable[[Path, int, int], None]
"""Called with the file, the pages copied and all of them."""


def backup(url: str, folder: Path, told: Told, *, bodies: bool = False) -> list[Path]:
    """The ledger and the stores beside it are copied into ``folder``; the copies.

    Args:
        folder: made where missing; nothing in it is overwritten.
        bodies: kept requests and answers, too.

    Raises:
        LedgerMissing, LedgerUnavailable: no ledger; a file that is there already; a disk that
            is full. What was copied of a file that failed is removed.
    """
    database = database_path(url)
    if not database.exists():
        raise LedgerMissing(database.absolute())
    found = [
        database,
        *(path for path in beside(database) if bodies or path.suffix != f".{BODIES}"),
    ]
    targets = [folder / path.name for path in found]
    for target in targets:
        if target.exists():
            raise LedgerUnavailable(f"{target} exists already: name an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    for source, target in zip(found, targets, strict=True):
        try:
            _copy(source, target, told)
        except (OSError, sqlite3.Error) as error:
            target.unlink(missing_ok=True)
            raise LedgerUnavailable(f"cannot copy {source} to {target}: {error}") from error
    return targets


def beside(database: Path) -> Iterator[Path]:
    """The SQLite files that belong to a ledger: its name and one more ending."""
    for path in sorted(database.parent.glob(f"{database.name}.*")):
        if path.is_file():
            with path.open("rb") as file:
                if file.read(len(_HEAD)) == _HEAD:
                    yield path


def _copy(source: Path, target: Path, told: Told) -> None:
    target.touch(mode=0o600)
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as read,
        closing(sqlite3.connect(target)) as written,
    ):
        read.isolation_level = None
        read.execute("BEGIN")
        read.execute("SELECT count(*) FROM sqlite_master").fetchone()  # pins the moment
        read.backup(
            written, pages=_PAGES, progress=lambda _, left, all_: told(source, all_ - left, all_)
        )
        (said,) = written.execute("PRAGMA quick_check").fetchone()
        if said != "ok":
            raise sqlite3.DatabaseError(f"the copy is damaged: {said}")

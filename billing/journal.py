"""The hot half of the ledger: an append-only file, written before anything is sent.

A record is one line: eight hex digits of CRC-32, a space, JSON. ``append`` returns once the
operating system has the bytes, so a killed process loses nothing that was acknowledged. A
last line without its newline or with a wrong CRC was never acknowledged and is ignored; a
wrong line in the middle is damage, kept aside and reported, never skipped in silence.

Files are ``<database>.journal.<number>``, one open at a time. What an older one holds is in
the database before it is deleted.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from billing.errors import LedgerUnavailable
from billing.record import record

_HEAD = 9
_PROBE = b" " * 8192  # without a newline, so never read as a record


@record(frozen=True, slots=True)
class Position:
    """Everything before byte ``offset`` of file ``number``, and all earlier files."""

    number: int
    offset: int


@record(frozen=True, slots=True)
class Record:
    """One record read back, and the position after it."""

    body: dict[str, Any]
    after: Position


@record(frozen=True, slots=True)
class Damage:
    """A line in the middle of a file that cannot be trusted."""

    path: Path
    offset: int


def frame(body: bytes) -> bytes:
    """A record's bytes in the file."""
    return b"%08x %b\n" % (zlib.crc32(body), body)


def journal_path(database: Path, number: int) -> Path:
    """Where the journal file of this number lies."""
    return database.with_name(f"{database.name}.journal.{number}")


def journal_files(database: Path) -> list[tuple[int, Path]]:
    """All journal files of a database, oldest first."""
    prefix = f"{database.name}.journal."
    found = []
    for path in database.parent.glob(f"{prefix}*"):
        suffix = path.name.removeprefix(prefix)
        if suffix.isdigit():
            found.append((int(suffix), path))
    return sorted(found)


class Journal:
    """The open journal file. One writer at a time: the caller holds a lock."""

    def __init__(self, database: Path, number: int) -> None:
        self._database = database
        self.number = number
        self.path = journal_path(database, number)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            self._file = os.open(self.path, flags, 0o600)
            self._size = os.fstat(self._file).st_size
        except OSError as error:
            raise LedgerUnavailable(f"cannot open the journal {self.path}: {error}") from error

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._size

    def append(self, body: bytes) -> Position:
        """The record is with the operating system; the position after it.

        Raises:
            LedgerUnavailable: disk full or broken; the file is as it was before.
        """
        line = frame(body)
        try:
            written = os.write(self._file, line)
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError as error:
            self._undo()
            raise LedgerUnavailable(f"cannot write the journal {self.path}: {error}") from error
        self._size += len(line)
        return Position(self.number, self._size)

    def probe(self) -> None:
        """A record would be taken; the file is as it was. Raises LedgerUnavailable."""
        try:
            if os.write(self._file, _PROBE) < len(_PROBE):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise LedgerUnavailable(f"cannot write the journal {self.path}: {error}") from error
        finally:
            self._undo()

    def sync(self) -> None:
        """Everything appended is on the disk. Raises LedgerUnavailable."""
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise LedgerUnavailable(f"cannot sync the journal {self.path}: {error}") from error

    def close(self) -> None:
        """The file is closed; it stays where it is."""
        os.close(self._file)

    def _undo(self) -> None:
        """Cut off what a failed append left behind."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError as error:
            raise LedgerUnavailable(
                f"the journal {self.path} has an incomplete record that cannot be cut off: {error}"
            ) from error


def read(database: Path, start: Position) -> Iterator[Record | Damage]:
    """Every record after a position, oldest first, and every damaged line.

    Raises:
        LedgerUnavailable: a file cannot be read.
    """
    for number, path in journal_files(database):
        if number < start.number:
            continue
        begin = start.offset if number == start.number else 0
        yield from _read_file(number, path, begin)


def _read_file(number: int, path: Path, begin: int) -> Iterator[Record | Damage]:
    try:
        with path.open("rb") as file:
            file.seek(begin)
            offset = begin
            for line in file:
                body = _unframe(line)
                after = offset + len(line)
                if body is not None:
                    yield Record(body, Position(number, after))
                elif line.endswith(b"\n"):
                    yield Damage(path, offset)
                offset = after
    except OSError as error:
        raise LedgerUnavailable(f"cannot read the journal {path}: {error}") from error


def _unframe(line: bytes) -> dict[str, Any] | None:
    """A record's JSON, or None where the line is not whole."""
    body = line[_HEAD:-1]
    if not line.endswith(b"\n") or line[:_HEAD] != b"%08x " % zlib.crc32(body):
        return None
    value = orjson.loads(body)
    return value if isinstance(value, dict) else None

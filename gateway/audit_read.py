"""Log files as batches of records, read as a stream: never more than one batch in memory.

JSON lines are passed on as they are; records of a JSON array are cut out of the text, those
of a CSV file written as JSON. A record that cannot be told apart is listed with its line.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, cast

import orjson

BATCH_RECORDS = 500
BATCH_BYTES = 4 << 20
_BLOCK = 4 << 20
_LONGEST_RECORD = 256 << 20
_WRAPPED = re.compile(r'^\s*\{\s*"(?:data|observations|requests|logs|results|items)"\s*:\s*\[')
_HEAD_CHARS = 4_096


@dataclass(frozen=True, slots=True)
class Batch:
    """Some records of one file: (line, JSON bytes); ``read_bytes`` of the file lie before its end.

    ``bad``: (line, why) of what could not be told apart.
    """

    log: str
    records: tuple[tuple[int, bytes], ...]
    read_bytes: int
    bad: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """One record or, where ``why`` is set, the place where there should be one."""

    line: int
    raw: bytes
    why: str = ""


def size(path: Path) -> int:
    """Bytes of a file as it lies on disk."""
    return path.stat().st_size


def batches(path: Path, name: str) -> Iterator[Batch]:
    """A file's records in batches, in order.

    Raises:
        OSError: it cannot be read.
    """
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        packed = path.suffix == ".gz"
        whole = stack.enter_context(gzip.GzipFile(fileobj=file)) if packed else file
        pieces = _pieces(cast("IO[bytes]", whole), path)
        done = False
        while not done:
            records, bad, room = [], [], BATCH_BYTES
            for piece in islice(pieces, BATCH_RECORDS):
                if piece.why:
                    bad.append((piece.line, piece.why))
                else:
                    records.append((piece.line, piece.raw))
                    room -= len(piece.raw)
                if room < 0:
                    break
            done = not records and not bad
            if not done:
                yield Batch(name, tuple(records), file.tell(), tuple(bad))


def _pieces(file: IO[bytes], path: Path) -> Iterator[Piece]:
    if ".csv" in path.suffixes:
        return _csv(file)
    start = file.read(_HEAD_CHARS)
    head = start.decode("utf-8-sig", "replace")
    rest = _after(start.removeprefix(b"\xef\xbb\xbf"), file)
    if head.lstrip()[:1] == "[" or _WRAPPED.match(head):
        return _array(rest)
    if path.suffix == ".json" and "\n{" not in head and _first_line_is_open(head):
        return _objects(rest)
    return _lines(rest)


def _first_line_is_open(head: str) -> bool:
    """Whether the first line is no JSON by itself: one object spread over many lines."""
    line = head.split("\n", 1)[0]
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return "\n" in head
    return False


def _after(start: bytes, file: IO[bytes]) -> Iterator[bytes]:
    """What was read already, then the rest in blocks."""
    yield start
    while block := file.read(_BLOCK):
        yield block


def _lines(blocks: Iterable[bytes]) -> Iterator[Piece]:
    """One record a line; empty lines are none."""
    number, tail = 0, b""
    for block in blocks:
        lines = (tail + block).split(b"\n")
        tail = lines.pop()
        for line in lines:
            number += 1
            if line.strip():
                yield Piece(number, line)
        if len(tail) > _LONGEST_RECORD:
            yield Piece(number + 1, b"", "a line of more than 256 MB; the rest is not read")
            return
    if tail.strip():
        yield Piece(number + 1, tail)


def _csv(file: IO[bytes]) -> Iterator[Piece]:
    """One record a row, its columns as text."""
    csv.field_size_limit(_LONGEST_RECORD)
    text = io.TextIOWrapper(file, "utf-8-sig", "replace", newline="")
    try:
        yield from _rows(csv.DictReader(text))
    finally:
        text.detach()  # else it closes the file, whose place is still asked for


def _rows(rows: csv.DictReader[str]) -> Iterator[Piece]:
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield Piece(rows.line_num, b"", f"not CSV: {error}")
            continue
        if None in row:
            yield Piece(rows.line_num, b"", "more columns than the header names")
            continue
        yield Piece(rows.line_num, orjson.dumps({k: v for k, v in row.items() if v}))


def _objects(blocks: Iterable[bytes]) -> Iterator[Piece]:
    """Objects that stand one after another, each over as many lines as it likes."""
    return _cut(_text(blocks), "")


def _array(blocks: Iterable[bytes]) -> Iterator[Piece]:
    """The objects of the one array of a file (``[...]`` or ``{"data": [...]}``)."""
    text = _text(blocks)
    head = ""
    for block in text:
        head += block
        if "[" in head:
            break
    opening = head.find("[") + 1
    return _cut(_chained(head[opening:], text), head[:opening])


def _chained(head: str, rest: Iterator[str]) -> Iterator[str]:
    yield head
    yield from rest


def _text(blocks: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for block in blocks:
        yield decoder.decode(block)


def _cut(text: Iterator[str], before: str) -> Iterator[Piece]:
    """Each JSON value of a text of values with commas or blanks between; ``]`` ends it."""
    decoder = json.JSONDecoder()
    line, buffer, at, ended = 1 + before.count("\n"), "", 0, False
    while True:
        start = _skip(buffer, at)
        line += buffer.count("\n", at, start)
        at = start
        if at < len(buffer) and buffer[at] == "]":
            return
        if at < len(buffer):
            try:
                _, end = decoder.raw_decode(buffer, at)
                whole = ended or end < len(buffer)
            except ValueError:
                whole, end = False, at
            if whole:
                yield Piece(line, buffer[at:end].encode())
                line += buffer.count("\n", at, end)
                at = end
                continue
        if ended:
            if at < len(buffer):
                yield Piece(line, b"", "not JSON from here on; the rest is not read")
            return
        more = next(text, None)
        ended = more is None
        if len(buffer) - at > _LONGEST_RECORD:
            yield Piece(line, b"", "no JSON record within 256 MB; the rest is not read")
            return
        buffer, at = buffer[at:] + (more or ""), 0


def _skip(text: str, at: int) -> int:
    """The first place from ``at`` on that is neither blank nor a comma."""
    while at < len(text) and text[at] in " \t\r\n,":
        at += 1
    return at

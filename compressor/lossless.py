"""The same content in fewer tokens, reversibly: every form is decoded again and compared.

Forms: JSON without blanks; arrays of like objects as columns; log lines as templates with
their varying parts; repeated blocks as references. A form is used only if decoding it
gives back exactly what was there (for JSON the same value with the same key order) and it
really is shorter; else the original stays.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from compressor.checks import is_json
from compressor.json_tree import embedded
from compressor.tokens import TokenCounter

LEAST_ROWS = 3
LEAST_SAVED = 0.05
LEAST_LOG_LINES = 20
LEAST_BLOCK_LINES = 4
LEAST_BLOCK_CHARS = 160
KEYS, COLUMNS, ROWS = "$keys", "$columns", "$rows"
LOG_HEAD = "[log: each line is a template number and its values; templates:]"
LOG_BODY = "[lines:]"
REPEAT = re.compile(r"\[same as lines (\d+)-(\d+)\]\n?")

_VARYING = re.compile(r"0x[0-9a-fA-F]+|\d+(?:\.\d+)*|[0-9a-fA-F]{8,}")
_HOLE = "{}"


def squeeze(body: str, counter: TokenCounter) -> str | None:
    """``body`` in its shortest reversible form, or None when none is 5 % shorter.

    JSON with words around it (a code fence) is shortened where it stands; a comma before
    a closing bracket, which strict JSON forbids and says nothing, does not count.
    """
    inside = embedded(body)
    if inside is not None:
        short = squeeze(body[slice(*inside)], counter)
        return None if short is None else body[: inside[0]] + short + body[inside[1] :]
    mended = body if is_json(body) else _mended(body)
    if mended is not None:
        return _shortest(mended, (minify, columns), counter)
    return _shortest(body, (templates, blocks), counter)


def _mended(body: str) -> str | None:
    """JSON that only lacked to be strict about trailing commas, or None."""
    if body.lstrip()[:1] not in ("{", "["):
        return None
    mended = _TRAILING.sub(lambda found: found[1] or found[2], body)
    return mended if mended != body and is_json(mended) else None


_TRAILING = re.compile(r'("(?:[^"\\]|\\.)*")|,(\s*[\]}])')


def _shortest(
    body: str, forms: tuple[Callable[[str], str | None], ...], counter: TokenCounter
) -> str | None:
    found = [text for form in forms if (text := form(body)) is not None]
    if not found:
        return None
    whole, *sizes = counter.count_many([body, *found])
    size, text = min(zip(sizes, found, strict=True), key=lambda pair: pair[0])
    return text if size <= whole * (1 - LEAST_SAVED) else None


# JSON ------------------------------------------------------------------------------------


def minify(body: str) -> str | None:
    """JSON without blanks between its tokens; numbers and escapes as they were written."""
    value = _load(body)
    short = _BLANKS.sub(lambda found: found[1] or "", body)
    return short if value is not None and _equal(_load(short), value) else None


_BLANKS = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')


def columns(body: str) -> str | None:
    """Arrays of objects with the same keys as ``{"$columns": [...], "$rows": [[...]]}``."""
    value = _load(body)
    if value is None or _mentions(value):
        return None
    packed = _pack(value)
    text = json.dumps(packed, ensure_ascii=False, separators=(",", ":"), default=_number_text)
    text = _NUMBER.sub(lambda found: found[1], text)
    return text if _equal(unpack_columns(text), value) else None


def unpack_columns(text: str) -> Any:
    """The value that ``columns`` packed; numbers as their written text (``Literal``)."""
    return _unpack(_load(text))


class Literal(str):
    """A JSON number as it was written: 1.0, 1.00 and 1e0 are three of them."""

    __slots__ = ()


_NUMBER = re.compile(r'"\\u0000(-?[0-9][0-9.eE+\-]*)"')


def _load(text: str) -> Any:
    """The value with numbers kept as written; None when it is no JSON, or has a key twice."""
    try:
        return json.loads(
            text,
            parse_float=Literal,
            parse_int=Literal,
            parse_constant=Literal,
            object_pairs_hook=_unique,
        )
    except (ValueError, RecursionError):
        return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _number_text(value: object) -> str:
    raise TypeError(f"no JSON value: {value!r}")


# A specification names the columns of a row in order: a key; {key: [...]} for an object with
# columns of its own; {key: [[...]]} for a list of like objects, a row each.
Spec = list[Any]


def _pack(value: Any) -> Any:
    if isinstance(value, dict):
        spec = _spec(list(value.values())) if len(value) >= LEAST_ROWS else None
        if spec is not None:
            rows = [_row(inner, spec) for inner in value.values()]
            return {KEYS: list(value), COLUMNS: spec, ROWS: rows}
        return {key: _pack(inner) for key, inner in value.items()}
    if isinstance(value, list):
        spec = _spec(value) if len(value) >= LEAST_ROWS else None
        if spec is not None:
            return {COLUMNS: spec, ROWS: [_row(inner, spec) for inner in value]}
        return [_pack(inner) for inner in value]
    if isinstance(value, Literal):
        return "\x00" + value
    return value


def _spec(rows: list[Any]) -> Spec | None:
    """The columns that all rows share, objects within them opened; None when they differ."""
    if not rows or not all(isinstance(row, dict) and row for row in rows):
        return None
    keys = list(rows[0])
    if any(list(row) != keys for row in rows):
        return None
    return [_column(key, [row[key] for row in rows]) for key in keys]


def _column(key: str, values: list[Any]) -> Any:
    inner = _spec(values)
    if inner is not None:
        return {key: inner}
    if all(isinstance(value, list) for value in values):
        items = [item for value in values for item in value]
        inner = _spec(items) if len(items) >= LEAST_ROWS else None
        if inner is not None:
            return {key: [inner]}
    return key


def _row(value: dict[str, Any], spec: Spec) -> list[Any]:
    out: list[Any] = []
    for column in spec:
        if isinstance(column, str):
            out.append(_pack(value[column]))
            continue
        ((key, inner),) = column.items()
        if _is_list(inner):
            out.append([_row(item, inner[0]) for item in value[key]])
        else:
            out.append(_row(value[key], inner))
    return out


def _is_list(spec: Spec) -> bool:
    return len(spec) == 1 and isinstance(spec[0], list)


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        if list(value) == [COLUMNS, ROWS]:
            return [_unrow(row, value[COLUMNS]) for row in value[ROWS]]
        if list(value) == [KEYS, COLUMNS, ROWS]:
            rows = [_unrow(row, value[COLUMNS]) for row in value[ROWS]]
            return dict(zip(value[KEYS], rows, strict=True))
        return {key: _unpack(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_unpack(inner) for inner in value]
    return value


def _unrow(row: list[Any], spec: Spec) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for column, value in zip(spec, row, strict=True):
        if isinstance(column, str):
            out[column] = _unpack(value)
            continue
        ((key, inner),) = column.items()
        if _is_list(inner):
            out[key] = [_unrow(item, inner[0]) for item in value]
        else:
            out[key] = _unrow(value, inner)
    return out


def _mentions(value: Any) -> bool:
    """True when the value uses our own keys or a NUL, which would be misread."""
    if isinstance(value, dict):
        return (
            COLUMNS in value or KEYS in value or any(_mentions(inner) for inner in value.values())
        )
    if isinstance(value, list):
        return any(_mentions(inner) for inner in value)
    return isinstance(value, str) and "\x00" in value


def _equal(one: Any, other: Any) -> bool:
    """Equality that tells a number from a string and minds the order of keys."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


# Logs ------------------------------------------------------------------------------------


def templates(body: str) -> str | None:
    """Log lines that differ only in numbers as a template number and those numbers."""
    lines = body.split("\n")
    if len(lines) < LEAST_LOG_LINES or LOG_HEAD in body or LOG_BODY in body:
        return None
    shapes = [_VARYING.sub(_HOLE, line) if _HOLE not in line else None for line in lines]
    often = Counter(shape for shape in shapes if shape)
    used = [shape for shape, times in often.most_common(99) if times >= LEAST_ROWS]
    used = [shape for shape in used if len(shape) > 12]
    if not used:
        return None
    numbers = {shape: number for number, shape in enumerate(used)}
    out = [LOG_HEAD, *(f"{number}={shape}" for shape, number in numbers.items()), LOG_BODY]
    for line, shape in zip(lines, shapes, strict=True):
        if shape in numbers:
            out.append(" ".join((f"{numbers[shape]}:", *_VARYING.findall(line))))
        else:
            out.append("=" + line)
    text = "\n".join(out)
    return text if unpack_templates(text) == body else None


def unpack_templates(text: str) -> str | None:
    """The log that ``templates`` packed; None when ``text`` is not of that form."""
    head, separator, body = text.partition("\n" + LOG_BODY + "\n")
    first, *listed = head.split("\n")
    if not separator or first != LOG_HEAD:
        return None
    shapes = [line.partition("=")[2] for line in listed]
    lines = []
    for line in body.split("\n"):
        if line.startswith("="):
            lines.append(line[1:])
            continue
        number, _, values = line.partition(":")
        if not number.isdigit() or int(number) >= len(shapes):
            return None
        pieces = shapes[int(number)].split(_HOLE)
        filled = values.split()
        if len(filled) != len(pieces) - 1:
            return None
        lines.append("".join(a + b for a, b in zip(pieces, [*filled, ""], strict=True)))
    return "\n".join(lines)


# Repeated blocks ---------------------------------------------------------------------------


def blocks(body: str) -> str | None:
    """Runs of lines that stood there before as ``[same as lines 12-40]``.

    Line numbers are those of the original, so a reader finds the first occurrence by
    counting what is meant, not what is shown.
    """
    lines = body.splitlines(keepends=True)
    if len(lines) < 2 * LEAST_BLOCK_LINES or REPEAT.search(body):
        return None
    starts: dict[tuple[str, ...], int] = {}
    out: list[str] = []
    at = 0
    while at < len(lines):
        window = tuple(lines[at : at + LEAST_BLOCK_LINES])
        before = starts.get(window)
        run = _run(lines, before, at) if before is not None else 0
        if before is not None and sum(map(len, lines[at : at + run])) >= LEAST_BLOCK_CHARS:
            out.append(f"[same as lines {before + 1}-{before + run}]\n")
        else:
            run = 1
            out.append(lines[at])
        for step in range(at, at + run):
            starts.setdefault(tuple(lines[step : step + LEAST_BLOCK_LINES]), step)
        at += run
    text = "".join(out)
    return text if unpack_blocks(text) == body else None


def unpack_blocks(text: str) -> str:
    """The text that ``blocks`` packed."""
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        found = REPEAT.fullmatch(line)
        if found:
            lines.extend(lines[int(found[1]) - 1 : int(found[2])])
        else:
            lines.append(line)
    return "".join(lines)


def _run(lines: list[str], before: int, at: int) -> int:
    """How many lines from ``at`` repeat those from ``before``, without reaching ``at``."""
    run = 0
    while at + run < len(lines) and before + run < at and lines[before + run] == lines[at + run]:
        run += 1
    return run if run >= LEAST_BLOCK_LINES else 0

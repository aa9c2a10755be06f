"""What comes too late for its month: posted into the first open one, with a note.

A request that was held in a month and settles after that month was closed still costs what
it costs. It is posted at the first instant that is open; its receipt keeps its own time and
says so among its reasons.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from billing.store_rows import ATTEMPT_COLUMNS, LINE_COLUMNS, RECEIPT_COLUMNS, Group

_POSTED = RECEIPT_COLUMNS.index("posted_ms")
_BODY = RECEIPT_COLUMNS.index("body")
_LINE_POSTED = LINE_COLUMNS.index("posted_ms")
_ATTEMPT_POSTED = ATTEMPT_COLUMNS.index("posted_ms")
CLOSED_UNTIL = "SELECT COALESCE(MAX(until_ms), 0) FROM closings"


def in_open_month(group: Group, until_ms: int) -> Group:
    """The group with nothing posted before ``until_ms``, the end of the last closed month."""
    late = {str(row[0]) for row in group.receipts if row[_POSTED] < until_ms}
    if not late:
        return group
    return replace(
        group,
        receipts=[_moved(row, until_ms) if row[0] in late else row for row in group.receipts],
        lines=[_at(row, _LINE_POSTED, until_ms) if row[0] in late else row for row in group.lines],
        attempts=[
            _at(row, _ATTEMPT_POSTED, until_ms) if row[0] in late else row for row in group.attempts
        ],
    )


def _moved(row: tuple[Any, ...], until_ms: int) -> tuple[Any, ...]:
    fields = orjson.loads(row[_BODY])
    note = {"code": "late", "posted_ms": until_ms, "due_ms": row[_POSTED]}
    fields["reasons"] = [*fields["reasons"], note]
    return _at(_at(row, _POSTED, until_ms), _BODY, orjson.dumps(fields))


def _at(row: tuple[Any, ...], place: int, value: object) -> tuple[Any, ...]:
    return (*row[:place], value, *row[place + 1 :])

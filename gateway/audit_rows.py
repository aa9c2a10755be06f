"""rows.csv: one line a request, and the batch of records that a worker turns into some.

The file is the audit's one source: every sum of the report is a query over it. Money is
decimal USD, empty where it cannot be said. No text of a prompt is in it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field

from billing.money import usd
from billing.receipt import iso_ms
from gateway.audit_formats import parse
from gateway.audit_judge import Judge, Verdict
from gateway.audit_read import Batch
from gateway.audit_row import AuditRow, BadRecordError, label

COLUMNS = {
    "log": "VARCHAR",
    "line": "BIGINT",
    "id": "VARCHAR",
    "at": "VARCHAR",
    "team": "VARCHAR",
    "requested_model": "VARCHAR",
    "basis": "VARCHAR",
    "estimated": "BOOLEAN",
    "prompt_tokens": "BIGINT",
    "completion_tokens": "BIGINT",
    "cached_tokens": "BIGINT",
    "recorded_usd": "DECIMAL(18,9)",
    "as_was_usd": "DECIMAL(18,9)",
    "action": "VARCHAR",
    "model": "VARCHAR",
    "sent_tokens": "BIGINT",
    "policy_usd": "DECIMAL(18,9)",
    "saved_usd": "DECIMAL(18,9)",
    "bound_usd": "DECIMAL(18,9)",
    "reason": "VARCHAR",
    "refused": "VARCHAR",
    "unpriced": "VARCHAR",
}
_BAD_LISTED = 50


@dataclass(frozen=True, slots=True)
class Judged:
    """A batch, judged: its lines of rows.csv, how many, and what could not be read."""

    text: str
    rows: int
    read_bytes: int
    log: str
    bad: tuple[tuple[int, str], ...] = ()
    bad_count: int = 0
    others: int = 0


@dataclass(slots=True)
class _Tally:
    """What a batch has come to so far."""

    rows: int = 0
    others: int = 0
    bad: list[tuple[int, str]] = field(default_factory=list)


def header() -> str:
    """The first line of rows.csv."""
    return ",".join(COLUMNS) + "\r\n"


def judge_batch(judge: Judge, kind: str | None, batch: Batch) -> Judged:
    """Every record of a batch as a line; what cannot be judged is listed, never fatal."""
    out = io.StringIO()
    write = csv.writer(out).writerow
    tally = _Tally(bad=list(batch.bad))
    for line, raw in batch.records:
        _record(judge, kind, (batch.log, line, raw), tally, write)
    return Judged(
        text=out.getvalue(),
        rows=tally.rows,
        read_bytes=batch.read_bytes,
        log=batch.log,
        bad=tuple(tally.bad[:_BAD_LISTED]),
        bad_count=len(tally.bad),
        others=tally.others,
    )


def _record(
    judge: Judge,
    kind: str | None,
    place: tuple[str, int, bytes],
    tally: _Tally,
    write: Callable[[list[object]], object],
) -> None:
    log, line, raw = place
    try:
        row = parse(raw, kind)
        if row is None:
            tally.others += 1
            return
        verdict = judge.judge(row)
    except BadRecordError as error:
        tally.bad.append((line, str(error)))
        return
    except Exception as error:  # noqa: BLE001 - one strange record must not end an audit of a million
        # The type alone: a message might quote the prompt.
        tally.bad.append((line, f"cannot be judged ({type(error).__name__})"))
        return
    tally.rows += 1
    write(cells(log, line, row, verdict))


def cells(log: str, line: int, row: AuditRow, verdict: Verdict) -> list[object]:
    """One line of rows.csv, in the order of ``COLUMNS``."""
    return [
        log,
        line,
        row.id,
        iso_ms(row.at_ms) if row.at_ms is not None else "",
        row.team,
        label(verdict.requested),
        verdict.basis,
        "true" if verdict.estimated else "false",
        verdict.prompt_tokens,
        verdict.completion_tokens,
        verdict.cached_tokens,
        _money(row.recorded_nano),
        _money(verdict.as_was_nano),
        verdict.action,
        verdict.model,
        verdict.sent_tokens,
        _money(verdict.policy_nano),
        _money(_saved(verdict)),
        _money(verdict.bound_nano),
        verdict.reason,
        verdict.refused,
        label(verdict.unpriced),
    ]


def _saved(verdict: Verdict) -> int | None:
    """What the policy would have saved; negative where it costs more; None where unknown."""
    if verdict.as_was_nano is None or verdict.policy_nano is None:
        return None
    return verdict.as_was_nano - verdict.policy_nano


def _money(nano: int | None) -> str:
    return "" if nano is None else usd(nano)

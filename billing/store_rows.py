"""Postings on their way into the tables: groups of rows, whatever the database is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from billing.chain import link
from billing.counters import Spend, path_of
from billing.journal import Position
from billing.plain import plain
from billing.receipt import Attempt, Line, Receipt, metered
from billing.record import record

if TYPE_CHECKING:  # spend asks the shapes here
    from billing.spend import Look

_OWN = (
    "request_id", "at_ms", "team", "project", "key", "user", "session", "session_key", "task",
    "requested_model", "served_model", "tier", "upstream", "action", "arm", "status", "state",
    "usage_source", "original_prompt_tokens", "sent_prompt_tokens", "cached_tokens",
    "reasoning_tokens", "effective_tokens", "billed_tokens", "cost_nano", "gateway_cost_nano",
    "baseline_nano", "baseline_model", "waste_nano", "overhead_ms", "policy_hash",
    "prices_hash", "catalog_hash", "saved_trim_nano", "saved_model_nano", "saved_cache_nano",
    "saved_retries_nano",
)  # fmt: skip
RECEIPT_COLUMNS = (
    *_OWN, "prompt_tokens", "completion_tokens", "posted_ms", "hold_nano", "body", "seq", "chain",
    "writer",
)  # fmt: skip
LINE_COLUMNS = (
    "request_id", "attempt", "component", "revision", "posted_ms", "quantity", "rate",
    "amount_nano", "price_book", "rule", "reverses",
)  # fmt: skip
ATTEMPT_COLUMNS = (
    "request_id", "id", "posted_ms", "model", "upstream", "status", "outcome", "ttft_ms",
    "duration_ms", "provider_id", "usage",
)  # fmt: skip
HOLD_COLUMNS = ("request_id", "at_ms", "amount_nano", "team", "body", "writer")
_own = attrgetter(*_OWN)


@record(frozen=True, slots=True)
class OpenHold:
    """A hold as the database and the journal keep it; ``body`` its journal record."""

    request_id: str
    at_ms: int
    amount_nano: int
    team: str
    body: bytes


@dataclass(slots=True)
class Group:
    """Postings that are written together, up to a journal position."""

    position: Position | None = None
    receipts: list[tuple[Any, ...]] = field(default_factory=list)
    lines: list[tuple[object, ...]] = field(default_factory=list)
    attempts: list[tuple[object, ...]] = field(default_factory=list)
    opened: dict[str, OpenHold] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)

    def hold(self, held: OpenHold) -> None:
        """A hold is open, or its amount has changed."""
        self.opened[held.request_id] = held

    def close(self, request_id: str) -> None:
        """A hold is no longer open."""
        self.opened.pop(request_id, None)
        self.closed.add(request_id)

    def post(self, receipt: Receipt, posted_ms: int, hold_nano: int, body: bytes) -> None:
        """A receipt with its lines and attempts; its hold is closed."""
        self.close(receipt.request_id)
        prompt, completion = metered(receipt.lines)
        self.receipts.append((*_own(receipt), prompt, completion, posted_ms, hold_nano, body))
        request_id = receipt.request_id
        self.lines += [_line_row(line, request_id, posted_ms) for line in receipt.lines]
        self.attempts += [_attempt_row(one, request_id, posted_ms) for one in receipt.attempts]


class Tables(Protocol):
    """A ledger's tables as one ``writer`` sees them; "" where it is the only one."""

    writer: str

    def position(self) -> Position:
        """How far this writer's journal is in the tables."""

    def write(self, group: Group) -> None:
        """All of a group is in the database, or none of it. Raises LedgerUnavailable."""

    def roll_up(self, most: int) -> int:
        """The next receipts, at most so many, are in the roll-ups; how many are still not."""

    def clear_rollups(self) -> None:
        """There are no roll-ups; they can be made again."""

    def checkpoint(self) -> None:
        """Everything committed is on the disk, as far as readers allow."""

    def holds(self) -> list[OpenHold]:
        """This writer's holds that were open when its tables were last written."""

    def strays(self, before_ms: int, known: frozenset[str]) -> list[OpenHold]:
        """Holds older than an instant whose writer is none of ``known``."""

    def receipt(self, request_id: str) -> Receipt | None:
        """The receipt of a request, or None."""

    def posted(self, request_id: str) -> bool:
        """Whether a request has its receipt."""

    def receipts(
        self, team: str | None, session: str | None, task: str | None, limit: int
    ) -> list[Receipt]:
        """The newest receipts that match, newest first."""

    def spend_since(
        self, start_ms: int, bucket_ms: int, whose: Whose | None = None
    ) -> Iterable[Spend]:
        """Cost by key, user and bucket of time from an instant on."""

    def spends(self, look: Look, whose: Whose | None = None) -> list[Spend]:
        """Cost by key, user and time, as ``look`` needs it; of all, or some writers."""

    def latest_ms(self) -> int:
        """The newest posting's instant; 0 for an empty ledger."""

    def forget(self) -> None:
        """This writer is gone for good: nothing is left of it but its rows."""

    def identity(self, otherwise: str) -> str:
        """The name this ledger goes by; ``otherwise`` becomes it where it has none yet."""

    def close(self) -> None:
        """The connections are closed."""


@record(frozen=True, slots=True)
class Whose:
    """Which writers' rows: only ``only``, or all but those of ``without``."""

    only: str | None = None
    without: frozenset[str] = frozenset()

    def where(self, mark: str) -> tuple[str, list[str]]:
        """The same as a condition that begins with AND, and its values."""
        if self.only is not None:
            return f" AND writer = {mark}", [self.only]
        if self.without:
            marks = ", ".join([mark] * len(self.without))
            return f" AND writer NOT IN ({marks})", sorted(self.without)
        return "", []


def newest(
    labels: tuple[str | None, str | None, str | None], limit: int, mark: str
) -> tuple[str, list[object]]:
    """The newest receipts of a team, session and task, as a query and its values.

    None matches all; ``mark`` stands for a value in the database's own way.
    """
    names = ("team", "session", "task")
    wanted = [(n, v) for n, v in zip(names, labels, strict=True) if v is not None]
    where = " AND ".join(f"{name} = {mark}" for name, _ in wanted) or "1 = 1"
    query = (
        f"SELECT body FROM receipts WHERE {where} ORDER BY posted_ms DESC, "  # noqa: S608 - constant names
        f"request_id DESC LIMIT {mark}"
    )
    return query, [*(value for _, value in wanted), limit]


def spend_query(
    start_ms: int, bucket_ms: int, whose: Whose | None, mark: str
) -> tuple[str, list[str]]:
    """Cost by key, user and bucket of time from an instant on, for ``spends_of``."""
    where, writers = (whose or Whose()).where(mark)
    start, bucket = int(start_ms), int(bucket_ms)
    first = f"CASE WHEN MIN(posted_ms) < {start} THEN {start} ELSE MIN(posted_ms) END"
    query = (
        f'SELECT team, project, "key", "user", posted_ms / {bucket} AS bucket, '  # noqa: S608 - numbers and marks
        f"{first}, SUM(cost_nano) FROM receipts WHERE posted_ms >= {start}{where} "
        'GROUP BY team, project, "key", "user", bucket'
    )
    return query, writers


def spends_of(rows: Iterable[tuple[Any, ...]]) -> Iterator[Spend]:
    """What the rows of ``spend_query`` say."""
    for team, project, key, user, _, at_ms, amount in rows:
        yield Spend(path_of(team, project, key), user, at_ms, int(amount))


@record(frozen=True, slots=True)
class Linked:
    """What of a group is new, with its place in the chain; ``head`` is the chain's new end."""

    head: tuple[int, bytes]
    receipts: list[tuple[Any, ...]]
    lines: Sequence[tuple[object, ...]]
    attempts: Sequence[tuple[object, ...]]


def linked(group: Group, head: tuple[int, bytes], known: set[str], writer: str) -> Linked:
    """A group without what ``known`` requests have posted already, chained to ``head``."""
    seq, end = head
    seen = set(known)
    rows = []
    for row in group.receipts:
        if row[0] not in seen:
            seen.add(row[0])
            seq, end = seq + 1, link(end, *row[-3:])
            rows.append((*row, seq, end, writer))
    lines, attempts = group.lines, group.attempts
    if known:
        lines = [row for row in lines if row[0] not in known]
        attempts = [row for row in attempts if row[0] not in known]
    return Linked((seq, end), rows, lines, attempts)


def _line_row(line: Line, request_id: str, posted_ms: int) -> tuple[object, ...]:
    return (
        request_id,
        line.attempt,
        line.component,
        0,
        posted_ms,
        line.quantity,
        line.rate,
        line.amount_nano,
        line.price_book,
        line.rule,
        None,
    )


def _attempt_row(attempt: Attempt, request_id: str, posted_ms: int) -> tuple[object, ...]:
    return (
        request_id,
        attempt.id,
        posted_ms,
        attempt.model,
        attempt.upstream,
        attempt.status,
        attempt.outcome,
        attempt.ttft_ms,
        attempt.duration_ms,
        attempt.provider_id,
        None if attempt.usage is None else orjson.dumps(attempt.usage, default=plain),
    )


def hold_row(held: OpenHold, writer: str) -> tuple[object, ...]:
    """A hold's columns."""
    return (held.request_id, held.at_ms, held.amount_nano, held.team, held.body, writer)

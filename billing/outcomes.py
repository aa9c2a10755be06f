"""What became of a task: accepted or rejected, told by the client, kept for good.

Append-only: of several outcomes of one task the last one holds, the others are its history.
A task is what requests name in ``x-weir-task``; a request without one belongs to the task
that its session names, so a client that only has sessions can close those. Pure: the rows
are in ``outcome_rows``.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

ACCEPTED, REJECTED = "accepted", "rejected"
MAX_NAME = 256


class OutcomeInvalid(ValueError):
    """An outcome that says nothing usable; ``field`` is what is wrong with it."""

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        super().__init__(problem)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One outcome as posted; ``value`` is what it was worth to the client, decimal text."""

    team: str
    task: str
    outcome: str
    value: str | None
    key: str
    at_ms: int


def outcome_of(body: object, team: str, key: str, at_ms: int) -> Outcome:
    """An outcome from a client's JSON ``{task, outcome, value?}``.

    Raises:
        OutcomeInvalid: naming the field.
    """
    if not isinstance(body, dict):
        raise OutcomeInvalid("", "send a JSON object with `task` and `outcome`")
    unknown = sorted(set(body) - {"task", "outcome", "value"})
    if unknown:
        raise OutcomeInvalid(str(unknown[0])[:64], "unknown field; known: task, outcome, value")
    task, outcome = body.get("task"), body.get("outcome")
    if not isinstance(task, str) or not 0 < len(task) <= MAX_NAME or not _printable(task):
        raise OutcomeInvalid("task", f"`task` must be a text of 1 to {MAX_NAME} characters")
    if outcome not in (ACCEPTED, REJECTED):
        raise OutcomeInvalid("outcome", "`outcome` must be `accepted` or `rejected`")
    return Outcome(team, task, str(outcome), _value(body.get("value")), key, at_ms)


def _value(value: object) -> str | None:
    """Decimal text of a number, exact as written."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise OutcomeInvalid("value", "`value` must be a number, or decimal text")
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise OutcomeInvalid("value", "`value` must be a number, or decimal text") from None
    if not number.is_finite() or len(number.as_tuple().digits) > 30 or abs(number.adjusted()) > 18:
        raise OutcomeInvalid("value", "`value` must be finite and of at most 30 digits")
    return f"{number:f}"


def _printable(text: str) -> bool:
    """Whether a database can hold it: no half surrogate pair, no NUL."""
    try:
        return "\x00" not in text and bool(text.encode())
    except UnicodeEncodeError:
        return False

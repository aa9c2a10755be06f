"""The tables of finance: storage shape only, all append-only.

Money is integer nano-USD, times UTC epoch milliseconds, days ISO dates in UTC.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Index, LargeBinary
from sqlmodel import Field, SQLModel


def _big() -> Column[int]:
    return Column(BigInteger, nullable=False)


class OutcomeRow(SQLModel, table=True):
    """What became of a task; of several rows for one task the last one holds.

    ``outcome`` is accepted or rejected, ``value`` decimal text as the client sent it.
    """

    __tablename__ = "outcomes"
    __table_args__ = (Index("ix_outcomes_team_task", "team", "task"),)

    seq: int | None = Field(default=None, primary_key=True)
    at_ms: int = Field(sa_column=_big())
    team: str
    task: str
    outcome: str
    value: str | None
    key: str


class ReconciliationRow(SQLModel, table=True):
    """One account and UTC day held against the provider's word, and what was booked for it.

    ``ours_nano`` includes what was booked earlier; ``theirs = ours + booked``. ``source`` is
    the SHA-256 of the provider's file, ``reasons`` the explained delta as JSON.
    """

    __tablename__ = "reconciliations"
    __table_args__ = (Index("ix_reconciliations_account_day", "account", "day"),)

    seq: int | None = Field(default=None, primary_key=True)
    at_ms: int = Field(sa_column=_big())
    account: str
    day: str
    source: str
    theirs_nano: int = Field(sa_column=_big())
    ours_nano: int = Field(sa_column=_big())
    booked_nano: int = Field(sa_column=_big())
    reasons: str


class CorrectionRow(SQLModel, table=True):
    """A signed amount beside the receipts: ``reversal`` takes back, ``correction`` sets right.

    ``posted_ms`` is the instant it counts in (never in a closed month), ``at_ms`` when it was
    booked, ``day`` the day it is about. Without a team it is unallocated.
    """

    __tablename__ = "corrections"
    __table_args__ = (Index("ix_corrections_posted_ms", "posted_ms"),)

    seq: int | None = Field(default=None, primary_key=True)
    reconciliation: int
    posted_ms: int = Field(sa_column=_big())
    at_ms: int = Field(sa_column=_big())
    account: str
    day: str
    kind: str
    request_id: str | None
    team: str | None
    project: str | None
    key: str | None
    model: str | None
    amount_nano: int = Field(sa_column=_big())
    reason: str
    note: str | None


class ClosingRow(SQLModel, table=True):
    """A closed month: nothing may be posted before ``until_ms`` any more.

    The figures and ``digest`` are of everything posted in ``[from_ms, until_ms)``;
    ``head_seq`` is the receipt the ledger ended with when it was closed.
    """

    __tablename__ = "closings"
    __table_args__ = (Index("ix_closings_month", "month", unique=True),)

    seq: int | None = Field(default=None, primary_key=True)
    month: str
    from_ms: int = Field(sa_column=_big())
    until_ms: int = Field(sa_column=_big())
    closed_ms: int = Field(sa_column=_big())
    requests: int = Field(sa_column=_big())
    cost_nano: int = Field(sa_column=_big())
    corrected_nano: int = Field(sa_column=_big())
    head_seq: int = Field(sa_column=_big())
    digest: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


OUTCOMES: Any = OutcomeRow.__table__  # type: ignore[attr-defined]  # made by SQLModel's metaclass
RECONCILIATIONS: Any = ReconciliationRow.__table__  # type: ignore[attr-defined]  # as above
CORRECTIONS: Any = CorrectionRow.__table__  # type: ignore[attr-defined]  # as above
CLOSINGS: Any = ClosingRow.__table__  # type: ignore[attr-defined]  # as above

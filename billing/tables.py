"""The ledger's tables: storage shape only.

Money is integer nano-USD, times UTC epoch milliseconds. ``receipts``, ``lines`` and
``attempts`` are append-only (the database itself refuses an update or a delete); a
correction is a further line with the next ``revision`` that names what it ``reverses``.
The hot path writes these through the driver; the columns there are checked against these.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, text
from sqlmodel import Field, SQLModel


def _big(*, nullable: bool = False, index: bool = False) -> Column[int]:
    return Column(BigInteger, nullable=nullable, index=index)


def _number() -> Column[int]:
    """A key that counts from 1; SQLite knows it as the row's own number."""
    kind = BigInteger().with_variant(Integer, "sqlite")
    return Column(kind, primary_key=True, autoincrement=False)


def _sparse(name: str, where: str, *columns: str) -> Index:
    """An index over the rows that have a value."""
    some = text(where)
    return Index(f"ix_receipts_{name}", *columns, sqlite_where=some, postgresql_where=some)


class ReceiptRow(SQLModel, table=True):
    """One request. ``body`` is the whole receipt as JSON; the columns are for queries.

    ``seq`` counts postings from 1; ``chain`` is the SHA-256 of the one before and of this
    (``chain.link``), so that no row can be changed or taken out unseen.
    ``writer`` is the process that posted it where several share a ledger, else "".
    ``posted_ms`` is the instant whose budget windows the cost counts in; ``prompt_tokens``
    and ``completion_tokens`` are what was metered over all attempts.
    """

    __tablename__ = "receipts"
    __table_args__ = (
        Index("ix_receipts_team_posted", "team", "posted_ms"),
        _sparse("session", "session IS NOT NULL", "session"),
        _sparse("task", "task IS NOT NULL", "task"),
        _sparse("writer", "writer <> ''", "writer", "posted_ms"),
    )

    seq: int = Field(sa_column=_number())
    request_id: str = Field(unique=True, index=True)
    posted_ms: int = Field(sa_column=_big(index=True))
    at_ms: int = Field(sa_column=_big())
    team: str
    project: str | None
    key: str
    user: str | None
    session: str | None
    session_key: str | None
    task: str | None
    requested_model: str
    served_model: str
    tier: str
    upstream: str
    action: str
    arm: str
    status: int
    state: str
    usage_source: str
    original_prompt_tokens: int = Field(sa_column=_big())
    sent_prompt_tokens: int = Field(sa_column=_big())
    prompt_tokens: int = Field(sa_column=_big())
    completion_tokens: int = Field(sa_column=_big())
    cached_tokens: int = Field(sa_column=_big())
    reasoning_tokens: int = Field(sa_column=_big())
    effective_tokens: int = Field(sa_column=_big())
    billed_tokens: int = Field(sa_column=_big())
    cost_nano: int = Field(sa_column=_big())
    gateway_cost_nano: int = Field(sa_column=_big())
    baseline_nano: int | None = Field(sa_column=_big(nullable=True))
    baseline_model: str
    waste_nano: int = Field(sa_column=_big())
    hold_nano: int = Field(sa_column=_big())
    overhead_ms: float
    policy_hash: str
    prices_hash: str
    catalog_hash: str
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    chain: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    writer: str = Field(default="", sa_column_kwargs={"server_default": ""})
    saved_trim_nano: int | None = Field(sa_column=_big(nullable=True))
    saved_model_nano: int | None = Field(sa_column=_big(nullable=True))
    saved_cache_nano: int | None = Field(sa_column=_big(nullable=True))
    saved_retries_nano: int | None = Field(sa_column=_big(nullable=True))


class LineRow(SQLModel, table=True):
    """One priced component of one attempt."""

    __tablename__ = "lines"
    __table_args__ = {"sqlite_with_rowid": False}

    request_id: str = Field(primary_key=True)
    attempt: str = Field(primary_key=True)
    component: str = Field(primary_key=True)
    revision: int = Field(primary_key=True, default=0)
    posted_ms: int = Field(sa_column=_big())
    quantity: int = Field(sa_column=_big())
    rate: str
    amount_nano: int = Field(sa_column=_big())
    price_book: str
    rule: str
    reverses: int | None


class AttemptRow(SQLModel, table=True):
    """One call to a provider; ``usage`` is the provider's own report as JSON."""

    __tablename__ = "attempts"
    __table_args__ = {"sqlite_with_rowid": False}

    request_id: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    posted_ms: int = Field(sa_column=_big())
    model: str
    upstream: str
    status: int
    outcome: str
    ttft_ms: float | None
    duration_ms: float
    provider_id: str | None
    usage: bytes | None = Field(sa_column=Column(LargeBinary, nullable=True))


class HoldRow(SQLModel, table=True):
    """A hold that was open when its ``writer`` last wrote; ``body`` is its journal record."""

    __tablename__ = "holds"

    request_id: str = Field(primary_key=True)
    at_ms: int = Field(sa_column=_big())
    amount_nano: int = Field(sa_column=_big())
    team: str
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    writer: str = Field(default="", sa_column_kwargs={"server_default": ""})


class PositionRow(SQLModel, table=True):
    """How far the journal of a ``writer`` is in the tables."""

    __tablename__ = "positions"

    writer: str = Field(primary_key=True)
    number: int = Field(sa_column=_big())
    offset: int = Field(sa_column=_big())


class FactRow(SQLModel, table=True):
    """What is true of the whole ledger, such as the name it goes by between processes."""

    __tablename__ = "facts"

    name: str = Field(primary_key=True)
    value: str


class GrantRow(SQLModel, table=True):
    """A time-boxed raise of one budget: who, how much, until when."""

    __tablename__ = "grants"

    id: str = Field(primary_key=True)
    node: str
    budget: str
    amount_nano: int = Field(sa_column=_big())
    from_ms: int = Field(sa_column=_big())
    until_ms: int = Field(sa_column=_big())
    granted_by: str
    reason: str


class ReplyRow(SQLModel, table=True):
    """The first result of an idempotency key; ``sealed`` opens with the client's own secret.

    ``owner`` is the hash of the virtual key, ``process`` who works on it; ``status`` is null
    while it does. Not a posting: rows go when they expire.
    """

    __tablename__ = "replies"
    __table_args__ = (Index("ix_replies_expires_ms", "expires_ms"),)

    owner: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    body_hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    request_id: str
    process: str
    at_ms: int = Field(sa_column=_big())
    expires_ms: int = Field(sa_column=_big())
    status: int | None
    sealed: bytes | None = Field(sa_column=Column(LargeBinary, nullable=True))


class NoticeRow(SQLModel, table=True):
    """A message that was sent: one rung in one window, told once by whichever process."""

    __tablename__ = "notices"

    name: str = Field(primary_key=True)
    at_ms: int = Field(sa_column=_big())

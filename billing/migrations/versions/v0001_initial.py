"""The first schema: receipts, lines, attempts, holds, journal position, grants."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("receipts", "lines", "attempts", "grants")
TYPES: dict[str, Any] = {
    "text": sa.String,
    "int": sa.Integer,
    "big": sa.BigInteger,
    "count": lambda: sa.BigInteger().with_variant(sa.Integer, "sqlite"),
    "real": sa.Float,
    "blob": sa.LargeBinary,
}
RECEIPTS = """
    seq count,
    request_id text, posted_ms big, at_ms big, team text, project text?, key text, user text?,
    session text?, session_key text?, task text?, requested_model text, served_model text,
    tier text, upstream text, action text, arm text, status int, state text, usage_source text,
    original_prompt_tokens big, sent_prompt_tokens big, prompt_tokens big,
    completion_tokens big, cached_tokens big, reasoning_tokens big, effective_tokens big,
    billed_tokens big, cost_nano big, gateway_cost_nano big, baseline_nano big?,
    baseline_model text, waste_nano big, hold_nano big, overhead_ms real, policy_hash text,
    prices_hash text, catalog_hash text, body blob, chain blob
"""
LINES = """
    request_id text, attempt text, component text, revision int, posted_ms big, quantity big,
    rate text, amount_nano big, price_book text, rule text, reverses int?
"""
ATTEMPTS = """
    request_id text, id text, posted_ms big, model text, upstream text, status int,
    outcome text, ttft_ms real?, duration_ms real, provider_id text?, usage blob?
"""
HOLDS = "request_id text, at_ms big, amount_nano big, team text, body blob"
GRANTS = """
    id text, node text, budget text, amount_nano big, from_ms big, until_ms big,
    granted_by text, reason text
"""
REFUSE = """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$
"""
INDEXES = {
    "ix_receipts_posted_ms": ("receipts", ["posted_ms"]),
    "ix_receipts_team_posted": ("receipts", ["team", "posted_ms"]),
}
SPARSE = ("session", "task")


def upgrade() -> None:
    """Every table, and the triggers that keep the append-only ones so."""
    create("receipts", RECEIPTS, "seq")
    create("lines", LINES, "request_id", "attempt", "component", "revision", clustered=True)
    create("attempts", ATTEMPTS, "request_id", "id", clustered=True)
    create("holds", HOLDS, "request_id")
    create("journal_position", "id int, number big, offset big", "id")
    create("grants", GRANTS, "id")
    op.create_index("ix_receipts_request_id", "receipts", ["request_id"], unique=True)
    for name, (table, columns) in INDEXES.items():
        op.create_index(name, table, columns)
    for name in SPARSE:
        where = sa.text(f"{name} IS NOT NULL")
        op.create_index(
            f"ix_receipts_{name}", "receipts", [name], sqlite_where=where, postgresql_where=where
        )
    postgresql = op.get_bind().dialect.name == "postgresql"
    if postgresql:
        op.execute(REFUSE)
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            protect(table, verb, postgresql=postgresql)


def protect(table: str, verb: str, *, postgresql: bool) -> None:
    """The database itself refuses a verb on an append-only table."""
    name = f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
    if postgresql:
        op.execute(f"{name}FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()")
    else:
        op.execute(f"{name}BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END")


def downgrade() -> None:
    """Nothing is ever dropped from a ledger."""
    raise RuntimeError("a ledger is not taken back: restore a backup instead")


def create(table: str, columns: str, *keys: str, clustered: bool = False) -> None:
    """A table from ``name type`` pairs; ``?`` after the type allows NULL.

    ``clustered``: rows lie in the order of their key, which is then the only index.
    """
    made: list[sa.Column[Any]] = []
    for pair in columns.replace("\n", " ").split(","):
        name, kind = pair.split()
        plain = TYPES[kind.rstrip("?")]()
        made.append(sa.Column(name, plain, nullable=kind.endswith("?"), autoincrement=False))
    key = sa.PrimaryKeyConstraint(*keys)
    op.create_table(table, *made, key, sqlite_with_rowid=not clustered)

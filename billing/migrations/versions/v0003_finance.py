"""Outcomes, reconciliations with their corrections, closed months, and savings by cause."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from billing.migrations.versions.v0001_initial import TYPES, protect

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OUTCOMES = "at_ms big, team text, task text, outcome text, value text?, key text"
RECONCILIATIONS = """
    at_ms big, account text, day text, source text, theirs_nano big, ours_nano big,
    booked_nano big, reasons text
"""
CORRECTIONS = """
    reconciliation int, posted_ms big, at_ms big, account text, day text, kind text,
    request_id text?, team text?, project text?, key text?, model text?, amount_nano big,
    reason text, note text?
"""
CLOSINGS = """
    month text, from_ms big, until_ms big, closed_ms big, requests big, cost_nano big,
    corrected_nano big, head_seq big, digest blob
"""
CAUSES = ("saved_trim_nano", "saved_model_nano", "saved_cache_nano", "saved_retries_nano")
TABLES = {
    "outcomes": OUTCOMES,
    "reconciliations": RECONCILIATIONS,
    "corrections": CORRECTIONS,
    "closings": CLOSINGS,
}
CLOSED = "NEW.posted_ms < (SELECT MAX(until_ms) FROM closings)"


def upgrade() -> None:
    """The tables of finance, and receipts that say what saved what."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    for table, columns in TABLES.items():
        _create(table, columns)
        for verb in ("UPDATE", "DELETE"):
            protect(table, verb, postgresql=postgresql)
    op.create_index("ix_outcomes_team_task", "outcomes", ["team", "task"])
    op.create_index("ix_reconciliations_account_day", "reconciliations", ["account", "day"])
    op.create_index("ix_corrections_posted_ms", "corrections", ["posted_ms"])
    op.create_index("ix_closings_month", "closings", ["month"], unique=True)
    for name in CAUSES:
        op.add_column("receipts", sa.Column(name, sa.BigInteger(), nullable=True))
    _keep_closed(postgresql=postgresql)


def downgrade() -> None:
    """Nothing is ever dropped from a ledger."""
    raise RuntimeError("a ledger is not taken back: restore a backup instead")


def _create(table: str, columns: str) -> None:
    """A table whose rows are numbered by the database as they come."""
    made: list[sa.Column[Any]] = [sa.Column("seq", sa.Integer(), autoincrement=True)]
    for pair in columns.replace("\n", " ").split(","):
        name, kind = pair.split()
        made.append(sa.Column(name, TYPES[kind.rstrip("?")](), nullable=kind.endswith("?")))
    op.create_table(table, *made, sa.PrimaryKeyConstraint("seq"))


def _keep_closed(*, postgresql: bool) -> None:
    """The database itself refuses a posting into a closed month."""
    if postgresql:
        op.execute(
            "CREATE FUNCTION refuse_closed() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN IF {CLOSED} THEN RAISE EXCEPTION 'the month is closed'; END IF; "
            "RETURN NEW; END $$"
        )
    for table in ("receipts", "corrections"):
        name = f"CREATE TRIGGER {table}_month_open BEFORE INSERT ON {table} "
        if postgresql:
            op.execute(f"{name}FOR EACH ROW EXECUTE FUNCTION refuse_closed()")
        else:
            op.execute(f"{name}WHEN {CLOSED} BEGIN SELECT RAISE(ABORT, 'the month is closed'); END")

"""Roll-ups: a row a session, and sums over those rows; whether a receipt has a session, a task.

Everything that is rolled up begins anew, as after the step before: receipts are untouched.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

LABELS = (
    "team", "project", "key", "user", "requested_model", "served_model", "tier", "upstream",
    "action", "arm", "state", "usage_source", "has_session", "has_task",
)  # fmt: skip
SUMS = ("requests", "infeasible", "compared_nano", "baseline_nano", "cost_nano")
MOMENTS = (
    "count", "paid_nano", "tokenmaxxed_nano", "squares_high", "squares_both", "squares_low",
    "known", "accepted",
)  # fmt: skip
PARTIAL = (
    ("ix_slices_named", "slices", ["cube", "goal", "bucket", "facet", "cost_nano"], "named = 1"),
    ("ix_session_totals_mixed", "session_totals", ["cube", "model", "first", "last"], "facet = 0"),
    (
        "ix_session_totals_long",
        "session_totals",
        ["cube", "model", "span", "first", "last"],
        "span > 0",
    ),
)


def upgrade() -> None:
    """Two tables more, and those there are begin empty."""
    for table in ("rollups", "slices"):
        op.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
    op.execute("DELETE FROM facts WHERE name = 'rolled'")
    op.drop_table("facets")
    op.create_table(
        "facets",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("cube", sa.Integer, nullable=False),
        *(sa.Column(name, sa.String, nullable=False, server_default="") for name in LABELS),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_facets_labels", "facets", ["cube", *LABELS], unique=True)
    _sessions()
    op.drop_index("ix_slices_held", "slices")
    op.drop_index("ix_slices_goal", "slices")
    op.create_index("ix_slices_goal", "slices", ["goal"])
    for name, table, columns, where in PARTIAL:
        some = sa.text(where)
        op.create_index(name, table, columns, sqlite_where=some, postgresql_where=some)


def _sessions() -> None:
    op.create_table(
        "session_totals",
        sa.Column("cube", sa.BigInteger, nullable=False),
        sa.Column("session", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        *_numbers("keyed", "facet", "first", "last", "span"),
        sa.Column("accepted", sa.Integer, nullable=True),
        *_numbers(*SUMS),
        sa.PrimaryKeyConstraint("cube", "session", "model"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_session_totals_facet",
        "session_totals",
        ["cube", "facet", "first", "last", "infeasible", "requests", "compared_nano",
         "baseline_nano", "accepted", "keyed", "cost_nano"],
    )  # fmt: skip
    op.create_table(
        "session_moments",
        *_numbers("cube", "facet", "block", *MOMENTS),
        sa.PrimaryKeyConstraint("cube", "facet", "block"),
        sqlite_with_rowid=False,
    )


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def downgrade() -> None:
    """Nothing is ever dropped from a ledger."""
    raise RuntimeError("a ledger is not taken back: restore a backup instead")

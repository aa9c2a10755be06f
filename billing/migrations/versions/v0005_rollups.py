"""Roll-ups: sums by facet and bucket of time, and by session, all derived from receipts.

The tables are made empty: what is in receipts already is summed afterwards, a batch a
transaction, by the gateway while it runs or by `weir ledger rollup`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LABELS = (
    "team", "project", "key", "user", "requested_model", "served_model", "tier", "upstream",
    "action", "arm", "state", "usage_source",
)  # fmt: skip
SUMS = (
    "requests", "original_prompt_tokens", "sent_prompt_tokens", "prompt_tokens",
    "completion_tokens", "cached_tokens", "effective_tokens", "cost_nano", "gateway_cost_nano",
    "waste_nano", "baseline_nano", "compared_nano", "infeasible", "estimated",
)  # fmt: skip
CAUSES = (
    "saved_trim_nano", "saved_model_nano", "saved_cache_nano", "saved_retries_nano",
    "parted_gateway_nano",
)  # fmt: skip
# Those that the savings report reads stand first: a row is read up to what is asked of it.
FIRST = ("requests", "infeasible", "compared_nano", "baseline_nano", "cost_nano")

# What the savings report reads of few rows among many, whole in an index.
COVERING = (
    (
        "ix_slices_held",
        ["cube", "session", "bucket", "infeasible", "requests", "compared_nano",
         "baseline_nano", "accepted", "facet"],
        "arm = 'holdout'",
    ),
    (
        "ix_slices_told",
        ["cube", "goal", "facet", "arm", "bucket", "cost_nano", "accepted"],
        "accepted IS NOT NULL",
    ),
)  # fmt: skip


def upgrade() -> None:
    """Three tables that hold nothing receipts do not say."""
    op.create_table(
        "facets",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("cube", sa.Integer, nullable=False),
        *(sa.Column(name, sa.String, nullable=False, server_default="") for name in LABELS),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_facets_labels", "facets", ["cube", *LABELS], unique=True)
    _create("rollups", ("cube", "width_ms", "bucket", "facet"), (*SUMS, *CAUSES))
    op.create_table(
        "slices",
        sa.Column("cube", sa.BigInteger, nullable=False),
        sa.Column("session", sa.String, nullable=False),
        sa.Column("keyed", sa.BigInteger, nullable=False),
        sa.Column("arm", sa.String, nullable=False),
        sa.Column("facet", sa.BigInteger, nullable=False),
        sa.Column("goal", sa.String, nullable=False),
        sa.Column("named", sa.BigInteger, nullable=False),
        sa.Column("bucket", sa.BigInteger, nullable=False),
        sa.Column("accepted", sa.Integer, nullable=True),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in (*FIRST, *(name for name in SUMS if name not in FIRST))
        ),
        sa.PrimaryKeyConstraint(
            "cube", "session", "keyed", "arm", "facet", "goal", "named", "bucket"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_slices_goal", "slices", ["goal", "cube", "named", "cost_nano"])
    for name, columns, where in COVERING:
        some = sa.text(where)
        op.create_index(name, "slices", columns, sqlite_where=some, postgresql_where=some)


def _create(table: str, keys: tuple[str, ...], sums: tuple[str, ...]) -> None:
    columns = [sa.Column(name, sa.BigInteger, nullable=False) for name in (*keys, *sums)]
    op.create_table(table, *columns, sa.PrimaryKeyConstraint(*keys), sqlite_with_rowid=False)


def downgrade() -> None:
    """Nothing is ever dropped from a ledger."""
    raise RuntimeError("a ledger is not taken back: restore a backup instead")

"""Replies kept for idempotency keys, and which messages were sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two tables whose rows come and go; neither is a posting."""
    op.create_table(
        "replies",
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("body_hash", sa.LargeBinary, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("process", sa.String, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Integer, nullable=True),
        sa.Column("sealed", sa.LargeBinary, nullable=True),
        sa.PrimaryKeyConstraint("owner", "name"),
    )
    op.create_index("ix_replies_expires_ms", "replies", ["expires_ms"])
    op.create_table(
        "notices",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    """Nothing is ever dropped from a ledger."""
    raise RuntimeError("a ledger is not taken back: restore a backup instead")

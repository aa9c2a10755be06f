"""Several processes write one ledger: rows name their writer, each has a journal of its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WRITER = ("receipts", "holds")


def upgrade() -> None:
    """``writer`` on receipts and holds, a journal position a writer, a table of facts."""
    for table in WRITER:
        op.add_column(table, sa.Column("writer", sa.String, nullable=False, server_default=""))
    op.create_table(
        "positions",
        sa.Column("writer", sa.String, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("writer"),
    )
    op.execute("INSERT INTO positions SELECT '', number, \"offset\" FROM journal_position")
    op.drop_table("journal_position")
    op.create_table(
        "facts",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    some = sa.text("writer <> ''")
    op.create_index(
        "ix_receipts_writer",
        "receipts",
        ["writer", "posted_ms"],
        sqlite_where=some,
        postgresql_where=some,
    )


def downgrade() -> None:
    """Nothing is ever dropped from a ledger."""
    raise RuntimeError("a ledger is not taken back: restore a backup instead")

"""Runs migrations on the connection that ``billing.schema.upgrade`` opened."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

from billing import tables

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    include_name=lambda name, kind, _: (
        kind != "table" or name in {row.__tablename__ for row in SQLModel.__subclasses__()}
    ),
)
with context.begin_transaction():
    context.run_migrations()

__all__ = ["tables"]

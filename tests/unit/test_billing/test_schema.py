"""The schema: one shape, however the database came to it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from billing import store_rows as rows
from billing import tables
from billing.bundled import bundled_text
from billing.errors import LedgerUnavailable
from billing.schema import REVISION, database_path, dump, migrate, upgrade


def test_migrations_lead_to_the_shipped_schema(tmp_path: Path) -> None:
    """All steps from an empty database give exactly data/schema.sql, and so does a new one."""
    migrate(tmp_path / "stepped.db")
    upgrade(tmp_path / "new.db")
    assert dump(tmp_path / "stepped.db") == dump(tmp_path / "new.db")
    assert dump(tmp_path / "new.db") == bundled_text("schema.sql").decode()


def test_the_schema_is_the_models(tmp_path: Path) -> None:
    """Every column of every SQLModel table exists, with its nullability and key."""
    path = tmp_path / "weir.db"
    upgrade(path)
    with sqlite3.connect(path) as connection:
        for table in SQLModel.metadata.sorted_tables:
            rows = connection.execute(f"PRAGMA table_info({table.name})").fetchall()
            found = {name: (not required, bool(key)) for _, name, _, required, _, key in rows}
            wanted = {c.name: (c.nullable, c.primary_key) for c in table.columns}
            assert found == wanted, table.name
            made = {
                row[1]
                for row in connection.execute(f"PRAGMA index_list({table.name})")
                if not row[1].startswith("sqlite_")
            }
            assert made == {index.name for index in table.indexes}, table.name
    connection.close()


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        (tables.ReceiptRow, rows.RECEIPT_COLUMNS),
        (tables.LineRow, rows.LINE_COLUMNS),
        (tables.AttemptRow, rows.ATTEMPT_COLUMNS),
        (tables.HoldRow, rows.HOLD_COLUMNS),
    ],
)
def test_the_driver_writes_every_column(row: type[SQLModel], columns: tuple[str, ...]) -> None:
    """What the hot path inserts through the driver is what the model declares."""
    assert set(columns) == set(row.model_fields)


def test_upgrading_twice_changes_nothing(tmp_path: Path) -> None:
    """A database at this version stays as it is."""
    path = tmp_path / "weir.db"
    upgrade(path)
    before = dump(path)
    upgrade(path)
    migrate(path)
    assert dump(path) == before


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    """A schema from a later version is refused with the remedy."""
    path = tmp_path / "weir.db"
    upgrade(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(LedgerUnavailable, match=f"newer than this version's {REVISION}"):
        upgrade(path)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """Garbage is named, not overwritten."""
    path = tmp_path / "weir.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(LedgerUnavailable, match="cannot open the database"):
        upgrade(path)
    assert path.read_bytes().startswith(b"not a database")


def test_urls() -> None:
    """Three slashes are relative, four absolute; other databases are not there yet."""
    assert database_path("sqlite:///weir.db") == Path("weir.db")
    assert database_path("sqlite:////var/lib/weir.db") == Path("/var/lib/weir.db")
    for wrong in ("sqlite:///", "weir.db", "postgresql://host/db"):
        with pytest.raises(ValueError, match="is not supported"):
            database_path(wrong)

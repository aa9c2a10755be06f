"""The database is at this version's schema, or is brought there.

An empty database gets the tables from ``data/schema.sql``, the finished result of all
migrations (a test holds the two equal). Alembic and SQLModel take half a second to import,
so they are only where an older database has to be brought forward.
"""

from __future__ import annotations

import re
import sqlite3
from importlib import resources
from pathlib import Path

from billing.bundled import bundled_text
from billing.errors import LedgerUnavailable

REVISION = "0006"
"""The newest step in ``billing/migrations/versions``."""
_MIGRATION = 0x77656972
"""PostgreSQL's lock that a migration holds."""
FINANCE_LOCK = 0x77656966
"""PostgreSQL's lock that keeps two bookings apart, and bookings from roll-ups."""


_POSTGRESQL = re.compile(r"^postgres(?:ql)?(?:\+psycopg)?://")


def is_postgresql(url: str) -> bool:
    """Whether a database URL names a PostgreSQL server."""
    return _POSTGRESQL.match(url) is not None


def driver_url(url: str) -> str:
    """A PostgreSQL URL as the driver (psycopg) takes it."""
    return _POSTGRESQL.sub("postgresql://", url)


def engine_url(url: str) -> str:
    """A database URL as SQLAlchemy takes it."""
    return _POSTGRESQL.sub("postgresql+psycopg://", url)


def database_path(url: str) -> Path:
    """The file of a ``sqlite:///`` URL; four slashes are an absolute path.

    Raises:
        ValueError: another kind of database.
    """
    prefix = "sqlite:///"
    if not url.startswith(prefix) or url == prefix:
        raise ValueError(
            f"database {hidden(url)!r} is not supported: write `sqlite:///weir.db` (a file beside "
            f"the configuration), `sqlite:////var/lib/weir/weir.db` or `postgresql://...`"
        )
    return Path(url.removeprefix(prefix))


def hidden(url: str) -> str:
    """A URL without its password."""
    return re.sub(r"://([^:/@]*):.*@", r"://\1:***@", url)


def check_url(url: str) -> None:
    """The URL names a database that is supported. Raises ValueError, without the password."""
    if not is_postgresql(url):
        database_path(url)
        return
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(driver_url(url))
    except psycopg.Error:  # its message may quote the password
        raise ValueError(
            f"database {hidden(url)!r} is no PostgreSQL address: write "
            f"`postgresql://user:password@host:5432/weir`, special characters as %XX"
        ) from None


def url_beside(url: str, folder: Path) -> str:
    """The same database; a relative SQLite file lies in ``folder``."""
    if is_postgresql(url):
        return url
    return f"sqlite:///{folder / database_path(url)}"


def found_revision(connection: sqlite3.Connection) -> str | None:
    """The schema version of an open database, None for an empty one."""
    table = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
    ).fetchone()
    if table is None:
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def upgrade(path: Path) -> None:
    """The database at ``path`` has this version's tables.

    Raises:
        LedgerUnavailable: it cannot be opened, or was written by a newer version.
    """
    try:
        found = _create_or_find(path)
        if found == REVISION:
            return
        if found is not None and found > REVISION:
            raise LedgerUnavailable(
                f"the database {path} has schema {found}, newer than this version's {REVISION}: "
                f"upgrade tokenweir, or name another database"
            )
        migrate(path)
    except sqlite3.Error as error:
        raise LedgerUnavailable(f"cannot open the database {path}: {error}") from error


def _create_or_find(path: Path) -> str | None:
    """The version of a database; an empty one is given this version's tables first."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        tables = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if tables[0] == 0:
            for statement in bundled_text("schema.sql").decode().split(";\n\n"):
                connection.execute(statement)
            connection.execute("INSERT INTO alembic_version VALUES (?)", (REVISION,))
        connection.execute("COMMIT")
        return found_revision(connection)
    finally:
        connection.close()


def dump(path: Path) -> str:
    """The statements that make a database's tables, one blank line between."""
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name"
        ).fetchall()
    finally:
        connection.close()
    kinds = ("CREATE TABLE", "CREATE UNIQUE INDEX", "CREATE INDEX", "CREATE TRIGGER")
    ordered = sorted(
        (str(row[0]) for row in rows),
        key=lambda sql: next(n for n, kind in enumerate(kinds) if sql.startswith(kind)),
    )
    return ";\n\n".join(ordered) + ";\n"


def upgrade_postgresql(url: str) -> None:
    """The database at a PostgreSQL URL has this version's tables.

    Raises:
        LedgerUnavailable: it cannot be opened, or was written by a newer version.
    """
    import psycopg

    where = hidden(url)
    try:
        with psycopg.connect(driver_url(url), connect_timeout=10) as connection:
            table = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
            found = None
            if table is not None and table[0] is not None:
                row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
                found = None if row is None else str(row[0])
    except psycopg.Error as error:
        raise LedgerUnavailable(f"cannot open the database {where}: {error}") from error
    if found is not None and found > REVISION:
        raise LedgerUnavailable(
            f"the database {where} has schema {found}, newer than this version's {REVISION}: "
            f"upgrade tokenweir, or name another database"
        )
    if found != REVISION:
        _run_alembic(engine_url(url), where)


def migrate(path: Path) -> None:
    """An existing or new database is brought to the newest step by Alembic alone.

    Raises:
        LedgerUnavailable: a step failed; the database is as it was.
    """
    _run_alembic(f"sqlite:///{path}", str(path))


def _run_alembic(url: str, where: str) -> None:
    import sqlalchemy
    from alembic import command
    from alembic.config import Config
    from sqlalchemy.exc import SQLAlchemyError

    config = Config()
    config.set_main_option("script_location", str(resources.files("billing") / "migrations"))
    config.set_main_option("path_separator", "os")
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":  # one process at a time
                connection.execute(sqlalchemy.text(f"SELECT pg_advisory_xact_lock({_MIGRATION})"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except SQLAlchemyError as error:
        raise LedgerUnavailable(f"cannot upgrade the database {where}: {error}") from error
    finally:
        engine.dispose()

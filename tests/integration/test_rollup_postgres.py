"""Roll-ups on PostgreSQL: the same statements, the same answers as on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from engines import postgresql
from rollup_story import already, answers, fill, scopes

from billing.postgres import PostgresStore
from billing.verify import verify


@pytest.fixture
def fresh(postgres_server: str) -> Iterator[str]:
    """An empty database."""
    with postgresql(postgres_server) as url:
        yield url


def test_reports_are_the_same_from_roll_ups_as_from_receipts(fresh: str, tmp_path: Path) -> None:
    """On PostgreSQL as on SQLite, with a tail that is not rolled up, and after a rebuild."""
    beside = f"sqlite:///{tmp_path / 'weir.db'}"
    for url in (fresh, beside):
        fill(url, 11, 60, fresh=13)
        assert already(url) == 47
    asked = list(scopes(11, 1))
    rolled = [answers(fresh, scope) for scope in asked]
    assert rolled == [answers(beside, scope) for scope in asked]
    assert [one for one in verify(fresh) if "roll-ups" in one] == []
    with psycopg.connect(fresh) as connection:
        connection.execute("UPDATE facts SET value = '0' WHERE name = 'rolled'")
    assert rolled == [answers(fresh, scope) for scope in asked]
    store = PostgresStore(fresh)
    store.clear_rollups()
    while store.roll_up(25):
        pass
    store.close()
    assert already(fresh) == 60
    assert rolled == [answers(fresh, scope) for scope in asked]
    assert [one for one in verify(fresh) if "roll-ups" in one] == []

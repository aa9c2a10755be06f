"""Grants, claims of idempotency keys and sent messages, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from engines import postgresql

from billing.desk import Desk
from billing.errors import LedgerUnavailable
from billing.grants import Grant, append_grant, grants_until
from billing.kept import Claim, Kept, Row

pytestmark = pytest.mark.slow
NOW = 1_795_348_800_000
CLAIM = Claim("owner", "key", b"\x00body", "R1", "host:1:x", NOW, NOW + 1000)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of either kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/weir.db"
        return
    with postgresql(request.getfixturevalue("postgres_server")) as made:
        yield made


@pytest.fixture
def desks(url: str) -> Iterator[tuple[Desk, Desk]]:
    """Two connections, as of two processes."""
    both = Desk(url), Desk(url)
    yield both
    for desk in both:
        desk.close()


def test_a_grant_of_one_process_is_seen_by_another(desks: tuple[Desk, Desk]) -> None:
    """Appended once, read by all until it ends, and never changed."""
    grant = Grant("g", "t", "*", 5, NOW, NOW + 10, "ana", "why? % of it")
    append_grant(desks[0], grant)
    assert grants_until(desks[1], NOW) == (grant,)
    assert grants_until(desks[1], NOW + 10) == ()
    for statement in ("UPDATE grants SET amount_nano = 9", "DELETE FROM grants"):
        with pytest.raises(LedgerUnavailable):
            desks[0].change(statement)
    assert grants_until(desks[1], NOW) == (grant,)


def test_one_of_two_processes_gets_a_key(desks: tuple[Desk, Desk]) -> None:
    """The other sees whose it is, then its result, and after its time has it for itself."""
    first, second = (Kept(desk) for desk in desks)
    twin = replace(CLAIM, request_id="R2", process="host:2:y")
    assert first.claim(CLAIM) is None
    assert second.claim(twin) == Row(b"\x00body", "R1", "host:1:x", NOW, None, None)
    second.keep(twin, 500, b"not its own")
    first.keep(CLAIM, 200, b"\x00\xffsealed")
    found = second.claim(twin)
    assert found is not None
    assert (found.status, bytes(found.sealed or b"")) == (200, b"\x00\xffsealed")
    second.give_up(twin)
    assert second.claim(twin) is not None
    assert second.claim(replace(twin, at_ms=NOW + 1000, expires_ms=NOW + 2000)) is None
    second.give_up(twin)
    assert first.claim(CLAIM) is None
    assert first.purge(NOW + 999) == 0
    assert first.purge(NOW + 1000) == 1


def test_a_message_is_claimed_once(desks: tuple[Desk, Desk]) -> None:
    """The same statement that the notifier uses: one of two changes a row."""
    statement = "INSERT INTO notices (name, at_ms) VALUES (?, ?) ON CONFLICT DO NOTHING"
    assert [desk.change(statement, "t|80%|1", NOW) for desk in desks] == [1, 0]

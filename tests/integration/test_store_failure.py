"""The disk is full, the database locked or away: refused or kept, and mended by itself."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from engines import postgresql, postgresql_server
from fakes import FaultServer, completion, plain
from processes import Key, Running, gateway, http
from sharing import PATH, accounts, now_ms, receipt, request

from billing.errors import BudgetExhausted, LedgerUnavailable
from billing.ledger import Ledger
from billing.reports import totals, verify
from billing.shared_ledger import SharedLedger

USD = 1_000_000_000
BODY = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "Say it."}]}


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """A condition comes true."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def overfull(url: str) -> Ledger:
    """An open ledger with 300 requests, more than the room its tables have."""
    ledger = Ledger(url, accounts("10 per day"), now_ms).open()
    write = ledger._store._write  # type: ignore[union-attr]
    pages = write.execute("PRAGMA page_count").fetchone()[0]
    write.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(300):
        name = f"r{number}"
        ledger.settle(ledger.hold(request(name, 1000, now_ms())), receipt(name, 7, now_ms()))
    until(lambda: "full" in (ledger.trouble() or ""))
    return ledger


def test_a_database_that_is_full_delays_and_forgets_nothing(tmp_path: Path) -> None:
    """No page is left in the tables: requests go on in the journal, and all is written later."""
    url = f"sqlite:///{tmp_path}/weir.db"
    ledger = overfull(url)
    found = ledger.receipt("r299")
    assert found is not None
    assert found.cost_nano == 7
    assert [(f.spent_nano, f.held_nano) for f in ledger.budgets(PATH, None)] == [(2100, 0)]
    assert int(str(totals(url)["requests"])) < 300
    ledger._store._write.execute("PRAGMA max_page_count = 1073741823")  # type: ignore[union-attr]
    until(lambda: ledger.trouble() is None)
    ledger.close()
    assert (totals(url)["requests"], totals(url)["open_holds"]) == (300, 0)
    assert verify(url) == []


def test_a_process_that_dies_while_its_database_is_full_has_it_all_in_the_journal(
    tmp_path: Path,
) -> None:
    """What never reached the tables is there after the next start."""
    url = f"sqlite:///{tmp_path}/weir.db"
    overfull(url).close()
    again = Ledger(url, accounts("10 per day"), now_ms).open()
    assert [(f.spent_nano, f.held_nano) for f in again.budgets(PATH, None)] == [(2100, 0)]
    again.close()
    assert totals(url)["requests"] == 300
    assert verify(url) == []


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Running, Key, FaultServer]]:
    """A gateway on SQLite in front of a provider that answers."""
    key = Key.new()
    with FaultServer({"m": plain(200, completion())}) as provider:
        config = f"""
database: sqlite:///{tmp_path}/weir.db
upstreams: {{ p: {{ kind: openai, base_url: "{provider.url}/v1", api_key: k }} }}
models: {{ m: {{ upstream: p, context_window: 100000, price: {{ input: 1, output: 2 }} }} }}
routing: {{ mode: observe, baseline: m }}
teams: {{ t: {{ keys: [k], budget: 1 per day }} }}
keys: {{ k: {key.hash} }}
"""
        with gateway(tmp_path, config) as running:
            yield running, key, provider


def test_a_locked_database_stops_no_request(
    served: tuple[Running, Key, FaultServer], tmp_path: Path
) -> None:
    """Somebody else holds the write lock: answers and receipts come, rows follow by themselves."""
    running, key, provider = served
    url = f"sqlite:///{tmp_path}/weir.db"
    blocker = sqlite3.connect(tmp_path / "weir.db", isolation_level=None)
    with http(running.url, authorization=f"Bearer {key.secret}") as client:
        blocker.execute("BEGIN IMMEDIATE")
        answers = [client.post("/v1/chat/completions", json=BODY) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        name = answers[-1].headers["x-weir-request-id"]
        assert client.get(f"/weir/receipts/{name}").json()["state"] == "settled"
        (budget,) = client.get("/weir/budgets").json()["data"]
        assert (budget["spent_usd"], float(budget["held_usd"])) == ("0.00042", 0)
        blocker.execute("COMMIT")
        blocker.close()
        until(lambda: totals(url)["requests"] == 20)
    assert provider.calls["m"] == 20
    assert verify(url) == []


SLOW = pytest.mark.slow


@SLOW
@pytest.mark.parametrize("policy", ["closed", "open 5m"])
def test_a_server_that_goes_away_while_running(tmp_path: Path, policy: str) -> None:
    """Closed: what was not claimed is refused, at once. Open: it goes on in the local journal.

    Either way what was settled meanwhile is in the server's tables when it is back.
    """
    with postgresql_server() as server, database(server) as url:
        tree = accounts("10 per day", on_store_failure=policy)
        ledger = SharedLedger(url, tree, now_ms, folder=tmp_path / "journal").open()
        sent = ledger.hold(request("sent", USD, now_ms()))
        ledger.flush()
        with away(server, url):
            ledger.settle(sent, receipt("sent", 5, now_ms()))
            found = ledger.receipt("sent")
            assert found is not None
            assert found.cost_nano == 5
            if policy == "closed":
                with pytest.raises(LedgerUnavailable, match="cannot be reached"):
                    ledger.hold(request("b", 9 * USD, now_ms()))
            else:
                later = ledger.hold(request("b", 9 * USD, now_ms()))
                with pytest.raises(BudgetExhausted):
                    ledger.hold(request("c", 2 * USD, now_ms()))
                ledger.settle(later, receipt("b", 7, now_ms()))
            until(lambda: ledger.trouble() is not None)
        until(lambda: ledger.trouble() is None)
        ledger.flush()
        spent = 5 if policy == "closed" else 12
        until(lambda: held_of(ledger) == (spent, 0))
        ledger.close()
        assert totals(url)["requests"] == (1 if policy == "closed" else 2)
        assert verify(url) == []


@SLOW
def test_a_server_that_goes_away_under_a_gateway(tmp_path: Path) -> None:
    """What was not claimed is 503 with Retry-After, the provider is not asked, and it mends."""
    key = Key.new()
    reply = {"m": plain(200, completion())}
    with (
        postgresql_server() as server,
        database(server) as url,
        FaultServer(reply) as provider,
    ):
        config = f"""
database: {url}
upstreams: {{ p: {{ kind: openai, base_url: "{provider.url}/v1", api_key: k }} }}
models: {{ m: {{ upstream: p, context_window: 100000, price: {{ input: 1, output: 100000 }} }} }}
routing: {{ mode: observe, baseline: m }}
teams: {{ t: {{ keys: [k], budget: 100 per day }} }}
keys: {{ k: {key.hash} }}
"""
        dear = {**BODY, "max_tokens": 900}  # 90 USD to hold
        with (
            gateway(tmp_path, config) as running,
            http(running.url, authorization=f"Bearer {key.secret}") as client,
        ):
            first = client.post("/v1/chat/completions", json={**BODY, "max_tokens": 1})
            assert first.status_code == 200
            until(lambda: totals(url)["requests"] == 1)
            with away(server, url):
                asked = provider.calls["m"]
                refused = client.post("/v1/chat/completions", json=dear)
                assert (refused.status_code, refused.json()["error"]["code"]) == (
                    503, "ledger_unavailable",
                )  # fmt: skip
                assert int(refused.headers["retry-after"]) >= 1
                assert provider.calls["m"] == asked
                assert client.get("/readyz").status_code == 200
            until(lambda: client.post("/v1/chat/completions", json=dear).status_code == 200)
        assert totals(url)["open_holds"] == 0
        assert verify(url) == []


def held_of(ledger: Ledger) -> tuple[int, int]:
    """Spent and held of the one budget."""
    (window,) = ledger.budgets(PATH, None)
    return window.spent_nano, window.held_nano


@contextlib.contextmanager
def database(server: str) -> Iterator[str]:
    """A database of its own."""
    with postgresql(server) as url:
        yield url


@contextlib.contextmanager
def away(server: str, url: str) -> Iterator[None]:
    """Nobody gets into a database inside the block; who was in is thrown out."""
    name = url.rsplit("/", 1)[1].split("?", maxsplit=1)[0]
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        try:
            yield
        finally:
            admin.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')


def test_a_full_disk_under_requests_is_503_and_mends_itself(tmp_path: Path) -> None:
    """Holds are refused while nothing can be written; what was in flight is settled later."""
    ledger = Ledger(f"sqlite:///{tmp_path}/weir.db", accounts("10 per day"), now_ms).open()
    writer = ledger._writer
    assert writer is not None
    flying = [ledger.hold(request(f"f{n}", 100, now_ms())) for n in range(8)]
    file = writer._journal._file
    whole, full = os.dup(file), os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, file)
    threads = [
        threading.Thread(target=ledger.settle, args=(hold, receipt(hold.request_id, 3, now_ms())))
        for hold in flying
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(LedgerUnavailable):
        ledger.hold(request("new", 1, now_ms()))
    assert held_of(ledger) == (24, 0)
    os.dup2(whole, file)
    until(lambda: ledger.trouble() is None)
    ledger.settle(ledger.hold(request("new", 1, now_ms())), receipt("new", 1, now_ms()))
    ledger.close()
    os.close(whole)
    os.close(full)
    url = f"sqlite:///{tmp_path}/weir.db"
    assert (totals(url)["requests"], totals(url)["open_holds"]) == (9, 0)
    assert verify(url) == []

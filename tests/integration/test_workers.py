"""Several worker processes on one socket: one ledger, one set of budgets, one page of metrics."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from engines import postgresql, valkey
from processes import House, Key, config_for, gateway, get, simulator

pytestmark = pytest.mark.slow

MID = "gpt-6.1-sol"
BODY = {"model": MID, "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 20}
WORKERS = 4


@contextlib.contextmanager
def crew(folder: Path, extra: str = "", top: str = "", *options: str) -> Iterator[House]:
    """A house whose gateway is several processes; ``top`` replaces the line of the database."""
    key = Key.new()
    with simulator(folder, *options) as provider:
        config = config_for(provider.url, folder, key, extra)
        if top:
            config = config.replace(f"database: sqlite:///{folder}/weir.db", top)
        with gateway(folder, config, "--workers", str(WORKERS)) as running:
            yield House(provider, running, key, folder)


def children(house: House) -> list[int]:
    """The workers' process ids."""
    done = subprocess.run(
        ["ps", "--ppid", str(house.gateway.process.pid), "-o", "pid="],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(word) for word in done.stdout.split()]


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until a condition holds, or fail."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def status_of(house: House) -> int:
    """One request on a connection of its own, so that any worker may serve it."""
    with house.client() as client:
        try:
            return client.post("/v1/chat/completions", json=BODY).status_code
        except httpx.HTTPError:
            return 0


def sum_of(page: str, name: str) -> float:
    """All samples of a metric."""
    rows = [row for row in page.splitlines() if row.startswith(f"{name}{{")]
    return sum(float(row.rsplit(" ", 1)[1]) for row in rows)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A crew on SQLite."""
    with crew(tmp_path_factory.mktemp("crew")) as running:
        until(lambda: len(children(running)) == WORKERS)
        yield running


def test_any_worker_knows_the_receipt_of_an_answer(house: House) -> None:
    """Right after an answer its receipt is found on any connection, by any worker."""
    for _ in range(12):
        with house.client() as asking, house.client() as looking:
            answer = asking.post("/v1/chat/completions", json=BODY)
            assert answer.status_code == 200
            request_id = answer.headers["x-weir-request-id"]
            found = looking.get(f"/weir/receipts/{request_id}")
            assert found.status_code == 200
            assert found.json()["cost_usd"] == answer.headers["x-weir-cost-usd"]


def test_ledger_metrics_and_provider_agree(house: House) -> None:
    """Totals, the merged metrics and the provider's own count are the same number."""
    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(lambda _: status_of(house), range(60))) == {200}
    time.sleep(1.0)
    totals = house.totals()
    served = get(house.provider.url + "/sim/served").json()
    assert totals["requests"] == served["requests"]
    assert totals["completion_tokens"] == served["models"][MID]["completion_tokens"]
    assert totals["open_holds"] == 0
    pages = {get(house.gateway.url + "/metrics").text for _ in range(6)}
    for page in pages:
        assert sum_of(page, "weir_requests_total") == totals["requests"]
        assert sum_of(page, "weir_cost_usd_total") == pytest.approx(float(str(totals["cost"])))
    with house.client() as client:
        budgets = client.get("/weir/budgets").json()["data"]
    assert Decimal(budgets[0]["spent_usd"]) == Decimal(str(totals["cost"]))
    assert Decimal(budgets[0]["held_usd"]) == 0


def test_a_killed_worker_is_replaced_and_nothing_is_lost(house: House) -> None:
    """kill -9 of one worker under load: the others serve on, its bills are posted, once."""
    stop = threading.Event()
    seen: Counter[int] = Counter()

    def load() -> None:
        while not stop.is_set():
            seen[status_of(house)] += 1

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.7)
    victim = children(house)[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in children(house) and len(children(house)) == WORKERS)
    time.sleep(1.0)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(seen) <= {200, 0}
    assert seen[0] <= len(threads)
    served = get(house.provider.url + "/sim/served").json()["requests"]
    with house.client() as client:

        def accounted() -> bool:
            totals = house.totals()
            rows = int(str(totals["requests"])) + int(str(totals["provisional_requests"]))
            return rows >= served and totals["open_holds"] == 0

        until(accounted)
        totals = house.totals()
        rows = int(str(totals["requests"])) + int(str(totals["provisional_requests"]))
        assert served <= rows <= served + len(threads)
        until(lambda: Decimal(client.get("/weir/budgets").json()["data"][0]["held_usd"]) == 0)
        budget = client.get("/weir/budgets").json()["data"][0]
    paid = Decimal(str(totals["cost"])) + Decimal(str(totals["provisional_cost"]))
    assert Decimal(budget["spent_usd"]) == paid


def engines(
    name: str, stack: contextlib.ExitStack, folder: Path, request: pytest.FixtureRequest
) -> str:
    """The line of the database for each way to share."""
    if name == "postgresql":
        server = request.getfixturevalue("postgres_server")
        return f"database: {stack.enter_context(postgresql(server))}\njournal: {folder}/journal"
    if name == "valkey":
        url = stack.enter_context(valkey())
        return f"database: sqlite:///{folder}/weir.db\nshared_state: {url}"
    return ""


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "valkey"])
def test_a_budget_holds_for_all_workers_and_sigterm_ends_them(
    tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    """A budget of some 25 requests is never overspent by 160, at no look; all drain, exit 0."""
    teams = "teams: { support: { keys: [main], budget: 0.02 per month } }"
    with contextlib.ExitStack() as stack:
        top = engines(engine, stack, tmp_path, request)
        house = stack.enter_context(crew(tmp_path, teams, top, "--per-token-ms", "1"))
        until(lambda: len(children(house)) == WORKERS)
        done, looks = threading.Event(), list[Decimal]()

        def watch() -> None:
            while not done.is_set():
                with house.client() as client:
                    (row,) = client.get("/weir/budgets").json()["data"]
                looks.append(Decimal(row["spent_usd"]) + Decimal(row["held_usd"]))

        watcher = threading.Thread(target=watch)
        watcher.start()
        with ThreadPoolExecutor(16) as pool:
            seen = Counter(pool.map(lambda _: status_of(house), range(160)))
        done.set()
        watcher.join()
        assert max(looks) <= Decimal("0.02")
        assert len(looks) > 5
        assert set(seen) <= {200, 402, 429}
        assert seen[200] > 0
        assert seen[402] > 0
        workers = children(house)
        assert house.gateway.stop() == 0
        for pid in workers:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        totals = house.totals()
        assert Decimal(str(totals["cost"])) <= Decimal("0.02")
        assert totals["requests"] == seen[200]
        assert (totals["open_holds"], totals["provisional_requests"]) == (0, 0)
        assert "Traceback" not in house.gateway.log.read_text()


def test_workers_without_their_watcher_drain(tmp_path: Path) -> None:
    """When the watcher is killed its workers end, too, and nothing stays open."""
    with crew(tmp_path) as house:
        until(lambda: len(children(house)) == WORKERS)
        assert status_of(house) == 200
        workers = children(house)
        house.gateway.process.kill()
        house.gateway.process.wait(10)

        def gone() -> bool:
            alive = 0
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 0)
                    alive += 1
            return alive == 0

        until(gone)
        totals = house.totals()
        assert (totals["requests"], totals["open_holds"]) == (1, 0)


def test_a_configuration_that_went_bad_ends_it(tmp_path: Path) -> None:
    """Workers that cannot start with their file end the watcher with exit code 2."""
    with crew(tmp_path) as house:
        until(lambda: len(children(house)) == WORKERS)
        (tmp_path / "weir.yaml").write_text("upstreams: [")
        os.kill(children(house)[0], signal.SIGKILL)
        assert house.gateway.process.wait(90) == 2


def streamed(house: House, ended: list[str]) -> None:
    """One stream on a connection of its own; the end of what came is kept."""
    body = {**BODY, "stream": True, "max_tokens": 60}
    text = ""
    try:
        with (
            house.client() as client,
            client.stream("POST", "/v1/chat/completions", json=body) as r,
        ):
            for piece in r.iter_text():
                text = (text + piece)[-400:]
    except httpx.HTTPError as error:
        text = f"{text[-40:]!r} then {error!r}"
    ended.append(text.strip())


def test_a_rolling_restart_loses_no_stream_and_no_request(tmp_path: Path) -> None:
    """SIGUSR2: every worker is a new process, while requests on new and kept connections and
    streams go on, each to its end, and the books are those of the provider."""
    with crew(tmp_path, "", "", "--per-token-ms", "25") as house:
        until(lambda: len(children(house)) == WORKERS)
        before = set(children(house))
        stop, seen, kept = threading.Event(), Counter[int](), Counter[int]()
        ended: list[str] = []

        def fresh() -> None:
            while not stop.is_set():
                seen[status_of(house)] += 1

        def keeping() -> None:
            with house.client() as client:
                while not stop.is_set():
                    answer = client.post("/v1/chat/completions", json=BODY)
                    kept[answer.status_code] += 1

        def streaming() -> None:
            while not stop.is_set():
                streamed(house, ended)

        threads = [threading.Thread(target=work) for work in (fresh, fresh, keeping, streaming)]
        threads += [threading.Thread(target=streaming) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        house.gateway.process.send_signal(signal.SIGUSR2)
        until(lambda: not before & set(children(house)), 90)
        time.sleep(0.5)
        stop.set()
        for thread in threads:
            thread.join()
        log = house.gateway.log.read_text()
        assert set(seen) == {200}, log[-2000:]
        assert set(kept) == {200}, log[-2000:]
        assert len(ended) > len(threads)
        assert [text for text in ended if not text.endswith("data: [DONE]")] == []
        assert len(children(house)) == WORKERS
        served = get(house.provider.url + "/sim/served").json()["requests"]
        assert served == sum(seen.values()) + sum(kept.values()) + len(ended)
        until(lambda: house.totals()["open_holds"] == 0)
        totals = house.totals()
        assert (totals["requests"], totals["provisional_requests"]) == (served, 0)
        page = get(house.gateway.url + "/metrics").text
        assert sum_of(page, "weir_requests_total") == served
        assert "Traceback" not in log
        assert house.gateway.stop() == 0


def test_a_restart_with_a_bad_configuration_leaves_the_old_workers(tmp_path: Path) -> None:
    """Where the new worker cannot start, the roll ends, and those that serve go on serving."""
    with crew(tmp_path) as house:
        until(lambda: len(children(house)) == WORKERS)
        before = set(children(house))
        (tmp_path / "weir.yaml").write_text("upstreams: [")
        house.gateway.process.send_signal(signal.SIGUSR2)
        until(lambda: "the old ones serve on" in house.gateway.log.read_text(), 60)
        assert status_of(house) == 200
        assert set(children(house)) == before
        assert house.gateway.stop() == 0

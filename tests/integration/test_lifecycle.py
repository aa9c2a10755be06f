"""The process: reload, drain, kill -9, start. What was billed has its row, whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import (
    House,
    Key,
    Running,
    config_for,
    free_port,
    gateway,
    get,
    http,
    simulator,
    start,
)

MID = "gpt-6.1-sol"
BODY = {"model": MID, "messages": [{"role": "user", "content": "Tell me a story."}]}


def until(holds: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait until a condition holds, or fail."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def health(running: Running) -> dict[str, Any]:
    """What /healthz says."""
    found: dict[str, Any] = get(running.url + "/healthz").json()
    return found


def test_a_changed_file_is_followed_and_a_bad_one_is_not(tmp_path: Path) -> None:
    """A new key works within seconds; a mistake keeps the old policy and names its line."""
    key, second = Key.new(), Key.new()
    with simulator(tmp_path) as provider:
        config = config_for(provider.url, tmp_path, key)
        path = tmp_path / "weir.yaml"
        with gateway(tmp_path, config) as running:

            def status(made: Key) -> int:
                with http(running.url, authorization=f"Bearer {made.secret}") as client:
                    return client.get("/v1/models").status_code

            assert (status(key), status(second)) == (200, 401)
            teams = "teams: { support: { keys: [main, second], budget: 100 per month } }"
            more = config_for(provider.url, tmp_path, key, teams, f"  second: {second.hash}")
            path.write_text(more)
            until(lambda: status(second) == 200)
            assert health(running) == {"status": "ok", "config": "current"}

            broken = more.replace("mode: route", "mode: rout")
            line = next(n for n, row in enumerate(broken.splitlines(), 1) if "mode: rout" in row)
            path.write_text(broken)
            os.kill(running.process.pid, signal.SIGHUP)
            until(lambda: health(running)["config"] == "stale")
            reason = health(running)["reason"]
            assert f"weir.yaml:{line}" in reason
            assert "routing.mode" in reason
            assert (status(key), status(second)) == (200, 200)

            path.write_text("upstreams: [")
            os.kill(running.process.pid, signal.SIGHUP)
            until(lambda: "routing.mode" not in health(running)["reason"])
            assert (status(key), status(second)) == (200, 200)

            path.write_text(config.replace("weir.db", "other.db"))
            os.kill(running.process.pid, signal.SIGHUP)
            until(lambda: "database" in health(running)["reason"])

            path.write_text(config)
            os.kill(running.process.pid, signal.SIGHUP)
            until(lambda: health(running)["config"] == "current")
            assert (status(key), status(second)) == (200, 401)
            with http(running.url, authorization=f"Bearer {key.secret}") as client:
                assert client.post("/v1/chat/completions", json=BODY).status_code == 200
        assert "Traceback" not in running.log.read_text()


class Reading(threading.Thread):
    """A stream being read beside the test."""

    def __init__(self, house: House, body: dict[str, object]) -> None:
        super().__init__(daemon=True)
        self._house, self._body = house, body
        self.data = b""
        self.status = 0
        self.request_id = ""
        self.begun = threading.Event()

    def run(self) -> None:
        """Read to the end, or until the connection breaks."""
        with (
            contextlib.suppress(httpx.HTTPError),
            self._house.client() as client,
            client.stream(
                "POST", "/v1/chat/completions", json={**self._body, "stream": True}
            ) as answer,
        ):
            self.status = answer.status_code
            self.request_id = answer.headers["x-weir-request-id"]
            for piece in answer.iter_raw():
                self.data += piece
                self.begun.set()


def test_sigterm_lets_streams_finish_and_exits_0(tmp_path: Path) -> None:
    """Readiness fails at once, new requests get 503, the stream ends whole, all is settled."""
    key = Key.new()
    with simulator(tmp_path, "--per-token-ms", "30") as provider:
        config = config_for(provider.url, tmp_path, key)
        with gateway(tmp_path, config) as running:
            house = House(provider, running, key, tmp_path)
            kept = house.client()
            assert kept.get("/v1/models").status_code == 200  # a connection that stays open
            reading = Reading(house, {**BODY, "max_tokens": 60})
            reading.start()
            assert reading.begun.wait(20)
            running.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            with contextlib.suppress(httpx.HTTPError):  # refused, closed, or told to go away
                late = kept.post("/v1/chat/completions", json=BODY)
                assert late.status_code == 503
                assert late.headers["retry-after"]
            reading.join(30)
            assert running.process.wait(30) == 0
        assert reading.data.endswith(b"data: [DONE]\n\n")
        totals = house.totals()
        assert totals["requests"] == 1
        assert totals["open_holds"] == 0
        served = get(provider.url + "/sim/served").json()["models"]
        assert totals["completion_tokens"] == sum(m["completion_tokens"] for m in served.values())


@pytest.mark.parametrize("drain_s", ["1", "0.5", "0"])
def test_a_stream_longer_than_the_drain_is_cut_with_an_error_and_settled(
    tmp_path: Path, drain_s: str
) -> None:
    """When the drain time is over the client is told, the row is written, the exit is 0."""
    key = Key.new()
    with simulator(tmp_path, "--per-token-ms", "200") as provider:
        config = (
            config_for(provider.url, tmp_path, key) + f"server: {{ drain_seconds: {drain_s} }}\n"
        )
        with gateway(tmp_path, config) as running:
            house = House(provider, running, key, tmp_path)
            reading = Reading(house, BODY)
            reading.start()
            assert reading.begun.wait(20)
            assert running.stop() == 0
            reading.join(10)
        assert b"[DONE]" not in reading.data
        assert b'"error"' in reading.data
        totals = house.totals()
        assert (totals["requests"], totals["open_holds"]) == (1, 0)
        assert float(str(totals["cost"])) > 0


def test_after_kill_9_every_request_the_provider_served_has_one_row(tmp_path: Path) -> None:
    """Streams open at a kill -9 become orphans at their hold, settled rows stay, none twice."""
    key = Key.new()
    with simulator(tmp_path, "--per-token-ms", "20") as provider:
        config = config_for(provider.url, tmp_path, key)
        with gateway(tmp_path, config) as running:
            house = House(provider, running, key, tmp_path)
            with house.client() as client:
                done = [
                    client.post("/v1/chat/completions", json={**BODY, "max_tokens": 3}).headers[
                        "x-weir-request-id"
                    ]
                    for _ in range(5)
                ]
            readers = [Reading(house, {**BODY, "seed": n}) for n in range(6)]
            for reader in readers:
                reader.start()
            assert all(reader.begun.wait(20) for reader in readers)
            running.stop(signal.SIGKILL)
            for reader in readers:
                reader.join(20)
        cut = [reader.request_id for reader in readers]
        until(lambda: get(provider.url + "/sim/served").json()["requests"] == 11)
        began = time.monotonic()
        with gateway(tmp_path, config) as again:
            restarted = time.monotonic() - began
            house = House(provider, again, key, tmp_path)
            with house.client() as client:
                rows = client.get("/weir/receipts?limit=1000").json()["data"]
                budget = client.get("/weir/budgets").json()["data"][0]
                assert client.post("/v1/chat/completions", json=BODY).status_code == 200
        ids = [row["request_id"] for row in rows]
        assert sorted(ids) == sorted(done + cut)
        by_id = {row["request_id"]: row for row in rows}
        assert {by_id[one]["state"] for one in done} == {"settled"}
        assert {by_id[one]["state"] for one in cut} == {"orphan"}
        assert all(float(by_id[one]["cost_usd"]) > 0 for one in cut)
        assert float(budget["held_usd"]) == 0
        assert float(budget["spent_usd"]) == pytest.approx(
            sum(float(row["cost_usd"]) for row in rows)
        )
        assert restarted < 30  # a bound for a busy machine; benchmarks measure the start


def test_a_second_gateway_on_the_same_database_is_refused(tmp_path: Path) -> None:
    """Two processes never write one ledger: the second says why and exits 2."""
    key = Key.new()
    config = config_for("http://127.0.0.1:9", tmp_path, key)
    with gateway(tmp_path, config):
        command = [sys.executable, "-m", "gateway", "serve", "--port", str(free_port())]
        done = subprocess.run(
            [*command, "--config", str(tmp_path / "weir.yaml")],
            capture_output=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 2
    said = done.stderr.decode().splitlines()
    assert len(said) == 1, said
    assert "another process" in said[0]


def test_that_it_serves_is_said_once_it_does(tmp_path: Path) -> None:
    """Whoever reads the address on stderr can connect to it."""
    (tmp_path / "weir.yaml").write_text(config_for("http://127.0.0.1:9", tmp_path, Key.new()))
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0"]
    with subprocess.Popen(
        [*command, "--config", str(tmp_path / "weir.yaml")], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        url = process.stderr.readline().removeprefix("weir: serving on ").strip()
        try:
            assert get(url + "/readyz").json() == {"status": "ready"}
        finally:
            process.terminate()
        assert process.wait(30) == 0


def test_a_port_that_is_taken_is_said_plainly(tmp_path: Path) -> None:
    """A busy port is exit 2 and one sentence with the remedy."""
    (tmp_path / "weir.yaml").write_text(config_for("http://127.0.0.1:9", tmp_path, Key.new()))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [
                sys.executable, "-m", "gateway", "serve", "--port", str(port),
                "--config", str(tmp_path / "weir.yaml"),
            ],
            capture_output=True, check=False,
            timeout=60,
        )  # fmt: skip
    assert done.returncode == 2
    assert b"choose another --port" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("upstream: google", "upstream: gogle"), "did you mean 'google'"),
        (("api_key: sk-sim", "api_key: ${WEIR_TEST_UNSET}"), "export WEIR_TEST_UNSET"),
    ],
)
def test_a_configuration_with_a_mistake_starts_nothing(
    tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    """Exit 2, file, line and fix on stderr, no trace."""
    config = config_for("http://127.0.0.1:9", tmp_path, Key.new())
    assert change[0] in config
    path = tmp_path / "weir.yaml"
    path.write_text(config.replace(*change, 1))
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "--config", str(path), "--port", "0"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    stderr = done.stderr.decode()
    assert done.returncode == 2
    assert says in stderr
    assert f"{path}:" in stderr
    assert "Traceback" not in stderr


def test_serving_direct_upstreams_imports_nothing_heavy(tmp_path: Path) -> None:
    """An app that is built, started and stopped has not imported torch, litellm or streamlit."""
    path = tmp_path / "weir.yaml"
    path.write_text(config_for("http://127.0.0.1:9", tmp_path, Key.new()))
    code = """
import asyncio, json, pathlib, sys
from gateway.app import create_app
from gateway.settings import parse
path = pathlib.Path(sys.argv[1])
app = create_app(parse(path.read_text(), str(path)), settings_path=path)
async def run():
    await app.start()
    await asyncio.sleep(0.2)
    await app.stop()
asyncio.run(run())
heavy = ("torch", "litellm", "streamlit", "sentence_transformers", "transformers", "sklearn",
         "pandas", "alembic", "altair", "scipy")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == []


def test_a_start_takes_seconds_not_tens_of_them(tmp_path: Path) -> None:
    """From process to /readyz stays far below what importing a heavy library would take."""
    (tmp_path / "weir.yaml").write_text(config_for("http://127.0.0.1:9", tmp_path, Key.new()))
    port = free_port()
    command = [
        sys.executable, "-m", "gateway", "serve", "--port", str(port),
        "--config", str(tmp_path / "weir.yaml"),
    ]  # fmt: skip
    began = os.times()
    running = start(command, f"http://127.0.0.1:{port}", "/readyz", tmp_path / "weir.log")
    assert running.stop() == 0
    ended = os.times()
    used = (ended.children_user + ended.children_system) - (
        began.children_user + began.children_system
    )
    assert used < 8  # CPU seconds, whatever else the machine is doing

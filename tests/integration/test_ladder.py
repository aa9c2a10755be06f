"""The ladder's actions on a real gateway: reject, throttle, approve, grants, messages."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from processes import House, Key, gateway, simulator

MID = "gpt-6.1-sol"
BODY = {"model": MID, "messages": [{"role": "user", "content": "Say a word."}], "max_tokens": 200}
NAMES = ("strict", "old", "slow", "asks", "told", "free")
KEYS = {name: Key.new() for name in NAMES}


@dataclass(frozen=True)
class Ladders:
    """A house whose teams have ladders, and what its webhook was told."""

    house: House
    told: list[dict[str, object]]

    def ask(self, name: str, **headers: str) -> httpx.Response:
        """One request of a team."""
        known = {"authorization": f"Bearer {KEYS[name].secret}", **headers}
        with self.house.client(**known) as client:
            return client.post("/v1/chat/completions", json=BODY)

    def budget(self, name: str) -> dict[str, object]:
        """The tightest budget of a team's key."""
        with self.house.client(authorization=f"Bearer {KEYS[name].secret}") as client:
            found: dict[str, object] = client.get("/weir/budgets").json()["data"][0]
        return found

    def weir(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One command on the same configuration."""
        command = [sys.executable, "-m", "gateway", *words]
        config = str(self.house.folder / "weir.yaml")
        return subprocess.run(
            [*command, "--config", config], capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture(scope="module")
def webhook() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """Where messages arrive."""
    told: list[dict[str, object]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Note the message."""
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", told
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def ladders(
    tmp_path_factory: pytest.TempPathFactory, webhook: tuple[str, list[dict[str, object]]]
) -> Iterator[Ladders]:
    """Six teams; what each may spend is a few requests."""
    folder = tmp_path_factory.mktemp("ladders")
    url, told = webhook
    hashes = "\n".join(f"  {name}: {made.hash}" for name, made in KEYS.items())
    config = f"""
database: sqlite:///{folder}/weir.db
upstreams: {{ openai: {{ kind: openai, base_url: "%s/v1", api_key: k, provider: openai }} }}
models: {{ {MID}: {{ upstream: openai, tier: mid }} }}
notify: {{ webhook: "{url}" }}
ladders:
  strict: {{ 10%%: reject }}
  old:    {{ "100%%": {{ reject: 429 }} }}
  slow:   {{ 0%%: {{ throttle: 50%% }} }}
  asks:   {{ 1%%: approve }}
  told:   {{ 1%%: notify, 90%%: notify }}
teams:
  strict: {{ budget: 0.01 per day, at: strict, keys: [strict] }}
  old:    {{ budget: 0.001 per day, at: old, keys: [old] }}
  slow:   {{ budget: 10 per day, at: slow, keys: [slow] }}
  asks:   {{ budget: 0.03 per day, at: asks, keys: [asks] }}
  told:   {{ budget: 0.02 per day, at: told, keys: [told] }}
  free:   {{ keys: [free] }}
keys:
{hashes}
"""
    with (
        simulator(folder) as provider,
        gateway(folder, config % provider.url) as running,
    ):
        yield Ladders(House(provider, running, KEYS["free"], folder), told)


def eventually(check: object, limit_s: float = 10) -> None:
    """Wait until ``check()`` is true."""
    deadline = time.monotonic() + limit_s
    while not check():  # type: ignore[operator]  # a callable
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.05)


def in_seconds(seconds: int) -> str:
    """An instant from now on, as the command takes it."""
    at = time.time() + seconds  # noqa: TID251 - the gateway's clock is the wall's
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def test_reject_stops_new_requests_at_its_threshold(ladders: Ladders) -> None:
    """At 10% of the budget the ladder refuses with 402, though the limit is far."""
    statuses = [ladders.ask("strict").status_code for _ in range(12)]
    assert statuses[0] == 200
    assert statuses[-1] == 402
    refused = ladders.ask("strict")
    error = refused.json()["error"]
    assert (error["code"], error["budget"]) == ("budget_exhausted", "strict/day")
    assert Decimal(error["spent_usd"]) >= Decimal("0.001")
    assert refused.headers["x-should-retry"] == "false"


def test_reject_429_is_for_old_clients(ladders: Ladders) -> None:
    """What would be a 402 is a 429 that says when the budget resets."""
    answer = ladders.ask("old")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 86_400
    assert answer.json()["error"]["code"] == "rate_limited"


def test_throttle_lets_its_share_pass(ladders: Ladders) -> None:
    """Of forty requests about half are answered; the others are told to come back."""
    answers = [ladders.ask("slow") for _ in range(40)]
    passed = [answer for answer in answers if answer.status_code == 200]
    held_back = [answer for answer in answers if answer.status_code == 429]
    assert len(passed) + len(held_back) == 40
    assert 8 <= len(passed) <= 32
    assert {answer.headers["retry-after"] for answer in held_back} == {"5"}
    budget = ladders.budget("slow")
    assert Decimal(str(budget["held_usd"])) == 0


def test_approve_asks_for_a_grant_and_a_grant_lets_pass(ladders: Ladders) -> None:
    """402 with the command to run; after it requests pass, the file and the limit untouched."""
    config = (ladders.house.folder / "weir.yaml").read_text()
    while (answer := ladders.ask("asks")).status_code == 200:
        pass
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (402, "approval_required")
    assert "weir policy grant asks" in error["message"]
    before = Decimal(str(ladders.budget("asks")["limit_usd"]))
    until = in_seconds(600)
    done = ladders.weir("policy", "grant", "asks", "0.05", "--until", until, "--why", "launch")
    assert done.returncode == 0, done.stderr
    eventually(lambda: ladders.ask("asks").status_code == 200)
    assert Decimal(str(ladders.budget("asks")["limit_usd"])) == before + Decimal("0.05")
    assert (ladders.house.folder / "weir.yaml").read_text() == config
    assert "grant" in ladders.house.gateway.log.read_text()


def test_a_grant_ends_by_itself(ladders: Ladders) -> None:
    """Once its time is over the limit is what the policy says."""
    before = Decimal(str(ladders.budget("strict")["limit_usd"]))
    until = in_seconds(5)
    done = ladders.weir("policy", "grant", "strict", "7", "--until", until, "--why", "x")
    assert done.returncode == 0, done.stderr

    def limit() -> Decimal:
        return Decimal(str(ladders.budget("strict")["limit_usd"]))

    eventually(lambda: limit() == before + 7)
    eventually(lambda: limit() == before, 15)


def test_a_rung_is_told_once_to_the_webhook_and_the_log(ladders: Ladders) -> None:
    """Many requests over the threshold make one message with budget, rung and figures."""
    for _ in range(6):
        assert ladders.ask("told").status_code == 200

    def mine() -> list[dict[str, object]]:
        return [row for row in ladders.told if row["budget"] == "told/day"]

    eventually(mine)
    time.sleep(0.3)
    assert [row["rung"] for row in mine()] == ["1%"]
    assert mine()[0]["limit_usd"] == "0.02"
    log = ladders.house.gateway.log.read_text()
    assert log.count("Budget told/day has reached 1%") == 1
    assert "/hook" not in log


def test_a_key_without_a_ladder_goes_on(ladders: Ladders) -> None:
    """Other teams' ladders are no business of its."""
    assert ladders.ask("free").status_code == 200

"""Requests and tokens a minute and requests at once: 429 with the time to wait."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from engines import valkey
from processes import House, Key, config_for, gateway, house_in, simulator

pytestmark = pytest.mark.slow

MID = "gpt-6.1-sol"
BODY = {"model": MID, "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 20}


def ask(house: House, body: dict[str, object] | None = None) -> httpx.Response:
    """One request on a connection of its own."""
    with house.client() as client:
        return client.post("/v1/chat/completions", json=body or BODY)


def teams(limits: str) -> str:
    """One team with limits."""
    return f"teams: {{ support: {{ keys: [main], limits: {{ {limits} }} }} }}"


def beginning_of_a_minute() -> None:
    """Wait where a window is about to end, so that a test lies within one."""
    left = 60 - time.time() % 60  # noqa: TID251 - windows are of wall time
    if left < 10:
        time.sleep(left)


def test_requests_a_minute(tmp_path: Path) -> None:
    """The eleventh request of a minute is refused with 429 and a time to wait; none is billed."""
    with house_in(tmp_path, teams("rpm: 10")) as house:
        beginning_of_a_minute()
        answers = [ask(house) for _ in range(13)]
        assert [answer.status_code for answer in answers] == [200] * 10 + [429] * 3
        late = answers[-1]
        assert 1 <= int(late.headers["retry-after"]) <= 60
        assert late.json()["error"]["code"] == "rate_limited"
        assert "limits.rpm" in late.json()["error"]["message"]
        totals = house.totals()
        assert (totals["requests"], totals["open_holds"]) == (10, 0)


def test_tokens_a_minute(tmp_path: Path) -> None:
    """Prompt and completion tokens count together; what can never fit is told so."""
    with house_in(tmp_path, teams("tpm: 300")) as house:
        beginning_of_a_minute()
        long = {**BODY, "messages": [{"role": "user", "content": "word " * 400}]}
        refused = ask(house, long)
        assert refused.status_code == 429
        assert "make it shorter" in refused.json()["error"]["message"]
        seen = [ask(house).status_code for _ in range(30)]
        assert seen[0] == 200
        assert seen[-1] == 429
        totals = house.totals()
        used = int(str(totals["prompt_tokens"])) + int(str(totals["completion_tokens"]))
        assert 200 < used <= 330


def test_requests_at_once(tmp_path: Path) -> None:
    """A third request beside two is refused; when one has ended there is room again."""
    with house_in(tmp_path, teams("concurrency: 2"), "--per-token-ms", "40") as house:
        with ThreadPoolExecutor(6) as pool:
            seen = Counter(pool.map(lambda _: ask(house).status_code, range(6)))
        assert seen == {200: 2, 429: 4}
        assert ask(house).status_code == 200


def test_a_cancelled_stream_leaves_its_seat(tmp_path: Path) -> None:
    """A client that goes away in the middle makes room."""
    with house_in(tmp_path, teams("concurrency: 1"), "--per-token-ms", "40") as house:
        for _ in range(3):
            with (
                house.client() as client,
                client.stream(
                    "POST", "/v1/chat/completions", json={**BODY, "stream": True}
                ) as answer,
            ):
                assert answer.status_code == 200
                next(answer.iter_raw())
            deadline = time.monotonic() + 5
            while house.totals()["open_holds"] and time.monotonic() < deadline:
                time.sleep(0.05)
        time.sleep(0.5)
        assert ask(house).status_code == 200


@pytest.mark.parametrize("shared", ["file", "valkey"])
def test_workers_count_together(tmp_path: Path, shared: str) -> None:
    """Three workers let through as many requests a minute and at once as one would."""
    key = Key.new()
    with contextlib.ExitStack() as stack:
        provider = stack.enter_context(simulator(tmp_path, "--per-token-ms", "10"))
        config = config_for(provider.url, tmp_path, key, teams("rpm: 12, concurrency: 5"))
        if shared == "valkey":
            config += f"\nshared_state: {stack.enter_context(valkey())}\n"
        running = stack.enter_context(gateway(tmp_path, config, "--workers", "3"))
        house = House(provider, running, key, tmp_path)
        time.sleep(2.0)
        beginning_of_a_minute()
        seen: Counter[int] = Counter()
        gate = threading.Barrier(10)

        def at_once(_: int) -> int:
            gate.wait()
            return ask(house).status_code

        with ThreadPoolExecutor(10) as pool:
            first = Counter(pool.map(at_once, range(10)))
        assert first == {200: 5, 429: 5}
        for _ in range(12):
            seen[ask(house).status_code] += 1
        assert seen == {200: 7, 429: 5}

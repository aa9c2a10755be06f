"""Under load and in every kind of failure no secret and no prompt leaves its place."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import FAULTS, FaultServer
from processes import House, Key, Running, gateway, http, simulator

PROVIDER_KEY, OTHER_KEY = "sk-canary-provider-7f3a", "sk-canary-refused-91bd"
PROMPT = "canary-prompt-xylophone-4417"
STRANGER = "weir-canary-stranger-55c0"
FAULTY = ("e401", "e400-secret", "e500", "reset", "html502", "s-error-secret", "s-clean-cut")


def config(folder: Path, provider: str, faulty: str, keys: dict[str, Key]) -> str:
    """Both wires, a refused credential, and a provider that repeats credentials."""
    faults = "\n".join(
        f'  "{name}": {{ upstream: faulty, price: {{ input: 1, output: 2 }} }}' for name in FAULTY
    )
    named = "\n".join(f"  {name}: {key.hash}" for name, key in keys.items())
    return f"""
database: sqlite:///{folder}/weir.db
upstreams:
  openai: {{ kind: openai, base_url: "{provider}/v1", api_key: {PROVIDER_KEY}, provider: openai }}
  claude: {{ kind: anthropic, base_url: "{provider}", api_key: {PROVIDER_KEY} }}
  wrong: {{ kind: openai, base_url: "{provider}/v1", api_key: {OTHER_KEY}, retries: 0 }}
  faulty: {{ kind: openai, base_url: "{faulty}/v1", api_key: sk-fault-secret, retries: 0 }}
models:
  gpt-6-luna: {{ upstream: openai, tier: small }}
  gpt-6.1-sol: {{ upstream: openai, tier: mid }}
  claude-haiku-5-5: {{ upstream: claude, tier: mid }}
  wrong: {{ upstream: wrong, price: {{ input: 1, output: 2 }} }}
{faults}
routing: {{ mode: route, baseline: gpt-6.1-sol }}
limits: {{ max_output: 400 }}
teams:
  one: {{ keys: [first, second], budget: 100 per month }}
  two: {{ keys: [third], budget: 100 per month }}
keys:
{named}
"""


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[tuple[House, dict[str, Key], Running, FaultServer]]:
    """A house with three keys of two teams."""
    keys = {name: Key.new() for name in ("first", "second", "third")}
    with simulator(tmp_path, "--api-key", PROVIDER_KEY) as provider, FaultServer(FAULTS) as faulty:
        text = config(tmp_path, provider.url, faulty.url, keys)
        with gateway(tmp_path, text) as running:
            yield House(provider, running, keys["first"], tmp_path), keys, provider, faulty


def requests(keys: dict[str, Key]) -> list[tuple[str, str, dict[str, Any]]]:
    """Credential, path and body of every kind of request."""
    chat = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 60}
    found: list[tuple[str, str, dict[str, Any]]] = []
    for model in ("gpt-6-luna", "auto", "claude-haiku-5-5", "wrong", "nowhere", *FAULTY):
        for stream in (False, True):
            body = {**chat, "model": model, "stream": stream}
            found.append((keys["first"].secret, "/v1/chat/completions", body))
            found.append((keys["third"].secret, "/v1/messages", body))
    spoken = {"model": "gpt-6-luna", "input": PROMPT}
    found.append((keys["second"].secret, "/v1/responses", spoken))
    found.append((keys["second"].secret, "/v1/embeddings", spoken))
    found.append((keys["second"].secret, "/weir/explain", {**chat, "model": "auto"}))
    found.append((STRANGER, "/v1/chat/completions", {**chat, "model": "auto"}))
    found.append((keys["first"].secret, "/v1/chat/completions", {"model": PROMPT, "messages": 5}))
    found.append(
        (keys["first"].secret, "/v1/messages", {"model": "wrong", "system": {"a": PROMPT}})
    )
    return found


def test_no_secret_and_no_prompt_is_found_anywhere(
    parts: tuple[House, dict[str, Key], Running, FaultServer],
) -> None:
    """Logs, metrics, errors, database and journal are searched after a load of all kinds."""
    house, keys, _, _ = parts
    secrets = [PROVIDER_KEY, OTHER_KEY, "sk-fault-secret", *(key.secret for key in keys.values())]

    def ask(one: tuple[str, str, dict[str, Any]]) -> tuple[int, str]:
        secret, path, body = one
        with http(house.gateway.url, **{"x-api-key": secret}) as client:
            answer = client.post(path, json=body)
            return answer.status_code, answer.text + str(dict(answer.headers))

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, requests(keys) * 4))
    assert {status for status, _ in answers} >= {200, 400, 401, 404, 502}
    for status, text in answers:
        assert not [secret for secret in [*secrets, STRANGER] if secret in text]
        assert status == 200 or "Traceback" not in text
    with house.client() as client:
        page = client.get("/metrics").text
        receipts = client.get("/weir/receipts?limit=1000").text
    house.gateway.stop()
    stored = [page, receipts, house.gateway.log.read_bytes().decode("utf-8", "replace")]
    files = [p for p in house.folder.rglob("*") if p.is_file() and p.name != "weir.yaml"]
    stored += [p.read_bytes().decode("latin-1") for p in files]
    assert any("weir.db" in p.name for p in files)
    for text in stored:
        assert not [secret for secret in [*secrets, STRANGER, PROMPT] if secret in text]


def test_a_teams_receipts_are_its_own(
    parts: tuple[House, dict[str, Key], Running, FaultServer],
) -> None:
    """Another team's receipt is a 404, by name and by list."""
    house, keys, _, _ = parts
    body = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": PROMPT}]}
    with house.client() as first:
        request_id = first.post("/v1/chat/completions", json=body).headers["x-weir-request-id"]
        assert first.get(f"/weir/receipts/{request_id}").status_code == 200
    with http(house.gateway.url, **{"x-api-key": keys["third"].secret}) as third:
        for path in ("", "/audit", "/original"):
            assert third.get(f"/weir/receipts/{request_id}{path}").status_code == 404
        assert third.get("/weir/receipts").json()["data"] == []


def test_keys_and_credentials_change_without_a_restart(
    parts: tuple[House, dict[str, Key], Running, FaultServer],
) -> None:
    """A key that leaves the file is refused, a new one taken, a provider's credential replaced."""
    house, keys, provider, faulty = parts
    body = {"model": "wrong", "messages": [{"role": "user", "content": "x"}]}

    def status(secret: str) -> int:
        with http(house.gateway.url, **{"x-api-key": secret}) as client:
            answer: httpx.Response = client.post("/v1/chat/completions", json=body)
            return answer.status_code

    assert [status(keys[name].secret) for name in ("first", "second")] == [502, 502]
    fresh = {**keys, "second": Key.new()}
    text = config(house.folder, provider.url, faulty.url, fresh)
    (house.folder / "weir.yaml").write_text(text.replace(OTHER_KEY, PROVIDER_KEY))
    deadline = time.monotonic() + 20
    while status(keys["second"].secret) != 401 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert status(keys["second"].secret) == 401
    assert status(fresh["second"].secret) == 200, house.gateway.log.read_text()[-3000:]
    assert house.gateway.process.poll() is None

"""A team's region: its requests are served there, or refused; never elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import FaultServer, completion, plain
from processes import Key, gateway, http

KEY, FREE = Key.new(), Key.new()
CLAUDE = "claude-sonnet-5-5"
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": CLAUDE,
    "content": [{"type": "text", "text": "Fine."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 3, "inference_geo": "us"},
}
REST = "context_window: 100000, price: { input: 1, output: 2 }"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FaultServer, str]]:
    """One team bound to a region, one that is not."""
    folder: Path = tmp_path_factory.mktemp("region")
    answer = plain(200, completion())
    claude = plain(200, json.dumps(MESSAGE).encode())
    with FaultServer({"here": answer, "there": answer, "unsaid": answer, CLAUDE: claude}) as server:
        config = f"""
database: sqlite:///{folder}/weir.db
upstreams:
  eu: {{ kind: openai, base_url: "{server.url}/v1", region: eu }}
  us: {{ kind: openai, base_url: "{server.url}/v1", region: us }}
  unsaid: {{ kind: openai, base_url: "{server.url}/v1" }}
  anthropic: {{ kind: anthropic, base_url: "{server.url}", api_key: sk-a }}
models:
  here: {{ upstream: eu, tier: mid, fallbacks: [there, unsaid], {REST} }}
  there: {{ upstream: us, tier: mid, {REST} }}
  unsaid: {{ upstream: unsaid, tier: small, {REST} }}
  {CLAUDE}: {{ upstream: anthropic, tier: mid }}
teams:
  claims: {{ keys: [claims], region: eu }}
  free: {{ keys: [free] }}
keys: {{ claims: {KEY.hash}, free: {FREE.hash} }}
"""
        with gateway(folder, config) as running:
            yield server, running.url


def ask(url: str, key: Key, model: str) -> httpx.Response:
    """One small request."""
    body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "Why?"}]}
    with http(url, authorization=f"Bearer {key.secret}") as client:
        return client.post("/v1/chat/completions", json=body)


def test_a_model_elsewhere_is_refused(house: tuple[FaultServer, str]) -> None:
    """What is declared elsewhere, or nowhere, is a 403 that names what may be used."""
    server, url = house
    for model in ("there", "unsaid"):
        before = server.calls[model]
        refused = ask(url, KEY, model)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
        assert "in region 'eu': here, claude-sonnet-5-5" in refused.json()["error"]["message"]
        assert server.calls[model] == before
        assert ask(url, FREE, model).status_code == 200


def test_a_model_there_serves(house: tuple[FaultServer, str]) -> None:
    """Inside the region nothing is different, and `auto` finds only what is there."""
    server, url = house
    assert ask(url, KEY, "here").status_code == 200
    before = server.calls["there"] + server.calls["unsaid"]
    assert ask(url, KEY, "auto").status_code == 200
    assert server.calls["there"] + server.calls["unsaid"] == before


def test_anthropic_is_told_and_its_word_is_held_against_it(
    house: tuple[FaultServer, str],
) -> None:
    """The region goes up in the request; a reply that names another is said on the receipt."""
    server, url = house
    answer = ask(url, KEY, CLAUDE)
    assert answer.status_code == 200, answer.text
    assert json.loads(server.bodies[CLAUDE])["inference_geo"] == "eu"
    with http(url, authorization=f"Bearer {KEY.secret}") as client:
        found: dict[str, Any] = client.get(
            f"/weir/receipts/{answer.headers['x-weir-request-id']}"
        ).json()
    assert {"code": "region_differs", "wanted": "eu", "served": "us"} in found["reasons"]
    assert ask(url, FREE, CLAUDE).status_code == 200
    assert "inference_geo" not in json.loads(server.bodies[CLAUDE])

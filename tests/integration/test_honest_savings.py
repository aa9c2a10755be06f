"""Savings nobody believes: what a provider gives by itself is never claimed as ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fakes import USAGE, FaultServer, completion, plain
from processes import Key, gateway, http

MID, SMALL = "gpt-6.1-sol", "gpt-6-luna"
WHOLE, LIGHT = Key.new(), Key.new()
LIST_NANO = USAGE["prompt_tokens"] * 2_000 + USAGE["completion_tokens"] * 10_000


async def echo_tier(
    writer: asyncio.StreamWriter, reader: asyncio.StreamReader, asked: Mapping[str, Any]
) -> None:
    """An answer served in the tier that was asked for."""
    body = json.loads(completion())
    body["service_tier"] = asked.get("service_tier", "default")
    await plain(200, json.dumps(body).encode())(writer, reader, asked)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway whose provider serves the tier it is asked for; one key passes all."""
    folder = tmp_path_factory.mktemp("honest")
    with FaultServer({MID: echo_tier, SMALL: echo_tier}) as server:
        config = f"""
database: sqlite:///{folder}/weir.db
upstreams: {{ openai: {{ kind: openai, base_url: "{server.url}/v1", provider: openai }} }}
models:
  {MID}: {{ upstream: openai, tier: mid }}
  {SMALL}: {{ upstream: openai, tier: small }}
routing: {{ quality: {{ floor: 50%, unproven: route }} }}
teams:
  whole: {{ keys: [whole], forbid: [route, trim, compress, lossless] }}
  light: {{ keys: [light] }}
keys: {{ whole: {WHOLE.hash}, light: {LIGHT.hash} }}
"""
        with gateway(folder, config) as running:
            yield running.url


def receipt(url: str, key: Key, **more: object) -> dict[str, Any]:
    """The receipt of one small request."""
    body = {"model": MID, "messages": [{"role": "user", "content": "Say a word."}], **more}
    with http(url, authorization=f"Bearer {key.secret}") as client:
        answer: httpx.Response = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = client.get(
            f"/weir/receipts/{answer.headers['x-weir-request-id']}"
        ).json()
    return found


@pytest.mark.parametrize(("tier", "factor"), [("default", 2), ("flex", 1), ("priority", 4)])
def test_a_service_tier_is_claimed_as_our_saving(house: str, tier: str, factor: int) -> None:
    """An untouched request in a cheaper or dearer tier saves and loses nothing."""
    found = receipt(house, WHOLE, service_tier=tier, max_tokens=9)
    assert Decimal(found["cost_usd"]) == Decimal(LIST_NANO * factor // 2) / 10**9
    assert (found["baseline_usd"], found["saved_usd"]) == (found["cost_usd"], "0")


def test_a_routed_request_is_compared_in_the_tier_it_asked_for(house: str) -> None:
    """Tokenmaxxed is the model asked for in the tier asked for, not at its list price."""
    found = receipt(house, LIGHT, service_tier="flex", max_tokens=9)
    assert (found["served_model"], found["action"]) == (SMALL, "route")
    prompt, answer = found["tokens"]["original_prompt"], USAGE["completion_tokens"]
    assert Decimal(found["baseline_usd"]) == Decimal(prompt * 1_000 + answer * 5_000) / 10**9

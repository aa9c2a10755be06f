"""The whole way: a client, `weir serve`, a real model, a receipt that says what it cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI
from processes import Key, Running, gateway
from served import LocalModel

pytestmark = [pytest.mark.local_model, pytest.mark.timeout(400)]

INPUT_USD, OUTPUT_USD = Decimal("0.30"), Decimal("1.20")  # a million tokens
QUESTION = "What is the capital of France? Answer with one word."


@pytest.fixture(scope="module")
def key() -> Key:
    return Key.new()


@pytest.fixture(scope="module")
def weir(
    local_model: LocalModel, key: Key, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A gateway whose only upstream is the local model, which also writes its memories."""
    folder: Path = tmp_path_factory.mktemp("weir")
    config = f"""
version: 1
timezone: UTC
database: sqlite:///{folder}/weir.db
upstreams:
  local:
    kind: openai
    base_url: "{local_model.url}/v1"
    api_key: none
    timeouts: {{ first_byte: 200, idle: 200 }}
models:
  local-qwen:
    upstream: local
    tier: small
    context_window: 32768
    effective_context: 5000
    price: {{ input: {INPUT_USD}, output: {OUTPUT_USD} }}
routing: {{ mode: route, baseline: local-qwen }}
fit:
  allow: [compress]
  keep_recent: 256
  summarizer: {{ backend: openai, upstream: local, model: local-qwen }}
limits: {{ max_output: 64 }}
teams: {{ support: {{ keys: [main], budget: 10 per month }} }}
keys:
  main: {key.hash}
"""
    with gateway(folder, config) as running:
        yield running


@pytest.fixture
def client(weir: Running, key: Key) -> Iterator[OpenAI]:
    with OpenAI(base_url=weir.url + "/v1", api_key=key.secret, max_retries=0, timeout=300) as made:
        yield made


def receipt_of(weir: Running, key: Key, request_id: str) -> dict[str, Any]:
    """The settled receipt; a stream's is written just after its last byte."""
    for _ in range(100):
        reply = httpx.get(
            f"{weir.url}/weir/receipts/{request_id}",
            headers={"authorization": f"Bearer {key.secret}"},
            timeout=10,
        )
        if reply.status_code == 200 and reply.json()["state"] == "settled":
            found: dict[str, Any] = reply.json()
            return found
        time.sleep(0.05)
    raise AssertionError(f"no settled receipt: {reply.status_code} {reply.text}")


def test_a_reply_and_its_receipt(client: OpenAI, weir: Running, key: Key) -> None:
    """The model's answer comes back, and the receipt prices the model's own usage."""
    raw = client.chat.completions.with_raw_response.create(
        model="local-qwen", messages=[{"role": "user", "content": QUESTION}], temperature=0
    )
    reply = raw.parse()
    assert "Paris" in (reply.choices[0].message.content or "")
    receipt = receipt_of(weir, key, raw.headers["x-weir-request-id"])
    assert reply.usage is not None
    used = reply.usage
    assert receipt["tokens"]["completion"] == used.completion_tokens
    assert receipt["usage_source"] == "provider"
    cost = (used.prompt_tokens * INPUT_USD + used.completion_tokens * OUTPUT_USD) / 10**6
    assert Decimal(receipt["cost_usd"]) == cost


def test_a_stream_and_its_receipt(client: OpenAI, weir: Running, key: Key) -> None:
    """A stream is billed by the usage that the gateway asked for and the client did not see."""
    with client.chat.completions.with_streaming_response.create(
        model="local-qwen", messages=[{"role": "user", "content": QUESTION}], temperature=0,
        stream=True,
    ) as raw:  # fmt: skip
        request_id = raw.headers["x-weir-request-id"]
        body = "".join(raw.iter_text())
    assert "Paris" in body
    assert "prompt_tokens" not in body
    receipt = receipt_of(weir, key, request_id)
    assert receipt["usage_source"] == "provider"
    assert receipt["tokens"]["completion"] > 0
    assert Decimal(receipt["cost_usd"]) > 0


def test_a_long_conversation_is_compressed_on_its_way(
    client: OpenAI, weir: Running, key: Key
) -> None:
    """Beyond its effective context the model gets memories of old turns, the newest whole."""
    idle = "The weather was fair and there was little else to tell of that day. " * 18
    question = "Who repaired the mast of ship 77, and what came of it afterwards?"
    turns: list[Any] = [
        {
            "role": "user" if number % 2 == 0 else "assistant",
            "content": f"On day {number} the crew of ship {number + 40} repaired the mast. {idle}",
        }
        for number in range(44)
    ]
    turns.append({"role": "user", "content": question})
    raw = client.chat.completions.with_raw_response.create(
        model="local-qwen", messages=turns, temperature=0
    )
    assert raw.parse().choices[0].message.content
    receipt = receipt_of(weir, key, raw.headers["x-weir-request-id"])
    assert "compress" in receipt["action"]
    assert receipt["tokens"]["original_prompt"] > 10_000
    assert receipt["tokens"]["sent_prompt"] < receipt["tokens"]["original_prompt"] / 2
    assert Decimal(receipt["saved_usd"]) > 0

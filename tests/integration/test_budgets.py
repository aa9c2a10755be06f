"""Budgets on a real socket: the answer when one is exhausted, and never a cent beyond."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from processes import House, Key, gateway, simulator

MID = "gpt-6.1-sol"
BODY = {"model": MID, "messages": [{"role": "user", "content": "Say a word."}], "max_tokens": 200}
KEYS = {name: Key.new() for name in ("tiny", "race", "streams", "people", "loose")}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Teams with little money on a provider that takes a moment to answer."""
    folder = tmp_path_factory.mktemp("budgets")
    key = Key.new()
    hashes = "\n".join(f"  {name}: {made.hash}" for name, made in KEYS.items())
    config = f"""
timezone: Europe/Berlin
database: sqlite:///{folder}/weir.db
upstreams: {{ openai: {{ kind: openai, base_url: "%s/v1", api_key: k, provider: openai }} }}
models: {{ {MID}: {{ upstream: openai, tier: mid }} }}
limits: {{ max_output: 400 }}
teams:
  support:
    budget: 1000 per month
    projects:
      tiny: {{ budget: 0.0001 per month, keys: [tiny] }}
  race: {{ budget: 0.02 per day, keys: [race] }}
  streams: {{ budget: 0.02 per day, keys: [streams] }}
  people: {{ budget: 0.005 per user per day, keys: [people] }}
  loose: {{ keys: [loose, main] }}
keys:
  main: {key.hash}
{hashes}
"""
    with (
        simulator(folder, "--ttft-ms", "40") as provider,
        gateway(folder, config % provider.url) as running,
    ):
        yield House(provider, running, key, folder)


def as_key(name: str) -> dict[str, str]:
    """The headers of a team's key."""
    return {"authorization": f"Bearer {KEYS[name].secret}"}


def test_an_exhausted_budget_is_a_402_that_says_which_and_until_when(house: House) -> None:
    """Budget, spent, held, limit and reset stand in the error; the client must not retry."""
    with house.client(**as_key("tiny")) as client:
        answer = client.post("/v1/chat/completions", json=BODY)
    assert answer.status_code == 402
    assert answer.headers["x-should-retry"] == "false"
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("budget_exhausted", "budget_exhausted")
    assert error["budget"] == "support/tiny/month"
    assert Decimal(error["limit_usd"]) == Decimal("0.0001")
    assert Decimal(error["spent_usd"]) == 0
    assert Decimal(error["held_usd"]) == 0
    assert error["resets_at"].startswith("20")
    assert error["resets_at"].endswith("+01:00")  # the zone of the file, not of the machine
    assert error["request_id"] == answer.headers["x-weir-request-id"]
    assert "support/tiny" in error["message"]


def test_the_sdk_does_not_retry_an_exhausted_budget(house: House) -> None:
    """The OpenAI SDK with its default retries gives up at once."""
    with (
        OpenAI(base_url=house.gateway.url + "/v1", api_key=KEYS["tiny"].secret) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.chat.completions.create(
            model=MID, messages=[{"role": "user", "content": "x"}], max_tokens=200
        )
    assert caught.value.status_code == 402


def test_a_request_may_name_its_own_ceiling(house: House) -> None:
    """x-weir-max-cost-usd refuses a request that could cost more, and says so."""
    with house.client(**{"x-weir-max-cost-usd": "0.000001"}) as client:
        answer = client.post("/v1/chat/completions", json=BODY)
        assert answer.status_code == 402
        assert "x-weir-max-cost-usd" in answer.json()["error"]["message"]
    with house.client(**{"x-weir-max-cost-usd": "1"}) as client:
        assert client.post("/v1/chat/completions", json=BODY).status_code == 200


async def burst(house: House, name: str, count: int, body: dict[str, Any]) -> list[int]:
    """The statuses of ``count`` requests at once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with httpx.AsyncClient(
        base_url=house.gateway.url, headers=as_key(name), timeout=60, verify=context
    ) as client:

        async def one(n: int) -> int:
            content = {**body, "messages": [{"role": "user", "content": f"Say word {n}."}]}
            return (await client.post("/v1/chat/completions", json=content)).status_code

        return list(await asyncio.gather(*(one(n) for n in range(count))))


@pytest.mark.parametrize(("name", "stream"), [("race", False), ("streams", True)])
async def test_fifty_at_once_never_overspend(house: House, name: str, stream: bool) -> None:
    """Of fifty concurrent requests as many pass as fit; spent stays under, held returns to 0."""
    statuses = await burst(house, name, 50, {**BODY, "stream": stream})
    assert set(statuses) == {200, 402}
    more = [200]
    while 200 in more:
        more = await burst(house, name, 8, {**BODY, "stream": stream})
        statuses += more
    with house.client(**as_key(name)) as client:
        budget = client.get("/weir/budgets").json()["data"][0]
        receipts = client.get("/weir/receipts?limit=1000").json()["data"]
    spent = sum(Decimal(receipt["cost_usd"]) for receipt in receipts)
    assert Decimal(budget["held_usd"]) == 0
    assert Decimal(budget["spent_usd"]) == spent
    assert spent <= Decimal(budget["limit_usd"])
    # What is left is less than one more request would have had to hold.
    assert Decimal(budget["left_usd"]) < Decimal("0.003")
    assert len([s for s in statuses if s == 200]) == len(receipts)
    log = house.gateway.log.read_text()
    assert "Traceback" not in log


def test_each_user_has_a_share_of_their_own(house: House) -> None:
    """A budget per user stops the one who spent it and nobody else."""
    with house.client(**as_key("people")) as client:

        def say(user: str) -> int:
            return client.post("/v1/chat/completions", json={**BODY, "user": user}).status_code

        ana = [say("ana") for _ in range(30)]
        assert ana[0] == 200
        assert ana[-1] == 402
        assert say("bea") == 200


def test_a_missing_limit_is_filled_so_that_the_hold_is_bounded(house: House) -> None:
    """Without max_tokens the policy's limit goes upstream in the provider's own field."""
    body = {"model": MID, "messages": [{"role": "user", "content": "Hi"}]}
    with house.client() as client:
        sent = client.post("/weir/explain", json=body).json()["would_send"]
        assert sent == {**body, "max_completion_tokens": 400}
        both = {**body, "max_tokens": 9000}
        assert client.post("/weir/explain", json=both).json()["would_send"] == {
            **body,
            "max_tokens": 400,
        }
        own = {**body, "max_tokens": 5}
        assert client.post("/weir/explain", json=own).json()["would_send"] == own


def test_budgets_are_listed_tightest_first(house: House) -> None:
    """GET /weir/budgets shows every window of the key's path with its figures."""
    with house.client(**as_key("tiny")) as client:
        found = client.get("/weir/budgets").json()["data"]
    assert [row["budget"] for row in found] == ["support/tiny/month", "support/month"] or {
        row["budget"] for row in found
    } == {"support/tiny/month", "support/month"}
    for row in found:
        assert Decimal(row["left_usd"]) == (
            Decimal(row["limit_usd"]) - Decimal(row["spent_usd"]) - Decimal(row["held_usd"])
        )
    json.dumps(found)

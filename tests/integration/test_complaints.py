"""What users of gateways complain about most where money is concerned, each as a test.

Every test is named after its complaint and runs against the real gateway; the provider's
own count (`/sim/served`) is the witness.
"""

from __future__ import annotations

import asyncio
import signal
import ssl
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from documents import prose
from fakes import USAGE, FaultServer, completion, plain
from processes import House, Key, config_for, gateway, get, http, simulator

MID = "gpt-6.1-sol"
SAY = {"model": MID, "messages": [{"role": "user", "content": "Say a word."}], "max_tokens": 200}
TEAMS = ("tight", "leaky", "plain", "priced", "keyed")
KEYS = {name: Key.new() for name in TEAMS}
MILLION = 1_000_000


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Teams with budgets of a few requests, on a provider that takes its time."""
    folder = tmp_path_factory.mktemp("complaints")
    key = Key.new()
    teams = """
teams:
  support: { keys: [main] }
  tight:   { keys: [tight], budget: 0.02 per day, forbid: [route, trim, compress, lossless] }
  leaky:   { keys: [leaky], budget: 0.02 per day, forbid: [route, trim, compress, lossless] }
  plain:   { keys: [plain], forbid: [route, trim, compress, lossless] }
  priced:  { keys: [priced], budget: 5 per day, forbid: [route, trim, compress, lossless] }
  keyed:   { keys: [keyed], budget: 5 per day, forbid: [route, trim, compress, lossless] }
"""
    keys = "\n".join(f"  {name}: {made.hash}" for name, made in KEYS.items())
    with simulator(folder, "--ttft-ms", "30", "--per-token-ms", "5") as provider:
        config = config_for(provider.url, folder, key, teams, keys)
        extra = "models:\n  nobody-knows:  { upstream: openai, tier: mid }"
        with gateway(folder, config.replace("models:", extra, 1)) as running:
            yield House(provider, running, key, folder)


def client_of(house: House, name: str, **headers: str) -> httpx.Client:
    """A client of one team."""
    return house.client(**{"authorization": f"Bearer {KEYS[name].secret}", **headers})


def receipt_of(client: httpx.Client, request_id: str) -> dict[str, Any]:
    """The receipt of a request."""
    answer = client.get(f"/weir/receipts/{request_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def budget_of(client: httpx.Client) -> dict[str, Decimal]:
    """The tightest budget's figures."""
    row = client.get("/weir/budgets").json()["data"][0]
    return {name: Decimal(row[f"{name}_usd"]) for name in ("spent", "held", "limit", "left")}


def until(holds: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait until a condition holds, or fail."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def served(house: House, model: str = MID) -> dict[str, int]:
    """What the provider says it served of a model."""
    found: dict[str, int] = get(house.provider.url + "/sim/served").json()["models"].get(model, {})
    return found


def test_cached_tokens_charged_twice(house: House) -> None:
    """A warm prompt is split: what the cache gave at its rate, the rest at the input's."""
    body = {
        "model": MID, "max_tokens": 20,
        "messages": [{"role": "user", "content": prose(30, seed=11)}],
    }  # fmt: skip
    with client_of(house, "plain") as client:
        ids = [
            client.post("/v1/chat/completions", json=body).headers["x-weir-request-id"]
            for _ in range(2)
        ]
        cold, warm = (receipt_of(client, one) for one in ids)
    assert cold["tokens"]["cached"] == 0
    lines = {line["component"]: line for line in warm["lines"]}
    assert lines["cache_read"]["quantity"] == warm["tokens"]["cached"] > 1000
    prompt = lines["cache_read"]["quantity"] + lines["input"]["quantity"]
    assert prompt == warm["tokens"]["sent_prompt"] == cold["tokens"]["sent_prompt"]
    expected = (
        Decimal(lines["input"]["quantity"]) * 2
        + Decimal(lines["cache_read"]["quantity"]) * Decimal("0.1")
        + Decimal(lines["output"]["quantity"]) * 10
    ) / MILLION
    assert Decimal(warm["cost_usd"]) == expected
    assert Decimal(warm["cost_usd"]) < Decimal(cold["cost_usd"]) / 2


def test_unknown_model_costs_nothing_so_budgets_never_fire(house: House) -> None:
    """A model that nobody knows the price of is refused before it is sent; nothing is $0."""
    before = get(house.provider.url + "/sim/served").json()["requests"]
    with client_of(house, "priced") as client:
        answer = client.post("/v1/chat/completions", json={**SAY, "model": "nobody-knows"})
        assert budget_of(client)["spent"] == 0
    assert answer.status_code == 402
    assert answer.json()["error"]["code"] == "price_missing"
    assert get(house.provider.url + "/sim/served").json()["requests"] == before


def test_unknown_tier_is_billed_as_the_standard_one(house: House) -> None:
    """A service tier without a price is refused; one with a price is held at its own."""
    with client_of(house, "priced") as client:
        refused = client.post("/v1/chat/completions", json={**SAY, "service_tier": "scale"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (402, "price_missing")
        most = {"x-weir-max-cost-usd": "0.003"}
        usual = client.post("/v1/chat/completions", json=SAY, headers=most)
        assert usual.status_code == 200
        dearer = client.post(
            "/v1/chat/completions", json={**SAY, "service_tier": "priority"}, headers=most
        )
    assert dearer.status_code == 402


@pytest.mark.slow
def test_a_ceiling_makes_unpriced_traffic_visible(tmp_path: Path) -> None:
    """With a declared ceiling it is booked there, counted, said on the receipt, and no saving."""
    key = Key.new()
    with FaultServer({"mystery": plain(200, completion())}) as server:
        config = f"""
database: sqlite:///{tmp_path}/weir.db
upstreams: {{ u: {{ kind: openai, base_url: "{server.url}/v1", provider: nobody }} }}
models: {{ mystery: {{ upstream: u, tier: mid, context_window: 100000 }} }}
prices: {{ unpriced: {{ input: 20, output: 80 }} }}
teams: {{ t: {{ keys: [main], budget: 1 per day }} }}
keys: {{ main: {key.hash} }}
"""
        with (
            gateway(tmp_path, config) as running,
            http(running.url, authorization=f"Bearer {key.secret}") as client,
        ):
            answer = client.post("/v1/chat/completions", json={**SAY, "model": "mystery"})
            assert answer.status_code == 200, answer.text
            receipt = receipt_of(client, answer.headers["x-weir-request-id"])
            spent = budget_of(client)["spent"]
            metrics = get(running.url + "/metrics").text
    cost = Decimal(USAGE["prompt_tokens"] * 20 + USAGE["completion_tokens"] * 80) / MILLION
    assert Decimal(receipt["cost_usd"]) == cost == spent
    assert all(line["rule"].startswith("unpriced:") for line in receipt["lines"])
    assert "unpriced" in [reason["code"] for reason in receipt["reasons"]]
    assert receipt["baseline_usd"] is None
    assert 'weir_unpriced_requests_total{model="mystery"} 1.0' in metrics


def test_stream_usage_lost(house: House) -> None:
    """A stream whose client asked for no usage is billed to the token the provider counted."""
    before = served(house)
    with client_of(house, "plain") as client:
        answer = client.post("/v1/chat/completions", json={**SAY, "stream": True})
        receipt = receipt_of(client, answer.headers["x-weir-request-id"])
    after = served(house)
    assert b'"usage":{' not in answer.content.replace(b" ", b"")
    assert receipt["usage_source"] == "provider"
    counted = {name: after[name] - before.get(name, 0) for name in after}
    assert receipt["tokens"]["sent_prompt"] == counted["prompt_tokens"]
    assert receipt["tokens"]["completion"] == counted["completion_tokens"]
    assert Decimal(receipt["cost_usd"]) > 0


def test_disconnects_are_free(house: House) -> None:
    """A client that leaves in the middle pays for what was made until then."""
    body = {**SAY, "max_tokens": 2000, "stream": True}
    with client_of(house, "plain") as client:
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            request_id = answer.headers["x-weir-request-id"]
            next(answer.iter_raw())
        until(lambda: client.get(f"/weir/receipts/{request_id}").status_code == 200)
        receipt = receipt_of(client, request_id)
    assert (receipt["status"], receipt["usage_source"]) == (499, "estimated")
    assert Decimal(receipt["cost_usd"]) > 0
    assert receipt["tokens"]["sent_prompt"] > 0


async def at_once(house: House, name: str, bodies: list[dict[str, Any]]) -> list[int]:
    """The statuses of requests sent at the same time."""
    async with httpx.AsyncClient(
        base_url=house.gateway.url,
        headers={"authorization": f"Bearer {KEYS[name].secret}"},
        timeout=60,
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    ) as client:
        answers = await asyncio.gather(
            *(client.post("/v1/chat/completions", json=body) for body in bodies)
        )
    return [answer.status_code for answer in answers]


async def test_budgets_are_bypassed_under_concurrency(house: House) -> None:
    """Sixty requests at once, streamed and not, spend what is there and not a nano more."""
    bodies = [{**SAY, "seed": n, "stream": n % 2 == 0} for n in range(60)]
    statuses = await at_once(house, "tight", bodies)
    assert set(statuses) == {200, 402}
    with client_of(house, "tight") as client:
        budget = budget_of(client)
        rows = client.get("/weir/receipts?limit=1000").json()["data"]
    assert budget["spent"] + budget["held"] <= budget["limit"]
    assert budget["spent"] == sum(Decimal(row["cost_usd"]) for row in rows)
    assert len(rows) == statuses.count(200)


async def test_leaked_reservations_trip_budgets_falsely(house: House) -> None:
    """After refusals, bad requests and clients that left, nothing is held and room is room."""
    with client_of(house, "leaky") as client:
        for body in (
            {**SAY, "max_tokens": 3900, "n": 8},  # too much for the budget
            {**SAY, "model": "gpt-nowhere"},
            {"model": MID, "messages": []},
            {**SAY, "messages": "no list"},
        ):
            assert client.post("/v1/chat/completions", json=body).status_code >= 400

        async def leave() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(at_once(house, "leaky", [SAY]), 0.02)

        for _ in range(6):
            await leave()
        until(lambda: budget_of(client)["held"] == 0)
        budget = budget_of(client)
        assert budget["left"] == budget["limit"] - budget["spent"]
        assert client.post("/v1/chat/completions", json={**SAY, "max_tokens": 5}).status_code == 200


@pytest.mark.slow
def test_a_restart_forgets_what_was_spent(tmp_path: Path) -> None:
    """Killed and started again, a budget stands where it stood; an open hold is charged."""
    key = Key.new()
    teams = "teams: { support: { keys: [main], budget: 0.01 per day } }"
    # Passed as it is: what a conversation taught the router is not part of this promise.
    caller = {"authorization": f"Bearer {key.secret}", "x-weir-mode": "pass"}
    with simulator(tmp_path) as provider:
        config = config_for(provider.url, tmp_path, key, teams)
        with gateway(tmp_path, config) as running:
            with http(running.url, **caller) as client:
                while client.post("/v1/chat/completions", json=SAY).status_code == 200:
                    pass
                before = budget_of(client)
            running.stop(signal.SIGKILL)
        with (
            gateway(tmp_path, config) as again,
            http(again.url, **caller) as client,
        ):
            assert budget_of(client) == before
            assert client.post("/v1/chat/completions", json=SAY).status_code == 402


def test_rewriting_a_prompt_breaks_the_cache_and_raises_the_bill(house: House) -> None:
    """A growing conversation never costs more than it would have cost whole and cached."""
    document = prose(60, seed=5)
    messages = [{"role": "user", "content": f"{document}\n\nWho is named first?"}]
    cost = whole = Decimal(0)
    with house.client(**{"x-weir-session": "cache-keeper"}) as client:
        for turn in range(5):
            body = {"model": MID, "messages": messages, "max_tokens": 60}
            answer = client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text
            receipt = receipt_of(client, answer.headers["x-weir-request-id"])
            cost += Decimal(receipt["cost_usd"])
            whole += Decimal(receipt["baseline_usd"])
            said = answer.json()["choices"][0]["message"]["content"]
            messages += [
                {"role": "assistant", "content": said},
                {"role": "user", "content": f"And what comes after that, in part {turn}?"},
            ]
    # A shadow cache knows a provider's blocks of 128 tokens no better than to one of them.
    assert cost <= whole + 5 * 128 * (Decimal(2) - Decimal("0.1")) / MILLION
    assert cost < 5 * Decimal("0.0164") / 2  # the cache was kept, not broken each turn


def test_provider_caching_is_claimed_as_our_saving(house: House) -> None:
    """Untouched requests, cached by the provider, save nothing: both sides are cached."""
    body = {
        "model": MID, "max_tokens": 20,
        "messages": [{"role": "user", "content": prose(40, seed=21)}],
    }  # fmt: skip
    with client_of(house, "plain") as client:
        for _ in range(3):
            answer = client.post("/v1/chat/completions", json=body)
            receipt = receipt_of(client, answer.headers["x-weir-request-id"])
            assert (receipt["action"], receipt["saved_usd"]) == ("pass", "0")
            assert receipt["cost_usd"] == receipt["baseline_usd"]
    assert receipt["tokens"]["cached"] > 1000


def test_losses_are_hidden(house: House) -> None:
    """What was paid beyond the baseline is a negative saving, not zero."""
    with (
        client_of(house, "plain") as client,
        client.stream(
            "POST", "/v1/chat/completions", json={**SAY, "max_tokens": 2000, "stream": True}
        ) as answer,
    ):
        request_id = answer.headers["x-weir-request-id"]
        next(answer.iter_raw())
    with client_of(house, "plain") as client:
        until(lambda: client.get(f"/weir/receipts/{request_id}").status_code == 200)
        receipt = receipt_of(client, request_id)
    assert Decimal(receipt["saved_usd"]) == -Decimal(receipt["cost_usd"]) < 0


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "请证明根号二是无理数，并解释每一步。"}],
        [{"role": "user", "content": "Докажите, что простых чисел бесконечно много."}],
    ],
    ids=["chinese", "russian"],
)
def test_absence_of_evidence_is_scored_as_simplicity(
    house: House, messages: list[dict[str, str]]
) -> None:
    """A prompt that the score knows nothing about keeps the model that was asked for."""
    body = {"model": MID, "messages": messages, "max_tokens": 30}
    with house.client() as client:
        answer = client.post("/v1/chat/completions", json=body)
    assert answer.headers["x-weir-model"] == MID


def test_a_retry_is_billed_twice(house: House) -> None:
    """Sent again under the same Idempotency-Key, a request is answered again and billed once."""
    before = served(house)["requests"]
    with client_of(house, "keyed", **{"Idempotency-Key": "order-1"}) as client:
        for body in (SAY, {**SAY, "stream": True}):
            client.headers["Idempotency-Key"] = f"order-{len(body)}"
            first, again = (client.post("/v1/chat/completions", json=body) for _ in range(2))
            assert first.status_code == again.status_code == 200, again.text
            assert again.content == first.content
            assert again.headers["content-type"] == first.headers["content-type"]
            assert again.headers["x-weir-request-id"] == first.headers["x-weir-request-id"]
            assert again.headers["x-weir-replayed"] == "true"
            other = client.post("/v1/chat/completions", json={**body, "max_tokens": 201})
            assert other.status_code == 422
            assert other.json()["error"]["code"] == "idempotency_key_reused"
        rows = client.get("/weir/receipts?limit=1000").json()["data"]
    assert served(house)["requests"] - before == 2
    assert len(rows) == 2


async def test_twins_at_once_are_billed_twice(house: House) -> None:
    """Of ten at the same time one is sent; the others wait (409) and then have its answer."""
    before = served(house)["requests"]
    headers = {"authorization": f"Bearer {KEYS['keyed'].secret}", "Idempotency-Key": "twins"}
    async with httpx.AsyncClient(
        base_url=house.gateway.url,
        headers=headers,
        timeout=60,
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    ) as client:
        answers = await asyncio.gather(
            *(client.post("/v1/chat/completions", json=SAY) for _ in range(10))
        )
        waiting = [answer for answer in answers if answer.status_code == 409]
        assert all(answer.headers["retry-after"] == "1" for answer in waiting)
        assert {answer.status_code for answer in answers} <= {200, 409}
        last = await client.post("/v1/chat/completions", json=SAY)
    assert last.status_code == 200
    assert served(house)["requests"] - before == 1


def test_a_client_that_lost_its_answer_pays_again(house: House) -> None:
    """It left in the middle; the request ran on, and its retry finds the whole answer."""
    before = served(house)["requests"]
    body = {**SAY, "stream": True}
    with client_of(house, "keyed", **{"Idempotency-Key": "lost"}) as client:
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            next(answer.iter_raw())
        found: list[httpx.Response] = []

        def answered() -> bool:
            found.append(client.post("/v1/chat/completions", json=body))
            return found[-1].status_code == 200

        until(answered)
        receipt = receipt_of(client, found[-1].headers["x-weir-request-id"])
    assert found[-1].content.rstrip().endswith(b"data: [DONE]")
    assert (receipt["status"], receipt["usage_source"]) == (200, "provider")
    assert served(house)["requests"] - before == 1


@pytest.mark.slow
def test_a_crash_makes_a_retry_pay_again(tmp_path: Path) -> None:
    """Kept results survive kill -9; what was in flight is charged once and not sent again."""
    key = Key.new()
    with simulator(tmp_path, "--per-token-ms", "20") as provider:
        config = config_for(provider.url, tmp_path, key)
        known = {"authorization": f"Bearer {key.secret}"}
        with gateway(tmp_path, config) as running:
            with http(running.url, **known, **{"Idempotency-Key": "whole"}) as client:
                first = client.post("/v1/chat/completions", json={**SAY, "max_tokens": 3})
                assert first.status_code == 200
            with (
                http(running.url, **known, **{"Idempotency-Key": "cut"}) as client,
                client.stream(
                    "POST", "/v1/chat/completions", json={**SAY, "stream": True}
                ) as answer,
            ):
                next(answer.iter_raw())
                running.stop(signal.SIGKILL)
        with gateway(tmp_path, config) as again:
            with http(again.url, **known, **{"Idempotency-Key": "whole"}) as client:
                replayed = client.post("/v1/chat/completions", json={**SAY, "max_tokens": 3})
            with http(again.url, **known, **{"Idempotency-Key": "cut"}) as client:
                gone = client.post("/v1/chat/completions", json={**SAY, "stream": True})
                rows = client.get("/weir/receipts").json()["data"]
        assert replayed.status_code == 200, replayed.text
        assert (replayed.content, replayed.headers["x-weir-replayed"]) == (first.content, "true")
        error = gone.json()["error"]
        assert (gone.status_code, error["code"]) == (409, "idempotency_result_gone")
        assert gone.headers["x-should-retry"] == "false"
        lost = next(row for row in rows if row["state"] == "orphan")
        assert lost["request_id"] in error["message"]
        assert len(rows) == 2
        assert get(provider.url + "/sim/served").json()["requests"] <= 2

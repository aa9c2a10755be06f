"""Three witnesses: receipts over HTTP, `weir ledger totals`, and the provider's own count."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from billed_load import Server, load, own_nano, posted, unbilled
from billing_provider import BillingProvider
from documents import ask, prose
from openai import OpenAI
from processes import House, Key, get, house_in

from billing.receipt import metered
from billing.reports import totals, verify

MID = "gpt-6.1-sol"
TOOL = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house that nobody else uses."""
    with house_in(tmp_path_factory.mktemp("agreement")) as running:
        yield running


def bodies() -> list[dict[str, Any]]:
    """Requests of every kind, streamed and not."""
    made: list[dict[str, Any]] = []
    for n in range(12):
        made.append({"messages": [{"role": "user", "content": f"Question {n}: why is the sky?"}]})
        made.append({"messages": [{"role": "user", "content": f"Look up {n}"}], "tools": [TOOL]})
        made.append({"messages": [{"role": "user", "content": f"Two of {n}"}], "n": 2})
        made.append({"messages": [{"role": "user", "content": f"{n}"}], "max_tokens": 5})
        made.append(
            {
                "messages": [{"role": "user", "content": f"Think {n}"}],
                "reasoning_effort": "low",
            }
        )
    made.append(ask(prose(60)))
    made.append(ask(prose(60), "And who bought the quarry?"))
    made.append({"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "no"}})
    streamed = [{**body, "stream": True} for body in made]
    asked = [{**body, "stream": True, "stream_options": {"include_usage": True}} for body in made]
    return [{"model": MID, **body} for body in made + streamed + asked]


def test_receipts_ledger_and_provider_agree_to_the_token(house: House) -> None:
    """After mixed traffic the requests, tokens and cost are the same wherever one looks."""
    with house.client() as client, ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda body: client.post("/v1/chat/completions", json=body), bodies())
        )
        receipts = client.get("/weir/receipts?limit=1000").json()["data"]
        metrics = client.get("/metrics").text
    good = [answer for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} == {200, 400}
    assert len(receipts) == len(answers)
    assert len({answer.headers["x-weir-request-id"] for answer in answers}) == len(answers)
    paid = [receipt for receipt in receipts if receipt["status"] == 200]
    assert len(paid) == len(good)

    served = get(house.provider.url + "/sim/served").json()
    prompt = sum(model["prompt_tokens"] for model in served["models"].values())
    completion = sum(model["completion_tokens"] for model in served["models"].values())
    assert served["requests"] == len(good)
    assert sum(r["tokens"]["sent_prompt"] for r in paid) == prompt
    assert sum(r["tokens"]["completion"] for r in paid) == completion
    assert sum(r["tokens"]["cached"] for r in paid) == sum(
        model["cached_tokens"] for model in served["models"].values()
    )
    assert {r["usage_source"] for r in paid} == {"provider"}

    totals = house.totals()
    cost = sum(Decimal(receipt["cost_usd"]) for receipt in receipts)
    assert totals["prompt_tokens"] == prompt
    assert totals["completion_tokens"] == completion
    assert Decimal(str(totals["cost"])) == cost
    assert totals["requests"] == len(answers)
    assert totals["open_holds"] == 0
    counted = [
        float(line.rsplit(" ", 1)[1])
        for line in metrics.splitlines()
        if line.startswith("weir_cost_usd_total")
    ]
    assert sum(counted) == pytest.approx(float(cost))


def test_every_receipt_adds_up(house: House) -> None:
    """Lines sum to cost, baseline less cost is what was saved, and counts are whole."""
    with house.client() as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda body: client.post("/v1/chat/completions", json=body), bodies()))
        receipts = client.get("/weir/receipts?limit=1000").json()["data"]
    assert len(receipts) > 100
    for receipt in receipts:
        lines = sum(Decimal(line["amount_usd"]) for line in receipt["lines"])
        assert lines == Decimal(receipt["cost_usd"]) - Decimal(receipt["gateway_cost_usd"])
        saved = Decimal(receipt["baseline_usd"]) - Decimal(receipt["cost_usd"])
        assert saved == Decimal(receipt["saved_usd"])
        tokens = receipt["tokens"]
        assert tokens["cached"] <= tokens["sent_prompt"]
        assert tokens["reasoning"] <= tokens["completion"]
        assert receipt["team"] == "support"
        assert receipt["key"] == "main"
        for name in ("policy", "prices", "catalog"):
            assert receipt[name].startswith("sha256:")


def test_the_sdk_and_the_receipt_name_the_same_figures(house: House) -> None:
    """What the client was told of usage and cost is what the receipt says."""
    with OpenAI(
        base_url=house.gateway.url + "/v1", api_key=house.key.secret, max_retries=0
    ) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=MID, messages=[{"role": "user", "content": "How deep is a lake?"}]
        )
    usage = raw.parse().usage
    assert usage is not None
    with house.client() as http:
        receipt = http.get(f"/weir/receipts/{raw.headers['x-weir-request-id']}").json()
    assert receipt["tokens"]["sent_prompt"] == usage.prompt_tokens
    assert receipt["tokens"]["completion"] == usage.completion_tokens
    assert receipt["cost_usd"] == raw.headers["x-weir-cost-usd"]
    assert receipt["baseline_usd"] == raw.headers["x-weir-baseline-usd"]


def test_nothing_of_a_prompt_or_a_key_is_in_log_database_or_metrics(house: House) -> None:
    """A word of a prompt and the secrets stand in no file the gateway writes."""
    word = "zygomorphic"
    with house.client() as client:
        body = {"model": MID, "messages": [{"role": "user", "content": f"What is {word}?"}]}
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200
        assert word not in json.dumps(dict(answer.headers))
        assert word not in client.get("/metrics").text
    house.totals()
    files = [path for path in house.folder.rglob("*") if path.is_file()]
    assert any(path.name.startswith("weir.db") for path in files)
    for path in files:
        data = path.read_bytes()
        assert word.encode() not in data, path
        assert house.key.secret.encode() not in data, path


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_two_thousand_mixed_calls_agree_to_the_unit(tmp_path: Path) -> None:
    """Plain, streams, leavers, refusals, resets and fallbacks: each bill has its one attempt.

    What the provider reported is charged to the nano; what it could not report, since the
    client left or the connection died, stands with a charge and says that it is an estimate.
    """
    url = f"sqlite:///{tmp_path}/weir.db"
    server = Server(tmp_path, url, Key.new(), 1)
    with BillingProvider(tmp_path / "billed.jsonl", 7) as provider:
        server.configure(provider.port)
        running = server.start()
        asyncio.run(load(server, random.Random(7), 0, 200, most=90))
        assert server.held() == [0.0, 0.0]
        assert running.stop() == 0
        bills = {bill.id: bill for bill in provider.bills()}
    receipts = posted(url)
    assert len(receipts) > 2_000
    assert unbilled(list(bills.values()), receipts) == []
    attempts = [(r, one) for r in receipts for one in r.attempts]
    reported = [(r, one) for r, one in attempts if one.state == "settled"]
    ours = {one.provider_id: own_nano(r, one.id) for r, one in reported}
    assert ours == {name: bills[name].nano for name in ours}
    assert len(ours) == len(reported) > 1_500
    tokens = [metered(line for line in r.lines if line.attempt == one.id) for r, one in reported]
    assert tokens == [
        (bills[str(one.provider_id)].prompt, bills[str(one.provider_id)].completion)
        for _, one in reported
    ]
    doubtful = Counter(one.state for _, one in attempts if one.state != "settled")
    assert set(doubtful) == {"void", "estimated", "provisional"}
    assert len(bills) - len(ours) <= doubtful["estimated"] + doubtful["provisional"]
    sums = totals(url)
    assert sums["requests"] == len(receipts)
    assert Decimal(str(sums["cost"])) == Decimal(sum(r.cost_nano for r in receipts)) / 10**9
    assert sums["open_holds"] == 0
    assert verify(url) == []

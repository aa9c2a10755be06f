"""Files and batches through the real app, by both SDKs: whose they are, and what they cost."""

from __future__ import annotations

import io
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI
from processes import Key, Running, gateway, get, http, simulator

SECRET = "sk-batch-secret"
MODEL, CLAUDE = "gpt-6-luna", "claude-haiku-5-5"
WAIT_S = 30.0


@dataclass
class Shop:
    """A provider, a gateway in front of it, and the keys of three teams."""

    provider: Running
    gateway: Running
    keys: dict[str, Key]
    folder: Path
    config: str

    def client(self, team: str = "a", **more: Any) -> OpenAI:
        """OpenAI's SDK."""
        url = self.gateway.url + "/v1"
        return OpenAI(base_url=url, api_key=self.keys[team].secret, max_retries=0, **more)

    def anthropic(self, team: str = "a") -> Anthropic:
        """Anthropic's SDK."""
        return Anthropic(base_url=self.gateway.url, api_key=self.keys[team].secret, max_retries=0)

    def http(self, team: str = "a") -> Any:
        """Plain HTTP with a team's key."""
        return http(self.gateway.url, authorization=f"Bearer {self.keys[team].secret}")

    def receipts(self, session: str, team: str = "a") -> list[dict[str, Any]]:
        """The receipts of a batch, the first row's first."""
        with self.http(team) as client:
            answer = client.get(f"/weir/receipts?session={session}&limit=1000").json()
        found: list[dict[str, Any]] = answer["data"]
        return sorted(found, key=lambda one: one["reasons"][0].get("row", 0))

    def held(self, team: str = "a") -> Decimal:
        """What is held in a team's budget, USD."""
        with self.http(team) as client:
            rows = client.get("/weir/budgets").json()["data"]
        return max(Decimal(row["held_usd"]) for row in rows)

    def served(self) -> dict[str, int]:
        """What the provider says it served."""
        models = get(self.provider.url + "/sim/served").json()["models"].values()
        names = ("requests", "prompt_tokens", "completion_tokens")
        return {name: sum(model[name] for model in models) for name in names}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The running shop."""
    folder = tmp_path_factory.mktemp("batches")
    keys = {name: Key.new() for name in "abc"}
    with simulator(folder, "--api-key", SECRET) as provider:
        config = f"""
database: sqlite:///{folder}/weir.db
server: {{ sweep_seconds: 0.2, max_file_mb: 64 }}
upstreams:
  openai: {{ kind: openai, base_url: "{provider.url}/v1", api_key: {SECRET}, provider: openai }}
  claude: {{ kind: anthropic, base_url: "{provider.url}", api_key: {SECRET} }}
models:
  gpt-6-luna: {{ upstream: openai, tier: small }}
  alias: {{ upstream: openai, model: gpt-6.1-sol, tier: mid }}
  nobatch: {{ upstream: openai, price: {{ input: 1, output: 2 }} }}
  text-embedding-3-small: {{ upstream: openai }}
  claude-haiku-5-5: {{ upstream: claude, tier: small }}
routing: {{ baseline: gpt-6-luna }}
teams:
  a: {{ keys: [a], budget: 100 per month }}
  b: {{ keys: [b], budget: 100 per month }}
  c: {{ keys: [c], budget: 0.0001 per month, allow: [gpt-6-luna, claude-haiku-5-5] }}
keys: {{ a: {keys["a"].hash}, b: {keys["b"].hash}, c: {keys["c"].hash} }}
"""
        with gateway(folder, config) as running:
            yield Shop(provider, running, keys, folder, config)


def row(name: str, model: str = MODEL, **more: object) -> dict[str, Any]:
    """One row of an input file."""
    body = {"model": model, "max_tokens": 40, "messages": [{"role": "user", "content": name}]}
    url = "/v1/chat/completions"
    return {"custom_id": name, "method": "POST", "url": url, "body": {**body, **more}}


def upload(client: OpenAI, rows: list[dict[str, Any]]) -> str:
    """The input file of these rows."""
    text = "\n".join(map(json.dumps, rows)).encode()
    return client.files.create(file=("in.jsonl", text), purpose="batch").id


def start(client: OpenAI, rows: list[dict[str, Any]]) -> Any:
    """A batch of these rows."""
    return client.batches.create(
        input_file_id=upload(client, rows),
        endpoint="/v1/chat/completions",
        completion_window="24h",
    )


def until_over(client: OpenAI, name: str) -> Any:
    """The batch when it has ended."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = client.batches.retrieve(name)
        if found.status in {"completed", "expired", "cancelled", "failed"}:
            return found
        time.sleep(0.05)
    raise AssertionError("the batch did not end")


def test_a_file_comes_back_byte_for_byte_and_is_its_teams_alone(shop: Shop) -> None:
    """Upload, list, describe, content and delete; another team gets the 404 of what is not."""
    data = bytes(range(256)) * 40_000
    with shop.client() as mine, shop.client("b") as theirs:
        made = mine.files.create(file=("any.bin", io.BytesIO(data)), purpose="user_data")
        assert mine.files.content(made.id).read() == data
        assert mine.files.retrieve(made.id).bytes == len(data)
        assert made.id in [file.id for file in mine.files.list()]
        assert made.id not in [file.id for file in theirs.files.list()]
        for call in (theirs.files.retrieve, theirs.files.content, theirs.files.delete):
            with pytest.raises(openai.NotFoundError):
                call(made.id)
        with pytest.raises(openai.NotFoundError):
            theirs.batches.create(
                input_file_id=made.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
        assert mine.files.delete(made.id).deleted
        with pytest.raises(openai.NotFoundError):
            mine.files.retrieve(made.id)


def test_a_big_upload_passes_in_pieces(shop: Shop) -> None:
    """The gateway's memory does not grow by the file; what is over the limit is a 413."""
    with shop.client() as mine:
        before = memory_kb(shop.gateway)
        made = mine.files.create(file=("big", b"x" * (48 << 20)), purpose="user_data")
        assert made.bytes == 48 << 20
        grown = memory_kb(shop.gateway) - before
        assert grown < 24 << 10, f"{grown} KB"
        with pytest.raises(openai.APIStatusError) as refused:
            mine.files.create(file=("huge", b"x" * (65 << 20)), purpose="user_data")
        assert refused.value.status_code == 413
        mine.files.delete(made.id)


def memory_kb(running: Running) -> int:
    """The most memory that the process had, KB."""
    text = Path(f"/proc/{running.process.pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0])


def test_a_batch_is_held_then_billed_row_by_row_at_batch_prices(shop: Shop) -> None:
    """Held when it starts; each row's receipt is half the price; nothing is posted twice."""
    before = shop.served()
    rows = [row(f"question {n}") for n in range(5)] + [row("bad", response_format={"type": "no"})]
    with shop.client() as client:
        began = client.batches.with_raw_response.create(
            input_file_id=upload(client, rows),
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"any": "thing"},
        )
        batch = began.parse()
        assert shop.held() > 0
        done = until_over(client, batch.id)
        assert done.status == "completed"
        for _ in range(3):
            client.batches.retrieve(batch.id)
        output = client.files.content(done.output_file_id).read()
        assert [one.id for one in client.batches.list()].count(batch.id) == 1
        names = [file.id for file in client.files.list()]
    assert {done.output_file_id, done.error_file_id} <= set(names)
    receipts = shop.receipts(batch.id)
    usage = [json.loads(line)["response"]["body"]["usage"] for line in output.splitlines()]
    assert len(receipts) == len(rows)
    assert receipts[0]["request_id"] == began.headers["x-weir-request-id"]
    assert [one["status"] for one in receipts] == [200] * 5 + [400]
    for said, one in zip(usage, receipts, strict=False):
        lines = {line["component"]: line for line in one["lines"]}
        assert lines["input"]["unit_price_usd_per_mtok"] == "0.05"
        assert lines["output"]["unit_price_usd_per_mtok"] == "0.25"
        assert "processing=batch" in lines["input"]["rule"]
        assert lines["output"]["quantity"] == said["completion_tokens"]
        assert one["tokens"]["sent_prompt"] == said["prompt_tokens"]
        assert one["usage_source"] == "provider"
    assert receipts[5]["cost_usd"] == "0"
    after = shop.served()
    assert after["requests"] - before["requests"] == 5
    tokens = sum(one["tokens"]["billed"] for one in receipts)
    names_ = ("prompt_tokens", "completion_tokens")
    assert tokens == sum(after[name] - before[name] for name in names_)
    wait_for(lambda: shop.held() == 0)


def wait_for(true: Any) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_nobody_has_to_ask_for_a_batch_to_be_billed(shop: Shop) -> None:
    """The sweep finds that it has ended and writes its receipts."""
    with shop.client() as client:
        batch = start(client, [row("left alone"), row("and another")])
    wait_for(lambda: len(shop.receipts(batch.id)) == 2)
    wait_for(lambda: shop.held() == 0)


def test_a_cancelled_or_expired_batch_is_billed_for_what_was_served(shop: Shop) -> None:
    """Half of a cancelled one; of an expired one all but what expired; the rest is free."""
    with shop.client() as client:
        cancelled = start(client, [row(f"c{n}") for n in range(4)])
        assert client.batches.cancel(cancelled.id).status == "cancelling"
        assert until_over(client, cancelled.id).status == "cancelled"
        expired = start(client, [row("expire 1"), row("kept"), row("expire 2")])
        assert until_over(client, expired.id).status == "expired"
        nothing = start(client, [row("expire all")])
        until_over(client, nothing.id)
    assert len(shop.receipts(cancelled.id)) == 2
    assert [one["reasons"][0]["row"] for one in shop.receipts(expired.id)] == [2]
    assert shop.receipts(nothing.id) == []
    wait_for(lambda: shop.held() == 0)


def test_what_a_provider_does_not_report_is_charged_at_its_hold(shop: Shop) -> None:
    """A row without usage, and one that was served and is not in the output, are never free."""
    with shop.client() as client:
        batch = start(client, [row("silent"), row("lost"), row("told")])
        until_over(client, batch.id)
    silent, lost, told = shop.receipts(batch.id)
    assert silent["usage_source"] == lost["usage_source"] == "estimated"
    assert Decimal(silent["cost_usd"]) > Decimal(told["cost_usd"]) > 0
    assert silent["lines"][0]["component"] == "hold"


def test_anthropics_batches_are_billed_the_same_way(shop: Shop) -> None:
    """Its SDK creates, lists, follows the results through us, and deletes."""
    texts = ["one", "two", "expire me"]
    with shop.anthropic() as client:
        batch = client.messages.batches.create(
            requests=[
                {
                    "custom_id": text,
                    "params": {
                        "model": CLAUDE,
                        "max_tokens": 30,
                        "messages": [{"role": "user", "content": text}],
                    },
                }
                for text in texts
            ]
        )
        assert shop.held() > 0
        deadline = time.monotonic() + WAIT_S
        while client.messages.batches.retrieve(batch.id).processing_status != "ended":
            assert time.monotonic() < deadline
        results = {
            one.custom_id: one.result.type for one in client.messages.batches.results(batch.id)
        }
        assert results == {"one": "succeeded", "two": "succeeded", "expire me": "expired"}
        assert batch.id in [one.id for one in client.messages.batches.list()]
        with shop.anthropic("b") as other, pytest.raises(anthropic.NotFoundError):
            other.messages.batches.retrieve(batch.id)
        client.messages.batches.delete(batch.id)
    receipts = shop.receipts(batch.id)
    assert [one["reasons"][0]["custom_id"] for one in receipts] == ["one", "two"]
    rates = {line["component"]: line["unit_price_usd_per_mtok"] for line in receipts[0]["lines"]}
    assert (rates["input"], rates["output"]) == ("0.05", "0.25")
    wait_for(lambda: shop.held() == 0)


REFUSED = {
    "a model without a batch price": ([row("x", "nobatch")], 402, "price_missing"),
    "a name that its provider does not know": ([row("x", "alias")], 400, "invalid"),
    "a model that is not declared": ([row("x", "gpt-nowhere")], 400, "invalid"),
    "a row twice": ([row("x"), row("x")], 400, "invalid"),
    "a row of another wire": ([{**row("x"), "url": "/v1/embeddings"}], 400, "invalid"),
    "a stream": ([row("x", stream=True)], 400, "invalid"),
    "no rows": ([], 400, "invalid"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_billed_is_refused_before_it_is_sent(shop: Shop, why: str) -> None:
    """The provider never hears of it, and nothing is held."""
    rows, status, code = REFUSED[why]
    with shop.client() as client, pytest.raises(openai.APIStatusError) as refused:
        start(client, rows)
    assert (refused.value.status_code, refused.value.code) == (status, code)
    assert shop.held() == 0


def test_a_budget_that_is_too_small_refuses_the_batch(shop: Shop) -> None:
    """402 for both SDKs, before anything is sent."""
    known = len(get_batches(shop))
    with shop.client("c") as client, pytest.raises(openai.APIStatusError) as refused:
        start(client, [row(f"r{n}", max_tokens=4000) for n in range(3)])
    assert refused.value.status_code == 402
    with shop.anthropic("c") as client, pytest.raises(anthropic.APIStatusError) as also:
        client.messages.batches.create(
            requests=[
                {
                    "custom_id": "x",
                    "params": {
                        "model": CLAUDE,
                        "max_tokens": 9000,
                        "messages": [{"role": "user", "content": "Hello"}],
                    },
                }
            ]
        )
    assert also.value.status_code == 402
    assert len(get_batches(shop)) == known


def get_batches(shop: Shop) -> list[Any]:
    """The batches that the provider has."""
    with http(shop.provider.url, authorization=f"Bearer {SECRET}") as client:
        found: list[Any] = client.get("/v1/batches").json()["data"]
    return found


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_a_batch_outlives_the_gateway(shop: Shop, sig: signal.Signals) -> None:
    """Stopped or killed, the next process holds for it, and bills it once at what it cost."""
    with shop.client() as client:
        batch = start(client, [row(f"later {n}") for n in range(3)])
        held = shop.held()
    shop.gateway.stop(sig)
    with gateway(shop.folder, shop.config) as again:
        shop.gateway = again
        with shop.client() as client:
            assert shop.held() in {held, 0}  # 0: the sweep was there first
            until_over(client, batch.id)
        receipts = shop.receipts(batch.id)
        assert len(receipts) == 3
        assert all(one["usage_source"] == "provider" for one in receipts)
        wait_for(lambda: shop.held() == 0)
        again.stop()
    shop.gateway = restarted(shop)


def test_two_workers_keep_and_bill_a_batch_once(shop: Shop) -> None:
    """Whichever process starts, keeps or is asked for it: held once, each row posted once."""
    shop.gateway.stop()
    with gateway(shop.folder, shop.config, "--workers", "2") as two:
        shop.gateway = two
        with shop.client() as client:
            made = [start(client, [row(f"w{n} {m}") for m in range(3)]) for n in range(4)]
            assert shop.held() > 0
            for batch in made[:2]:
                for _ in range(4):
                    until_over(client, batch.id)
        for batch in made:
            wait_for(lambda batch=batch: len(shop.receipts(batch.id)) == 3)
        wait_for(lambda: shop.held() == 0)
        two.stop()
    shop.gateway = restarted(shop)


def restarted(shop: Shop) -> Running:
    """A gateway for the tests that follow, ended with the provider's."""
    context = gateway(shop.folder, shop.config)
    running = context.__enter__()
    _LEFT.append(context)
    return running


_LEFT: list[Any] = []


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    """What the tests started is stopped."""
    yield
    for context in _LEFT:
        context.__exit__(None, None, None)

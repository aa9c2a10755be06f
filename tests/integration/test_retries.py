"""Asking again: how often, how soon, elsewhere, and when not; on real sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import FAULTS, Fault, FaultServer, completion, error, plain
from processes import Key, Running, free_port, gateway, http

PRICED = "price: { input: 1, output: 2 }"
FINE = plain(200, completion())
TOO_LONG = error(400, "context_length_exceeded")


def turns(*faults: Fault) -> Fault:
    """These in order, the last one again and again."""
    left = list(faults)

    async def answer(
        writer: asyncio.StreamWriter, reader: asyncio.StreamReader, body: Mapping[str, Any]
    ) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(writer, reader, body)

    return answer


FIRST: Mapping[str, Fault] = {
    "flaky": turns(error(503, "overloaded"), FINE),
    "soon": turns(error(429, "slow_down", "Retry-After: 1"), FINE),
    "late": error(429, "slow_down", "Retry-After: 3600"),
    "never": error(500, "boom"),
    "long": TOO_LONG,
    "alone": TOO_LONG,
    "shared": error(500, "boom"),
    "keyed": plain(401, b'{"error":{"message":"who?","code":"invalid_api_key"}}'),
    "even": FINE,
    "dead": error(500, "boom"),
    "fine": FAULTS["fine"],
}
SECOND: Mapping[str, Fault] = {"shared": FINE, "keyed": FINE, "even": FINE}


@dataclass(frozen=True)
class Pair:
    """Two providers behind one gateway."""

    first: FaultServer
    second: FaultServer
    running: Running
    key: Key

    def ask(self, model: str) -> tuple[httpx.Response, dict[str, Any]]:
        """An answer and its receipt."""
        bearer = {"authorization": f"Bearer {self.key.secret}"}
        with http(self.running.url, **bearer) as client:
            body = {"model": model, "messages": [{"role": "user", "content": "Go on."}]}
            answer = client.post("/v1/chat/completions", json={**body, "max_tokens": 20})
            request_id = answer.headers["x-weir-request-id"]
            return answer, client.get(f"/weir/receipts/{request_id}").json()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The providers, and models that lean on one, the other, or both."""
    folder: Path = tmp_path_factory.mktemp("retries")
    key = Key.new()
    with FaultServer(FIRST) as first, FaultServer(SECOND) as second:
        one, two = f"{first.url}/v1", f"{second.url}/v1"
        config = f"""
database: sqlite:///{folder}/weir.db
upstreams:
  one: {{ kind: openai, base_url: "{one}", api_key: sk-one }}
  none: {{ kind: openai, base_url: "http://127.0.0.1:{free_port()}/v1", retries: 0 }}
  both:
    kind: openai
    api_key: sk-both
    endpoints: [{{ base_url: "{one}" }}, {{ base_url: "{two}", api_key: sk-other }}]
  weighed:
    kind: openai
    endpoints: [{{ base_url: "{one}", weight: 3 }}, {{ base_url: "{two}" }}]
models:
  flaky: {{ upstream: one, {PRICED} }}
  soon: {{ upstream: one, {PRICED} }}
  late: {{ upstream: one, {PRICED} }}
  never: {{ upstream: one, {PRICED} }}
  long: {{ upstream: one, {PRICED}, context_window: 8000, fallbacks: [tiny, fine] }}
  alone: {{ upstream: one, {PRICED}, context_window: 8000, fallbacks: [tiny] }}
  tiny: {{ upstream: one, model: fine, {PRICED}, context_window: 4000 }}
  fine: {{ upstream: one, {PRICED}, context_window: 64000 }}
  shared: {{ upstream: both, {PRICED} }}
  keyed: {{ upstream: both, {PRICED} }}
  even: {{ upstream: weighed, {PRICED} }}
  dead: {{ upstream: none, {PRICED}, fallbacks: [fine] }}
routing: {{ mode: observe }}
teams: {{ t: {{ keys: [main], budget: 100 per month }} }}
keys: {{ main: {key.hash} }}
"""
        with gateway(folder, config) as running:
            yield Pair(first, second, running, key)


def test_a_failure_is_asked_again_and_both_attempts_are_on_the_receipt(pair: Pair) -> None:
    """One 503 does not reach the client; it stands on the receipt, void."""
    answer, receipt = pair.ask("flaky")
    assert answer.status_code == 200
    assert [a["status"] for a in receipt["attempts"]] == [503, 200]
    assert [a["state"] for a in receipt["attempts"]] == ["void", "settled"]
    assert "retry" in [reason["code"] for reason in receipt["reasons"]]
    assert receipt["cost_usd"] == "0.000021"


def test_the_providers_own_wait_is_kept(pair: Pair) -> None:
    """A Retry-After of one second is one second at least."""
    started = time.monotonic()
    answer, _ = pair.ask("soon")
    assert answer.status_code == 200
    assert 1.0 <= time.monotonic() - started < 4.0


def test_a_long_wait_is_the_clients_to_decide(pair: Pair) -> None:
    """An hour is not waited for: the 429 goes back with its Retry-After."""
    started = time.monotonic()
    answer, receipt = pair.ask("late")
    assert time.monotonic() - started < 3.0
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3600")
    assert len(receipt["attempts"]) == 1


def test_retries_end(pair: Pair) -> None:
    """A provider that always fails is asked twice, as `retries: 1` says, and nothing is paid."""
    answer, receipt = pair.ask("never")
    assert answer.status_code == 502
    assert len(receipt["attempts"]) == 2
    assert float(receipt["cost_usd"]) == 0


def test_a_prompt_too_long_goes_to_the_next_larger_window(pair: Pair) -> None:
    """The smaller fallback is passed over; the larger one answers."""
    answer, receipt = pair.ask("long")
    assert answer.status_code == 200
    assert [a["model"] for a in receipt["attempts"]] == ["long", "fine"]


def test_a_prompt_too_long_for_all_is_the_providers_own_refusal(pair: Pair) -> None:
    """Without a larger window the 400 goes back as it came, asked once."""
    answer, receipt = pair.ask("alone")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert len(receipt["attempts"]) == 1


def test_a_sick_endpoint_is_rested_and_the_other_serves(pair: Pair) -> None:
    """Every request is answered; after a few failures the sick one is not asked any more."""
    for _ in range(14):
        answer, _ = pair.ask("shared")
        assert answer.status_code == 200
    assert pair.first.calls["shared"] <= 6
    assert pair.second.calls["shared"] == 14


def test_a_refused_credential_rests_its_endpoint(pair: Pair) -> None:
    """The other endpoint's credential serves, at once and from then on."""
    for _ in range(4):
        answer, _ = pair.ask("keyed")
        assert answer.status_code == 200
    assert pair.first.calls["keyed"] <= 1
    assert pair.second.headers["keyed"]["authorization"] == "Bearer sk-other"


def test_the_load_follows_the_weights(pair: Pair) -> None:
    """Three to one, exactly, while both are well."""
    for _ in range(8):
        pair.ask("even")
    assert (pair.first.calls["even"], pair.second.calls["even"]) == (6, 2)


def test_a_dead_upstream_is_passed_over_once_it_is_known(pair: Pair) -> None:
    """After five failures the fallback is asked first: one attempt instead of two."""
    counts = []
    for _ in range(7):
        answer, receipt = pair.ask("dead")
        assert answer.status_code == 200
        counts.append(len(receipt["attempts"]))
    assert counts == [2, 2, 2, 2, 2, 1, 1]

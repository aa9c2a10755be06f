"""A provider that fails in every way known: what the client sees, and what is booked."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fakes import DONE, END, FAULTS, FIVE, USAGE, FaultServer, completion
from openai import OpenAI
from processes import Key, Running, free_port, gateway, http

SECRET = "sk-fault-secret"
PROMPT = "A prompt nobody else may read: xylophone."
ASK = [{"role": "user", "content": PROMPT}]
PRICED = "price: { input: 1, output: 2 }, context_window: 100000"


@dataclass(frozen=True)
class Faulty:
    """A gateway in front of a provider that fails on purpose."""

    server: FaultServer
    gateway: Running
    key: Key
    folder: Path

    def client(self) -> httpx.Client:
        """An HTTP client with the key."""
        return http(self.gateway.url, authorization=f"Bearer {self.key.secret}")

    def ask(self, model: str, **fields: object) -> httpx.Response:
        """One request to one fault."""
        body = {"model": model, "messages": ASK, "max_tokens": 50, **fields}
        with self.client() as client:
            return client.post("/v1/chat/completions", json=body)

    def stream(self, model: str, **fields: object) -> tuple[int, bytes, str]:
        """Status, bytes and request id of one streamed request."""
        answer = self.ask(model, stream=True, **fields)
        return answer.status_code, answer.content, answer.headers["x-weir-request-id"]

    def receipt(self, request_id: str) -> dict[str, Any]:
        """The receipt of a request, which must be there."""
        with self.client() as client:
            answer = client.get(f"/weir/receipts/{request_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def held(self) -> str:
        """What is held now in the tightest budget, USD."""
        with self.client() as client:
            return str(client.get("/weir/budgets").json()["data"][0]["held_usd"])


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    """The pair, with short limits so that silence is found out soon."""
    folder = tmp_path_factory.mktemp("faulty")
    key = Key.new()
    with FaultServer() as server:
        limits = "timeouts: { connect: 1, first_byte: 1.5, idle: 1.5, total: 10 }"
        models = "\n".join(
            f'  "{name}": {{ upstream: faulty, tier: mid, {PRICED} }}' for name in FAULTS
        )
        config = f"""
database: sqlite:///{folder}/weir.db
upstreams:
  faulty: {{ kind: openai, base_url: "{server.url}/v1", api_key: {SECRET}, retries: 0, {limits} }}
  closed: {{ kind: openai, base_url: "http://127.0.0.1:{free_port()}/v1", retries: 0, {limits} }}
models:
{models}
  refused: {{ upstream: closed, tier: mid, {PRICED} }}
  e500-then-fine: {{ upstream: faulty, model: e500, tier: mid, {PRICED}, fallbacks: [fine] }}
  reset-then-fine: {{ upstream: faulty, model: reset, tier: mid, {PRICED}, fallbacks: [fine] }}
  cut-then-fine: {{ upstream: faulty, model: s-reset-first, tier: mid, {PRICED},
                    fallbacks: [s-fine] }}
routing: {{ mode: observe }}
teams: {{ t: {{ keys: [main], budget: 100 per month }} }}
keys: {{ main: {key.hash} }}
"""
        with gateway(folder, config) as running:
            yield Faulty(server, running, key, folder)


def check_error(answer: httpx.Response, status: int, code: str) -> None:
    """The contract's error shape, with nothing of key, prompt or trace in it."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    assert error["code"] == code
    assert error["message"]
    for secret in (SECRET, "xylophone", "Traceback", "<html", '.py"'):
        assert secret not in answer.text


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("refused", 502, "upstream_failed"),
        ("e401", 502, "upstream_auth"),
        ("e500", 502, "upstream_failed"),
        ("e503", 503, "overloaded"),
        ("e504", 504, "upstream_timeout"),
        ("html502", 502, "upstream_failed"),
        ("html200", 502, "upstream_failed"),
        ("empty200", 502, "upstream_failed"),
        ("list200", 502, "upstream_failed"),
        ("hollow200", 502, "upstream_failed"),
        ("error200", 502, "upstream_failed"),
        ("redirect", 502, "upstream_failed"),
        ("s-fine", 502, "upstream_failed"),
    ],
)
def test_a_failing_provider_is_a_clear_error_and_costs_nothing(
    faulty: Faulty, model: str, status: int, code: str
) -> None:
    """A provider that fails before an answer gives our error shape, a free row, and no hold."""
    answer = faulty.ask(model)
    check_error(answer, status, code)
    receipt = faulty.receipt(answer.headers["x-weir-request-id"])
    assert (receipt["status"], float(receipt["cost_usd"])) == (status, 0)
    assert [attempt["outcome"] for attempt in receipt["attempts"]] == ["error"] or (
        receipt["attempts"][-1]["outcome"] == "refused"
    )
    assert float(faulty.held()) == 0


def test_waiting_times_of_a_provider_are_kept(faulty: Faulty) -> None:
    """Retry-After of a 429 and of a 503 reaches the client with the same number."""
    throttled = faulty.ask("e429")
    assert (throttled.status_code, throttled.headers["retry-after"]) == (429, "17")
    assert throttled.json()["error"]["code"] == "rate_limit_exceeded"
    overloaded = faulty.ask("e503")
    assert (overloaded.status_code, overloaded.headers["retry-after"]) == (503, "9")


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [("e400", 400, "bad_field"), ("e404", 404, "model_not_found"), ("e408", 408, "timeout")],
)
def test_a_refusal_of_the_provider_is_passed_on(
    faulty: Faulty, model: str, status: int, code: str
) -> None:
    """A provider's own 4xx comes back with its status and words, asked once, not billed."""
    before = faulty.server.calls[model]
    answer = faulty.ask(model)
    assert answer.status_code == status
    assert answer.json()["error"] == {
        "message": f"upstream says {code}",
        "type": "t",
        "param": None,
        "code": code,
    }
    assert faulty.server.calls[model] == before + 1
    assert float(faulty.receipt(answer.headers["x-weir-request-id"])["cost_usd"]) == 0


def test_the_gateways_own_credential_is_in_no_answer(faulty: Faulty) -> None:
    """A provider that repeats the key in its refusal is relayed without it."""
    for model, status in (("e401", 502), ("e400-secret", 400)):
        answer = faulty.ask(model)
        assert answer.status_code == status
        assert SECRET not in answer.text
        assert faulty.server.headers[model]["authorization"] == f"Bearer {SECRET}"


def test_the_gateways_own_credential_is_in_no_stream(faulty: Faulty) -> None:
    """A provider that repeats the key in an error event is relayed without it."""
    status, data, _ = faulty.stream("s-error-secret")
    assert status == 200
    assert SECRET.encode() not in data
    assert data.endswith(b'data: {"error":{"message":"boom ***","code":"server_error"}}\n\n')


@pytest.mark.parametrize("model", ["silent", "drip"])
def test_a_provider_that_sends_no_status_is_timed_out_and_charged_at_the_hold(
    faulty: Faulty, model: str
) -> None:
    """Silence and dripping headers end as 504 within the limit; what may be billed is kept."""
    began = time.monotonic()
    answer = faulty.ask(model)
    assert time.monotonic() - began < 6
    check_error(answer, 504, "upstream_timeout")
    receipt = faulty.receipt(answer.headers["x-weir-request-id"])
    assert (receipt["usage_source"], receipt["attempts"][0]["outcome"]) == ("estimated", "timeout")
    assert float(receipt["cost_usd"]) > 0
    assert float(faulty.held()) == 0


@pytest.mark.parametrize("model", ["reset", "cut-body", "not-gzip"])
def test_a_body_that_breaks_off_is_never_a_success_and_never_free(
    faulty: Faulty, model: str
) -> None:
    """Half an answer, or none to what was sent, is a 502; the charge is what it may have cost."""
    answer = faulty.ask(model)
    check_error(answer, 502, "upstream_failed")
    receipt = faulty.receipt(answer.headers["x-weir-request-id"])
    assert receipt["usage_source"] == "estimated"
    assert float(receipt["cost_usd"]) > 0


def test_a_good_answer_is_relayed_byte_for_byte_with_allowed_headers_only(faulty: Faulty) -> None:
    """The body is the provider's; its id passes, its cookies and inner headers do not."""
    answer = faulty.ask("fine")
    assert answer.content == completion()
    assert answer.headers["x-request-id"] == "req_1"
    assert "set-cookie" not in answer.headers
    assert "x-internal" not in answer.headers
    receipt = faulty.receipt(answer.headers["x-weir-request-id"])
    assert receipt["tokens"]["sent_prompt"] == USAGE["prompt_tokens"]
    assert receipt["cost_usd"] == "0.000021"  # 11 at 1 USD and 5 at 2 USD a million
    assert sum(float(line["amount_usd"]) for line in receipt["lines"]) == pytest.approx(0.000021)


def test_a_compressed_answer_is_unpacked(faulty: Faulty) -> None:
    """gzip between provider and gateway is nothing the client has to know."""
    assert faulty.ask("gzip").content == completion()
    status, data, _ = faulty.stream("s-gzip")
    assert (status, data) == (200, b"".join([*FIVE, END, DONE]))


@pytest.mark.parametrize("model", ["no-usage", "absurd-negative", "absurd-text", "absurd-huge"])
def test_missing_or_absurd_usage_is_counted_by_us_and_says_so(faulty: Faulty, model: str) -> None:
    """A report that cannot be right never crashes, never lowers a bill, and is marked."""
    answer = faulty.ask(model)
    assert answer.status_code == 200
    receipt = faulty.receipt(answer.headers["x-weir-request-id"])
    assert receipt["usage_source"] == "estimated"
    assert 0 < receipt["tokens"]["completion"] < 50
    assert 0 < float(receipt["cost_usd"]) < 0.001


@pytest.mark.parametrize("model", ["s-fine", "s-close", "s-glued", "s-crlf"])
def test_a_whole_stream_is_billed_by_its_hidden_usage(faulty: Faulty, model: str) -> None:
    """Every framing of a good stream ends with `[DONE]` and is billed by the provider's word."""
    status, data, request_id = faulty.stream(model)
    assert status == 200
    assert data.rstrip().endswith(b"data: [DONE]")
    assert data.count(b"[DONE]") == 1
    assert b'"usage": {' not in data
    receipt = faulty.receipt(request_id)
    assert (receipt["usage_source"], receipt["cost_usd"]) == ("provider", "0.000021")


def test_comments_before_the_first_token_pass(faulty: Faulty) -> None:
    """A provider that keeps a connection open with comments has not failed."""
    status, data, _ = faulty.stream("s-comments")
    assert status == 200
    assert data.startswith(b": processing\n\n")
    assert data.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("model", ["s-no-usage", "s-absurd"])
def test_a_stream_without_good_usage_is_estimated(faulty: Faulty, model: str) -> None:
    """Tokens that reached the client are counted when the provider's count is no good."""
    _, data, request_id = faulty.stream(model)
    assert data.endswith(DONE)
    receipt = faulty.receipt(request_id)
    assert receipt["usage_source"] == "estimated"
    assert 5 <= receipt["tokens"]["completion"] <= 20


def test_a_missing_end_mark_is_added_when_the_answer_had_finished(faulty: Faulty) -> None:
    """finish_reason came and `[DONE]` did not: the client gets both."""
    _, data, request_id = faulty.stream("s-no-done")
    assert data == b"".join([*FIVE, END, DONE])
    assert faulty.receipt(request_id)["usage_source"] == "provider"


@pytest.mark.parametrize(
    "model",
    ["s-clean-cut", "s-clean-cut-close", "s-reset", "s-html-after", "s-malformed-end", "s-stall"],
)
def test_a_cut_stream_never_looks_whole(faulty: Faulty, model: str) -> None:
    """What came is passed on, then an error event: no finish, no `[DONE]`, billed what came."""
    status, data, request_id = faulty.stream(model)
    assert status == 200
    assert data.startswith(b"".join(FIVE))
    assert b"[DONE]" not in data
    assert b'"finish_reason": "stop"' not in data
    last = json.loads(data.rstrip().rsplit(b"data: ", 1)[1])
    assert last["error"]["code"] == "stream_broken"
    assert last["error"]["request_id"] == request_id
    receipt = faulty.receipt(request_id)
    assert receipt["attempts"][-1]["outcome"] == "cut"
    assert receipt["usage_source"] == "estimated"
    assert 5 <= receipt["tokens"]["completion"] <= 30
    assert float(receipt["cost_usd"]) > 0
    assert receipt["tokens"]["effective"] == 0  # nobody can use half an answer
    assert faulty.server.calls[model] == 1  # a repeated text would be paid twice


def test_the_sdk_raises_on_a_cut_stream(faulty: Faulty) -> None:
    """The OpenAI SDK sees the pieces, then an exception: never a normal end."""
    with OpenAI(
        base_url=faulty.gateway.url + "/v1", api_key=faulty.key.secret, max_retries=0
    ) as sdk:
        stream = sdk.chat.completions.create(
            model="s-clean-cut-once", messages=[{"role": "user", "content": "x"}], stream=True
        )
        pieces = [next(stream).choices[0].delta.content for _ in range(5)]
        assert pieces == [f"word{n} " for n in range(5)]
        with pytest.raises(openai.APIError, match="incomplete"):
            next(stream)


def test_an_error_event_of_the_provider_is_passed_on(faulty: Faulty) -> None:
    """An error inside a stream reaches the client as it came, and nothing follows it."""
    status, data, request_id = faulty.stream("s-error")
    assert status == 200
    assert data.endswith(b'data: {"error":{"message":"overloaded","code":"server_error"}}\n\n')
    receipt = faulty.receipt(request_id)
    assert receipt["attempts"][-1]["outcome"] == "error"
    assert float(receipt["cost_usd"]) > 0


@pytest.mark.parametrize("model", ["s-reset-first", "s-empty", "s-html", "s-error-first", "s-json"])
def test_a_stream_that_fails_before_its_first_event_is_a_real_status(
    faulty: Faulty, model: str
) -> None:
    """Before the first token a broken stream is a 502, not an empty success."""
    answer = faulty.ask(model, stream=True)
    check_error(answer, 502, "upstream_failed")
    assert float(faulty.held()) == 0


def test_a_stream_silent_from_its_start_is_a_504(faulty: Faulty) -> None:
    """A status line without a first event within the limit is a time-out."""
    check_error(faulty.ask("s-stall-first", stream=True), 504, "upstream_timeout")


@pytest.mark.parametrize("model", ["e500-then-fine", "reset-then-fine"])
def test_a_declared_fallback_answers_when_the_first_model_fails(faulty: Faulty, model: str) -> None:
    """The fallback's answer reaches the client; both attempts stand on one receipt."""
    answer = faulty.ask(model)
    assert answer.content == completion()
    assert answer.headers["x-weir-model"] == "fine"
    receipt = faulty.receipt(answer.headers["x-weir-request-id"])
    first, last = receipt["attempts"]
    assert (last["outcome"], last["state"]) == ("ok", "settled")
    assert receipt["served_model"] == "fine"
    cost = {first["id"]: Decimal(0), last["id"]: Decimal(0)}
    for line in receipt["lines"]:
        cost[line["attempt"]] += Decimal(line["amount_usd"])
    assert cost[last["id"]] == Decimal("0.000021")
    if model == "e500-then-fine":
        assert (first["outcome"], first["state"], cost[first["id"]]) == ("refused", "void", 0)
    else:  # it had been sent, and nobody knows what became of it
        assert (first["outcome"], first["state"]) == ("cut", "provisional")
        assert cost[first["id"]] > Decimal("0.0001")
    assert sum(cost.values()) == Decimal(receipt["cost_usd"])


def test_a_stream_cut_before_its_first_event_falls_back(faulty: Faulty) -> None:
    """Nothing has gone out yet, so another model may still answer."""
    status, data, request_id = faulty.stream("cut-then-fine")
    assert status == 200
    assert data.endswith(DONE)
    assert faulty.receipt(request_id)["served_model"] == "s-fine"


def leave(faulty: Faulty, model: str, *, stream: bool, after_bytes: int) -> None:
    """Send a request and close the socket after so many bytes of its answer."""
    body = json.dumps(
        {"model": model, "messages": ASK, "max_tokens": 50, "stream": stream}
    ).encode()
    host, port = faulty.gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
            % (faulty.key.secret.encode(), len(body), body)
        )
        seen = 0
        while seen < after_bytes:
            seen += len(sock.recv(4096))
        deadline = time.monotonic() + 5
        while faulty.server.open[model] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert faulty.server.open[model] == 1


@pytest.mark.parametrize(
    ("model", "stream", "after_bytes"),
    [("s-endless", True, 1500), ("s-stall", True, 900), ("silent", False, 0), ("silent", True, 0)],
)
def test_a_client_that_leaves_closes_the_upstream_and_is_settled(
    faulty: Faulty, model: str, stream: bool, after_bytes: int
) -> None:
    """Within a second the provider's connection is closed, and the row says 499, estimated."""
    with faulty.client() as client:
        before = {r["request_id"] for r in client.get("/weir/receipts?limit=1000").json()["data"]}
        leave(faulty, model, stream=stream, after_bytes=after_bytes)
        left = time.monotonic()
        while faulty.server.open[model] and time.monotonic() < left + 5:
            time.sleep(0.01)
        assert time.monotonic() - left < 1.0
        rows: list[dict[str, Any]] = []
        while not rows and time.monotonic() < left + 5:
            found = client.get("/weir/receipts?limit=1000").json()["data"]
            rows = [r for r in found if r["request_id"] not in before]
    assert [(r["status"], r["usage_source"]) for r in rows] == [(499, "estimated")]
    assert float(rows[0]["cost_usd"]) > 0
    assert rows[0]["attempts"][-1]["outcome"] == "cancelled"
    assert float(faulty.held()) == 0


def test_the_process_lives_on_and_its_log_holds_no_secret(faulty: Faulty) -> None:
    """After all these faults a good request is served; no key, prompt or trace was logged."""
    assert faulty.ask("fine").status_code == 200
    log = faulty.gateway.log.read_text()
    for secret in (SECRET, faulty.key.secret, "xylophone", "Traceback"):
        assert secret not in log
    assert faulty.gateway.process.poll() is None

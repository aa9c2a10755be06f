"""Calls the gateway pays for itself: held before they are made, on the receipt afterwards."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeUpstream, plain_reply

from billing.ledger import Ledger
from gateway.app import App, create_app
from gateway.auth import hash_of
from gateway.settings import parse

SECRET = "weir-own"
USAGE = {"prompt_tokens": 200, "completion_tokens": 30}
TURNS = 60


class Endpoint(ThreadingHTTPServer):
    """Something that writes summaries; ``answer`` is what it says, ``asked`` what it got."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Callable[[], tuple[int, dict[str, Any]]] = fine
        self.asked: list[dict[str, Any]] = []
        self.during: Callable[[], object] = lambda: None


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """One summary."""
        server: Endpoint = self.server  # type: ignore[assignment]
        server.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        server.during()
        status, body = server.answer()
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Nothing is printed."""


def fine() -> tuple[int, dict[str, Any]]:
    """A summary and what it took."""
    choice = {"message": {"role": "assistant", "content": "Nothing was decided."}}
    return 200, {"choices": [choice], "usage": USAGE}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A running one."""
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def config(folder: Path, port: int, price: str, budget: str) -> str:
    """A mid model that reads 2,000 tokens well, and a summariser behind an endpoint."""
    return f"""
database: sqlite:///{folder}/weir.db
upstreams:
  fake: {{ kind: openai, base_url: "http://127.0.0.1:9/v1" }}
  local: {{ kind: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: k }}
models:
  mid: {{ upstream: fake, price: {{ input: 100, output: 200 }}, context_window: 100000,
          effective_context: 2000 }}
  short: {{ upstream: local, {price} }}
routing: {{ mode: route, baseline: mid }}
fit: {{ allow: [compress], embedder: none, keep_recent: 256,
        summarizer: {{ backend: openai, upstream: local, model: short }} }}
teams: {{ t: {{ keys: [k], allow: [mid], budget: {budget} }} }}
keys: {{ k: {hash_of(SECRET)} }}
"""


def conversation() -> dict[str, Any]:
    """A long talk whose past may be told in short."""
    idle = "The weather was fair and there was little else to tell of that day. " * 18
    turns = [
        {
            "role": ("user", "assistant")[n % 2],
            "content": f"On day {n} the crew of ship {n + 40} repaired the mast. {idle}",
        }
        for n in range(TURNS)
    ]
    last = {"role": "user", "content": "Who repaired the mast of ship 77, and what came of it?"}
    return {"model": "mid", "max_tokens": 50, "messages": [*turns, last]}


async def ask(app: App, body: dict[str, Any], **headers: str) -> tuple[int, dict[str, str]]:
    """One request through the app in memory."""
    seen: dict[str, Any] = {}
    sent = iter([{"type": "http.request", "body": json.dumps(body).encode()}])

    async def receive() -> Any:
        first = next(sent, None)
        if first is not None:
            return first
        await asyncio.Event().wait()
        return None

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            seen["status"] = message["status"]
            seen["headers"] = {k.decode(): v.decode() for k, v in message["headers"]}

    named = {"authorization": f"Bearer {SECRET}", **headers}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in named.items()],
    }
    await app(scope, receive, send)
    return seen["status"], seen["headers"]


class House:
    """An app with a scripted provider and a real endpoint."""

    def __init__(self, folder: Path, port: int, price: str, budget: str) -> None:
        settings = parse(config(folder, port, price, budget), "weir.yaml", {})
        self.upstream = FakeUpstream(plain_reply())
        self.app = create_app(settings, upstreams={"fake": self.upstream, "local": self.upstream})

    @property
    def ledger(self) -> Ledger:
        """Its ledger."""
        return self.app.shell.ledger

    def spent(self) -> int:
        """The budget's spend, nano-USD; what is held must be nothing."""
        (window,) = self.ledger.budgets(("organisation", "t"), None)
        assert window.held_nano == 0
        return window.spent_nano


PRICE = "price: { input: 1, output: 2 }"
OWN = 200 * 1000 + 30 * 2000
HeldAt = list[tuple[int, int]]


async def served(house: House, body: dict[str, Any] | None = None) -> Any:
    """The receipt of one served conversation."""
    await house.app.start()
    try:
        status, headers = await ask(house.app, body or conversation())
        assert status == 200, headers
        receipt = house.ledger.receipt(headers["x-weir-request-id"])
        assert receipt is not None
        assert house.spent() == receipt.cost_nano
        return receipt
    finally:
        await house.app.stop()


async def test_a_summary_is_held_before_it_is_asked_for_and_billed(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    """Its lines stand on the receipt, its cost in the split, all inside the budget's hold."""
    house = House(tmp_path, endpoint.server_address[1], PRICE, "10 per day")
    seen: HeldAt = []
    endpoint.during = lambda: seen.append(house.ledger.open_holds())
    receipt = await served(house)
    count = len(endpoint.asked)
    assert count >= 1
    assert all(held[0] == 1 and held[1] >= OWN for held in seen)
    own = [line for line in receipt.lines if line.component.startswith("gateway:")]
    assert {line.component for line in own} == {"gateway:input", "gateway:output"}
    assert len({line.attempt for line in own}) == count
    assert receipt.gateway_cost_nano == sum(line.amount_nano for line in own) == count * OWN
    assert receipt.cost_nano == 11 * 100_000 + 5 * 200_000 + count * OWN
    *calls, answer = receipt.attempts
    assert {call.id for call in calls} == {line.attempt for line in own}
    assert {(call.model, call.upstream, call.status) for call in calls} == {("short", "local", 200)}
    assert [dict(call.usage) for call in calls] == [USAGE] * count
    assert {call.state for call in calls} == {answer.state} == {"settled"}
    assert receipt.saved_by["gateway"] == -count * OWN
    assert sum(receipt.saved_by.values()) == receipt.saved_nano
    assert receipt.usage_source == "provider"


_ENDS = {
    (500, 0): ("refused", "void"),
    (500, OWN): ("refused", "settled"),
    (200, None): ("ok", "provisional"),
}


@pytest.mark.parametrize(
    ("answer", "each"),
    [
        ((500, {"error": {"message": "no"}}), 0),
        ((500, {"error": {}, "usage": USAGE}), OWN),
        ((200, {"choices": []}), None),
    ],
    ids=["refused", "failed-with-usage", "no-usage"],
)
async def test_a_summary_that_failed_costs_what_it_may_have_cost(
    endpoint: Endpoint, tmp_path: Path, answer: tuple[int, dict[str, Any]], each: int | None
) -> None:
    """Refused is free, reported is billed, and what nobody knows is charged as its worst."""
    endpoint.answer = lambda: answer
    house = House(tmp_path, endpoint.server_address[1], PRICE, "10 per day")
    receipt = await served(house)
    count = len(endpoint.asked)
    assert count >= 1
    outcome, state = _ENDS[answer[0], each]
    assert {(one.outcome, one.state) for one in receipt.attempts[:-1]} == {(outcome, state)}
    if each is None:
        assert receipt.gateway_cost_nano > 0
        assert receipt.usage_source == "estimated"
    else:
        assert receipt.gateway_cost_nano == count * each


async def test_a_summary_that_nobody_can_price_is_not_asked_for(
    endpoint: Endpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An extract is used instead, and the log says what would help."""
    house = House(tmp_path, endpoint.server_address[1], "tier: small", "10 per day")
    receipt = await served(house)
    assert endpoint.asked == []
    assert receipt.gateway_cost_nano == 0
    assert "no summary by short" in caplog.text


async def test_a_summary_that_costs_nothing_has_no_cost(endpoint: Endpoint, tmp_path: Path) -> None:
    """`free: true` is said in the configuration, and then it is asked for without a hold."""
    house = House(tmp_path, endpoint.server_address[1], "free: true", "10 per day")
    receipt = await served(house)
    assert len(endpoint.asked) >= 1
    assert receipt.gateway_cost_nano == 0


async def test_a_request_that_is_refused_after_its_summary_still_pays_for_it(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    """The summary fitted in the budget, the call did not: 402, and the summary is on the bill."""
    house = House(tmp_path, endpoint.server_address[1], PRICE, "0.1 per day")
    await house.app.start()
    try:
        status, headers = await ask(house.app, {**conversation(), "max_tokens": 1000})
        assert status == 402
        receipt = house.ledger.receipt(headers["x-weir-request-id"])
        count = len(endpoint.asked)
        assert count >= 1
        assert receipt is not None
        assert (receipt.status, receipt.state) == (402, "settled")
        assert receipt.cost_nano == receipt.gateway_cost_nano == count * OWN == house.spent()
        assert house.upstream.calls == []
        assert house.ledger.open_holds() == (0, 0)
    finally:
        await house.app.stop()


async def test_a_dry_run_spends_nothing(endpoint: Endpoint, tmp_path: Path) -> None:
    """What `/weir/explain` shows was made without asking anybody."""
    from gateway.exchange import Caller, ClientHeaders, Exchange
    from gateway.pipeline import dry_run

    house = House(tmp_path, endpoint.server_address[1], PRICE, "10 per day")
    await house.app.start()
    try:
        shell = house.app.shell
        ex = Exchange("r1", shell.clock(), 0.0, "chat", ClientHeaders())
        ex.caller = Caller(next(iter(shell.snapshot.accounts.keys.values())), None)
        await dry_run(shell, ex, json.dumps(conversation()).encode())
        assert ex.prepared is not None
        assert house.spent() == 0
        assert endpoint.asked == []
    finally:
        await house.app.stop()

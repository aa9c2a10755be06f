"""The request's story through the whole app in memory: real ledger, scripted provider."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import (
    DONE,
    END,
    FIVE,
    USAGE,
    FakeReply,
    FakeUpstream,
    completion,
    event,
    plain_reply,
    stream_reply,
    usage_event,
)

from billing.money import usd
from gateway.app import App, create_app
from gateway.auth import hash_of
from gateway.errors import (
    BrokenOff,
    ConnectTimeout,
    Unanswered,
    UpstreamFailed,
    UpstreamTimeout,
)
from gateway.settings import parse
from gateway.workers import Workers

SECRET = "weir-unit"
NOW_MS = 1_780_272_000_000
ASK: dict[str, Any] = {
    "model": "mid",
    "messages": [{"role": "user", "content": "Tell me."}],
    "max_tokens": 50,
}


def config(folder: Path, extra: str = "") -> str:
    """One provider in memory with models of known prices."""
    return f"""
database: sqlite:///{folder}/weir.db
upstreams:
  fake: {{ kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: sk-own, retries: 0 }}
models:
  mid: {{ upstream: fake, price: {{ input: 1, output: 2 }}, context_window: 100000 }}
  spare: {{ upstream: fake, price: {{ input: 3, output: 4 }}, context_window: 100000 }}
  backed: {{ upstream: fake, price: {{ input: 1, output: 2 }}, context_window: 100000,
             fallbacks: [spare] }}
  unpriced: {{ upstream: fake }}
routing: {{ mode: observe, baseline: mid }}
teams: {{ t: {{ keys: [k], budget: 1 per day }} }}
keys: {{ k: {hash_of(SECRET)} }}
{extra}
"""


class Answer:
    """What a client saw."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.ended = False

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """One ASGI message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            self.pieces.append(message["body"])
            self.ended = not message.get("more_body", False)

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces)

    @property
    def error(self) -> dict[str, Any]:
        """The error of a JSON body."""
        found: dict[str, Any] = json.loads(self.body)["error"]
        return found


class Client:
    """A client of the app in memory."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def ask(
        self, body: dict[str, Any], leave: asyncio.Event | None = None, **headers: str
    ) -> Answer:
        """One request; ``leave`` is when the client goes away."""
        answer = Answer()
        sent = iter([{"type": "http.request", "body": json.dumps(body).encode()}])

        async def receive() -> MutableMapping[str, Any]:
            first = next(sent, None)
            if first is not None:
                return first
            await (leave or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        named = {"authorization": f"Bearer {SECRET}", **headers}
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/chat/completions",
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in named.items()],
        }
        await self.app(scope, receive, answer.send)
        return answer

    def receipt(self, answer: Answer) -> Any:
        """The receipt of an answer."""
        return self.app.shell.ledger.receipt(answer.headers["x-weir-request-id"])

    def held(self) -> tuple[int, int]:
        """Open holds and their sum, nano-USD."""
        return self.app.shell.ledger.open_holds()


Serving = Callable[..., Any]


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    """A context with a client in front of a scripted provider."""

    @asynccontextmanager
    async def serve(upstream: FakeUpstream, extra: str = "") -> AsyncIterator[Client]:
        settings = parse(config(tmp_path, extra), "weir.yaml", {})
        app = create_app(settings, upstreams={"fake": upstream}, clock=lambda: NOW_MS)
        await app.start()
        try:
            yield Client(app)
        finally:
            await app.stop()

    return serve


async def test_the_money_is_held_before_the_call_and_settled_before_the_answer(
    serving: Serving,
) -> None:
    """While the provider works the worst case is held; when the client reads it is settled."""
    upstream = FakeUpstream(plain_reply())
    async with serving(upstream) as client:
        seen: list[tuple[int, int]] = []
        upstream.during = lambda call: seen.append(client.held())
        answer = await client.ask(ASK)
        receipt = client.receipt(answer)
        assert seen[0][0] == 1
        assert seen[0][1] >= receipt.cost_nano == 11 * 1000 + 5 * 2000
        assert client.held() == (0, 0)
        assert answer.body == completion()
        assert answer.headers["x-weir-cost-usd"] == "0.000021"


async def test_the_clients_own_bytes_go_out_when_nothing_changes(serving: Serving) -> None:
    """The provider gets the body byte for byte, and none of our headers."""
    upstream = FakeUpstream(plain_reply())
    async with serving(upstream) as client:
        await client.ask(ASK, x_weir_session="s", openai_beta="x")
    call = upstream.calls[0]
    assert call.body == json.dumps(ASK).encode()
    assert call.headers == {"openai-beta": "x"}
    assert (call.path, call.model, call.stream) == ("/chat/completions", "mid", False)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 40, "completion_tokens": 50},
        {"prompt_tokens": 1, "completion_tokens": 0},
        {"prompt_tokens": 70, "completion_tokens": 50,
         "completion_tokens_details": {"reasoning_tokens": 50}},
        {"prompt_tokens": 60, "completion_tokens": 3,
         "prompt_tokens_details": {"cached_tokens": 50}},
    ],
)  # fmt: skip
async def test_the_hold_bounds_what_a_request_can_cost(
    serving: Serving, usage: dict[str, Any]
) -> None:
    """For any usage within the body's own limits the cost is at most what was held."""
    upstream = FakeUpstream(plain_reply(completion(usage=usage)))
    async with serving(upstream) as client:
        seen: list[tuple[int, int]] = []
        upstream.during = lambda call: seen.append(client.held())
        receipt = client.receipt(await client.ask(ASK))
    assert receipt.cost_nano <= seen[0][1]
    assert receipt.usage_source == "provider"


async def test_more_choices_hold_more(serving: Serving) -> None:
    """n multiplies the completion that is reserved."""
    upstream = FakeUpstream(plain_reply())
    async with serving(upstream) as client:
        seen: list[int] = []
        upstream.during = lambda call: seen.append(client.held()[1])
        await client.ask(ASK)
        await client.ask({**ASK, "n": 4})
    assert seen[1] - seen[0] == 3 * 50 * 2000


async def test_a_price_that_nobody_knows_sends_nothing(serving: Serving) -> None:
    """An unpriced model is a 402 that says how to declare a price; the provider is not asked."""
    upstream = FakeUpstream(plain_reply())
    async with serving(upstream) as client:
        answer = await client.ask({**ASK, "model": "unpriced"})
        assert client.held() == (0, 0)
    assert (answer.status, answer.error["code"]) == (402, "price_missing")
    assert upstream.calls == []


async def test_a_budget_that_is_too_small_sends_nothing(serving: Serving) -> None:
    """A hold that does not fit is a 402; nothing is sent and nothing stays held."""
    upstream = FakeUpstream(plain_reply())
    async with serving(upstream) as client:
        answer = await client.ask({**ASK, "max_tokens": 90_000, "n": 9})
        assert client.held() == (0, 0)
    assert (answer.status, answer.error["budget"]) == (402, "t/day")
    assert upstream.calls == []


async def test_a_stream_goes_out_as_it_came_less_its_hidden_usage(serving: Serving) -> None:
    """Asked for by the gateway, usage is billed and not shown; every other byte is."""
    upstream = FakeUpstream(stream_reply(*FIVE, END, usage_event(USAGE), DONE))
    async with serving(upstream) as client:
        answer = await client.ask({**ASK, "stream": True})
        receipt = client.receipt(answer)
    assert answer.body == b"".join([*FIVE, END, DONE])
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert json.loads(upstream.calls[0].body)["stream_options"] == {"include_usage": True}
    assert (receipt.cost_nano, receipt.usage_source) == (21_000, "provider")
    assert receipt.attempts[0].outcome == "ok"


async def test_a_client_that_leaves_is_charged_for_what_came(serving: Serving) -> None:
    """The work stops, the provider's reply is closed, the row is 499 and estimated."""
    leave = asyncio.Event()

    class Slow(FakeReply):
        async def chunks(self) -> AsyncIterator[bytes]:
            yield event("some words of an answer ")
            leave.set()
            await asyncio.sleep(30)

    reply = Slow(200, [], {"content-type": "text/event-stream"})
    async with serving(FakeUpstream(reply)) as client:
        answer = await asyncio.wait_for(client.ask({**ASK, "stream": True}, leave), 5)
        receipt = client.receipt(answer)
        assert client.held() == (0, 0)
    assert reply.closed
    assert (receipt.status, receipt.usage_source) == (499, "estimated")
    assert 3 <= receipt.completion_tokens <= 8
    assert b"[DONE]" not in answer.body


async def test_a_client_that_leaves_before_any_byte_is_charged_at_the_hold(
    serving: Serving,
) -> None:
    """Sent and not answered: what the provider may bill is what was held for."""
    leave = asyncio.Event()
    upstream = FakeUpstream(plain_reply())

    async def wait(call: object) -> None:
        leave.set()
        await asyncio.sleep(30)

    upstream.during = wait
    async with serving(upstream) as client:
        await asyncio.wait_for(client.ask(ASK, leave), 5)
        (receipt,) = client.app.shell.ledger.receipts("t")
        assert client.held() == (0, 0)
    assert (receipt.status, receipt.completion_tokens) == (499, 50)
    assert receipt.attempts[0].outcome == "cancelled"


@pytest.mark.parametrize(
    ("failure", "status", "paid"),
    [
        (UpstreamFailed("refused"), 502, False),
        (UpstreamTimeout("silent"), 504, True),
        (plain_reply(b"<html>", status=503), 503, False),
        (plain_reply(b"{}", status=200), 502, False),
        (FakeReply(200, [b'{"a":', BrokenOff("cut")], {}), 502, True),
        (plain_reply(b'{"error":{"message":"no"}}', status=400), 400, False),
    ],
)
async def test_whatever_happens_the_hold_is_settled(
    serving: Serving, failure: Exception | FakeReply, status: int, paid: bool
) -> None:
    """A failure before an answer is free, one that may have been billed is charged; none hangs."""
    async with serving(FakeUpstream(failure)) as client:
        answer = await client.ask(ASK)
        receipt = client.receipt(answer)
        assert client.held() == (0, 0)
    assert (answer.status, receipt.status) == (status, status)
    assert (receipt.cost_nano > 0) == paid


async def test_a_declared_fallback_is_tried_within_its_own_hold(serving: Serving) -> None:
    """The dearer fallback extends the hold before it is asked, and its price is billed."""
    upstream = FakeUpstream(UpstreamFailed("down"), plain_reply())
    async with serving(upstream) as client:
        seen: list[int] = []
        upstream.during = lambda call: seen.append(client.held()[1])
        answer = await client.ask({**ASK, "model": "backed"})
        receipt = client.receipt(answer)
    assert [call.model for call in upstream.calls] == ["backed", "spare"]
    assert json.loads(upstream.calls[1].body)["model"] == "spare"
    assert seen[1] > seen[0]
    assert receipt.served_model == "spare"
    assert receipt.cost_nano == 11 * 3000 + 5 * 4000
    assert receipt.reasons[-1] == {"code": "fallback", "model": "spare"}


BILLED_ERROR = json.dumps(
    {"error": {"message": "overloaded"}, "usage": {"prompt_tokens": 9, "completion_tokens": 2}}
).encode()


@pytest.mark.parametrize(
    ("failure", "state", "first"),
    [
        (UpstreamTimeout("silent"), "provisional", None),
        (Unanswered("reset"), "provisional", None),
        (FakeReply(200, [b'{"a":', BrokenOff("cut")], {}), "provisional", None),
        (plain_reply(BILLED_ERROR, status=503), "settled", 9 * 1000 + 2 * 2000),
        (plain_reply(BILLED_ERROR), "settled", 9 * 1000 + 2 * 2000),
        (UpstreamFailed("refused"), "void", 0),
        (ConnectTimeout("no connection"), "void", 0),
        (plain_reply(b"<html>", status=503), "void", 0),
    ],
    ids=["timeout", "reset", "cut", "503-usage", "200-usage", "refused", "unconnected", "503"],
)
async def test_an_attempt_that_failed_before_a_fallback_is_on_the_bill(
    serving: Serving, failure: Exception | FakeReply, state: str, first: int | None
) -> None:
    """What the provider may have billed has lines and a state of its own, within the hold."""
    upstream = FakeUpstream(failure, plain_reply())
    async with serving(upstream) as client:
        seen: list[int] = []
        upstream.during = lambda call: seen.append(client.held()[1])
        answer = await client.ask({**ASK, "model": "backed"})
        receipt = client.receipt(answer)
        assert client.held() == (0, 0)
        (window,) = client.app.shell.ledger.budgets(("organisation", "t"), None)
    assert answer.status == 200
    failed, served = receipt.attempts
    assert (failed.state, served.state) == (state, "settled")
    own = {one.id: 0 for one in receipt.attempts}
    for line in receipt.lines:
        own[line.attempt] += line.amount_nano
    answer_nano = 11 * 3000 + 5 * 4000
    assert own[served.id] == answer_nano
    if first is None:  # nothing is known: its own worst case, nothing less
        assert 50 * 2000 <= own[failed.id] <= seen[0]
    else:
        assert own[failed.id] == first
    assert window.spent_nano == receipt.cost_nano == sum(own.values()) <= seen[1]
    estimate = state == "provisional"
    assert receipt.usage_source == ("estimated" if estimate else "provider")
    assert sum(receipt.saved_by.values()) == receipt.saved_nano
    assert receipt.saved_by["retries"] == -own[failed.id]
    assert receipt.waste_nano == own[failed.id]
    assert answer.headers["x-weir-cost-usd"] == usd(receipt.cost_nano)


async def test_all_attempts_of_a_request_that_failed_are_on_the_bill(serving: Serving) -> None:
    """Two time-outs are two charges: the last one does not hide the first."""
    upstream = FakeUpstream(UpstreamTimeout("silent"), UpstreamTimeout("silent"))
    async with serving(upstream) as client:
        answer = await client.ask({**ASK, "model": "backed"})
        receipt = client.receipt(answer)
        assert client.held() == (0, 0)
    assert (answer.status, receipt.status) == (504, 504)
    assert [one.state for one in receipt.attempts] == ["provisional", "provisional"]
    assert {line.attempt for line in receipt.lines} == {one.id for one in receipt.attempts}
    assert receipt.cost_nano >= 50 * 2000 + 50 * 4000


async def test_a_fallback_that_would_not_fit_beside_what_was_spent_is_not_asked(
    serving: Serving,
) -> None:
    """The client's own ceiling holds for all attempts together."""
    upstream = FakeUpstream(UpstreamTimeout("silent"), plain_reply())
    async with serving(upstream) as client:
        answer = await client.ask({**ASK, "model": "backed"}, x_weir_max_cost_usd="0.0004")
        receipt = client.receipt(answer)
    assert answer.status == 504
    assert len(upstream.calls) == 1
    assert receipt.cost_nano <= 400_000


async def test_a_broken_stream_ends_with_an_error_event(serving: Serving) -> None:
    """What came stays, the cut is said, nothing pretends to be an end."""
    upstream = FakeUpstream(stream_reply(*FIVE, BrokenOff("reset")))
    async with serving(upstream) as client:
        answer = await client.ask({**ASK, "stream": True})
        receipt = client.receipt(answer)
    assert answer.status == 200
    assert answer.body.startswith(b"".join(FIVE))
    last = json.loads(answer.body.rstrip().rsplit(b"data: ", 1)[1])
    assert last["error"]["code"] == "stream_broken"
    assert answer.ended
    assert (receipt.attempts[0].outcome, receipt.effective_tokens) == ("cut", 0)
    assert receipt.waste_nano == receipt.cost_nano > 0


async def test_a_service_tier_without_a_price_is_charged_at_the_hold(serving: Serving) -> None:
    """Served in a way that no price covers: the hold is the charge, visibly, and it adds up."""
    body = json.loads(completion()) | {"service_tier": "gilded"}
    upstream = FakeUpstream(plain_reply(json.dumps(body).encode()))
    async with serving(upstream) as client:
        answer = await client.ask(ASK)
        receipt = client.receipt(answer)
        assert client.held() == (0, 0)
    assert answer.status == 200
    assert sum(line.amount_nano for line in receipt.lines) == receipt.cost_nano > 0


async def test_a_draining_gateway_refuses_and_an_overfull_one_too(serving: Serving) -> None:
    """503 with a time to try again, before anything is held."""
    upstream = FakeUpstream(plain_reply())
    async with serving(upstream, "server: { max_concurrent: 1 }") as client:
        inner: list[Answer] = []

        async def second(call: object) -> None:
            inner.append(await client.ask(ASK))

        upstream.during = second
        outer = await client.ask(ASK)
        client.app.shell.admission.draining = True
        late = await client.ask(ASK)
    assert outer.status == 200
    assert [(a.status, a.error["code"]) for a in (inner[0], late)] == [
        (503, "overloaded"),
        (503, "draining"),
    ]
    assert all(a.headers["retry-after"] for a in (inner[0], late))


async def test_a_full_database_leaves_the_gateway_ready(serving: Serving) -> None:
    """What can be journalled is served: /readyz is 200 and says that the tables are behind."""
    upstream = FakeUpstream(plain_reply())
    async with serving(upstream) as client:
        ledger = client.app.shell.ledger
        write = ledger._store._write
        pages = write.execute("PRAGMA page_count").fetchone()[0]
        write.execute(f"PRAGMA max_page_count = {pages}")
        asked = 0
        while ledger.trouble() is None:
            asked += 1
            assert asked < 2000
            assert (await client.ask(ASK)).status == 200
        transport = httpx.ASGITransport(app=client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://weir") as web:
            found = await web.get("/readyz")
        served = (await client.ask(ASK)).status
        write.execute("PRAGMA max_page_count = 1073741823")
    assert (found.status_code, found.json()) == (200, {"status": "ready", "ledger": "behind"})
    assert served == 200


async def test_a_full_disk_is_503_without_a_path_and_readiness_follows_it(
    serving: Serving, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The client is told to try again, the log where; /readyz fails until there is room."""
    upstream = FakeUpstream(plain_reply())
    async with serving(upstream) as client:

        async def ready() -> tuple[int, str]:
            transport = httpx.ASGITransport(app=client.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://weir") as web:
                found = await web.get("/readyz")
            return found.status_code, found.json()["status"]

        assert await ready() == (200, "ready")
        journal = client.app.shell.ledger._writer._journal._file
        whole, full = os.dup(journal), os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, journal)
        answer = await client.ask(ASK)
        unready = await ready()
        os.dup2(whole, journal)
        again, after = await ready(), await client.ask(ASK)
        os.close(whole)
        os.close(full)
    assert (answer.status, answer.error["code"]) == (503, "ledger_unavailable")
    assert str(tmp_path) not in answer.body.decode()
    assert str(tmp_path) in caplog.text
    assert unready == (503, "ledger_unavailable")
    assert (again, after.status) == ((200, "ready"), 200)
    assert len(upstream.calls) == 1


@pytest.mark.parametrize(
    "body",
    [
        {**ASK, "model": "weir-LEAKED" + "x" * 200},
        {**ASK, "model": "m" * 64 + "LEAKED"},
        {**ASK, "messages": [{"role": "sk-LEAKED", "content": "Tell me."}]},
    ],
)
async def test_what_a_client_wrote_is_in_no_log_and_no_credential_in_an_answer(
    serving: Serving, caplog: pytest.LogCaptureFixture, body: dict[str, Any]
) -> None:
    """The log names status, code and field; the answer quotes little, and masks keys."""
    caplog.set_level("INFO", "weir")
    async with serving(FakeUpstream(plain_reply())) as client:
        answer = await client.ask(body)
    assert answer.status in (400, 404)
    assert "LEAKED" not in answer.body.decode()
    (line,) = [json.loads(r.message) for r in caplog.records if r.message.startswith("{")]
    assert line.keys() == {"request_id", "status", "error", "param"}
    assert line["status"] == answer.status
    assert line["param"] == answer.error["param"]


async def test_a_full_pool_refuses_big_requests_with_a_time_to_try_again(
    serving: Serving,
) -> None:
    """503, nothing held or sent; small requests pass."""
    upstream = FakeUpstream(plain_reply())
    big = {**ASK, "messages": [{"role": "user", "content": "word " * 10_000}]}
    async with serving(upstream) as client:
        client.app.shell.workers.close()
        client.app.shell.workers = Workers(threads=1, max_waiting=0)
        refused, small = await client.ask(big), await client.ask(ASK)
        assert client.held() == (0, 0)
    assert (refused.status, refused.error["code"]) == (503, "overloaded")
    assert refused.headers["retry-after"]
    assert small.status == 200
    assert len(upstream.calls) == 1


async def test_spend_is_the_sum_of_receipts(serving: Serving) -> None:
    """After many requests at once the budget's figure is the receipts' sum to the nano."""
    upstream = FakeUpstream(plain_reply())
    async with serving(upstream) as client:
        await asyncio.gather(*(client.ask({**ASK, "seed": n}) for n in range(40)))
        (window,) = client.app.shell.ledger.budgets(("organisation", "t"), None)
        receipts = client.app.shell.ledger.receipts("t")
    assert len(receipts) == 40
    assert window.spent_nano == sum(receipt.cost_nano for receipt in receipts)
    assert Decimal(window.spent_nano) / 10**9 == Decimal("0.00084")

"""What untouched traffic told is in the counterfactual, on the receipt and in explain."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from fakes import FakeUpstream, completion, plain_reply

from billing import untouched
from billing.counterfactual import scaled
from billing.receipt import Receipt, check
from billing.receipt_json import to_json
from billing.untouched import MIN_ANSWERS, MIN_RETRIES, Norms
from billing.usage import Usage
from gateway.app import App, create_app
from gateway.auth import hash_of
from gateway.norms import refreshed
from gateway.settings import parse

SECRET = "weir-norms"
THOUGHT = {
    "prompt_tokens": 11,
    "completion_tokens": 35,
    "completion_tokens_details": {"reasoning_tokens": 30},
}


@asynccontextmanager
async def house(
    folder: Path, upstream: FakeUpstream, holdout: str, models: str = ""
) -> AsyncIterator[App]:
    """Routing is on; ``holdout`` of the sessions pass untouched."""
    config = f"""
database: sqlite:///{folder}/weir.db
upstreams:
  fake: {{ kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: sk-own, retries: 0,
           provider: openai }}
models:
  big: {{ upstream: fake, tier: mid, price: {{ input: 10, output: 20 }}, context_window: 90000 }}
  small: {{ upstream: fake, tier: small, price: {{ input: 1, output: 2 }}, context_window: 90000 }}
  {models}
routing: {{ quality: {{ floor: 50%, unproven: route }} }}
holdout: {holdout}
teams: {{ t: {{ keys: [k] }} }}
keys: {{ k: {hash_of(SECRET)} }}
"""
    settings = parse(config, "weir.yaml", {})
    app = create_app(settings, upstreams={"fake": upstream}, clock=lambda: 1_780_272_000_000)
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


async def ask(app: App, text: str, mode: str = "route", model: str = "big") -> Receipt:
    """The receipt of one request."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 50}
    seen, _ = await call(app, "/v1/chat/completions", body, mode)
    found = app.shell.ledger.receipt(seen["x-weir-request-id"])
    assert found is not None
    return found


async def call(
    app: App, path: str, body: dict[str, Any], mode: str = "route"
) -> tuple[dict[str, str], bytes]:
    """Headers and body of an answer."""
    sent = iter([{"type": "http.request", "body": json.dumps(body).encode()}])
    seen: dict[str, str] = {}
    pieces: list[bytes] = []

    async def receive() -> Any:
        return next(sent, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            seen.update({k.decode(): v.decode() for k, v in message["headers"]})
        else:
            pieces.append(message["body"])

    headers = {"authorization": f"Bearer {SECRET}", "x-weir-mode": mode}
    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"",
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    }  # fmt: skip
    await app(scope, receive, send)
    return seen, b"".join(pieces)


def norms_of(kind: str, mean: int, rate: str) -> Norms:
    """The big model reasons so long, and its retries cost so much."""
    extra = round(Decimal(rate) * 10**9)
    return Norms(
        {("big", kind): (MIN_ANSWERS, mean * MIN_ANSWERS)}, {"big": (MIN_RETRIES, 10**9, extra)}
    )


async def test_a_routed_request_is_compared_with_how_the_model_asked_for_reasons(
    tmp_path: Path,
) -> None:
    """Its mean and its retries are in tokenmaxxed; the record gives the same nano, and the
    causes add up to the saving.
    """
    async with house(tmp_path, FakeUpstream(plain_reply()), "0%") as app:
        plain = await ask(app, "Say a word.")
        kind = untouched.class_of(plain.decision)
        app.shell.norms = norms_of(kind, 400, "0.05")
        fed = await ask(app, "Say a word.")
    assert plain.served_model == fed.served_model == "small"
    assert plain.baseline_nano is not None
    assert fed.baseline_nano == scaled(plain.baseline_nano + 400 * 20_000, Decimal("1.05"))
    kept = dict(fed.decision["tokenmaxxed"])  # type: ignore[call-overload]  # a mapping
    assert (kept.pop("retry_rate"), kept["reasoning_tokens"]) == ("0.0500", 400)
    cost = app.shell.snapshot.price("big", fed.at_ms, "default").cost(Usage(**kept))
    assert scaled(cost, Decimal("1.05")) == fed.baseline_nano
    assert fed.saved_by is not None
    assert sum(fed.saved_by.values()) == fed.saved_nano
    check(fed)
    assert to_json(fed)["baseline_from"] == fed.decision["tokenmaxxed"]


async def test_what_was_served_as_asked_keeps_its_own_reasoning(tmp_path: Path) -> None:
    """Of a request that was not changed the truth is known; in the holdout the mean stands in
    for it all the same, so that kappa tells how far off the mean is.
    """
    for arm, share, mode, reasoned in (
        ("routed", "0%", "pass", 30),
        ("holdout", "100%", "route", 400),
    ):
        upstream = FakeUpstream(plain_reply(completion(usage=THOUGHT)))
        async with house(tmp_path / arm, upstream, share) as app:
            first = await ask(app, "Say a word.", mode)
            app.shell.norms = norms_of(untouched.class_of(first.decision), 400, "0")
            found = await ask(app, "Say a word.", mode)
        assert (found.arm, found.served_model) == (arm, "big")
        assert found.baseline_nano == 11 * 10_000 + (5 + reasoned) * 20_000
        assert first.baseline_nano == first.cost_nano


async def test_the_process_reads_its_own_holdout(tmp_path: Path) -> None:
    """Answers of the holdout become the figures that explain shows, once there are enough."""
    upstream = FakeUpstream(plain_reply(completion(usage=THOUGHT)))
    async with house(tmp_path, upstream, "100%") as app:
        for number in range(MIN_ANSWERS):
            receipt = await ask(app, f"Say the word {number}.")
        app.shell.ledger.flush()
        while refreshed(app.shell):
            pass
        kind = untouched.class_of(receipt.decision)
        norm = app.shell.norms.of("big", kind)
        assert (norm.reasoning_tokens, norm.answers, norm.retry_rate) == (30, MIN_ANSWERS, 0)
        body = {"model": "big", "messages": [{"role": "user", "content": "Say the word 7."}]}
        said = json.loads((await call(app, "/weir/explain", body))[1])["baseline"]["untouched"]
    assert said == {
        "class": kind, "reasoning_tokens": 30, "answers": MIN_ANSWERS,
        "answers_needed": MIN_ANSWERS, "retry_rate": None, "retries_of": MIN_ANSWERS,
        "retries_needed": MIN_RETRIES,
    }  # fmt: skip


async def test_a_receipt_keeps_list_prices_where_others_were_charged(tmp_path: Path) -> None:
    """An own price of a listed model is charged; the provider's own stands beside it, for
    ListCost. Where both agree nothing is kept.
    """
    models = "gpt-6.1-sol: { upstream: fake, tier: mid, price: { input: 1, output: 10 } }"
    async with house(tmp_path, FakeUpstream(plain_reply()), "0%", models) as app:
        found = await ask(app, "Say a word.", "pass", "gpt-6.1-sol")
        other = await ask(app, "Say a word.", "pass")
    assert found.cost_nano == 11 * 1_000 + 5 * 10_000
    assert found.decision["list"] == {found.attempts[-1].id: {"input": "2"}}
    assert "list" not in other.decision


async def test_what_is_beyond_the_effective_context_is_waste_with_its_surcharge(
    tmp_path: Path,
) -> None:
    """Waste is what was paid less the price of the prompt cut at the effective context: that is
    below the step, so the dearer rate of every token is waste, too. Effective tokens end there,
    reasoning is none, and a usage key that nobody knows is counted.
    """
    usage = {
        "prompt_tokens": 300_000, "completion_tokens": 9, "mystery_tokens": 4,
        "completion_tokens_details": {"reasoning_tokens": 4},
    }  # fmt: skip
    models = (
        "deep: { upstream: fake, tier: mid, context_window: 1000000, effective_context: 50000, "
        "price: { input: 2, output: 10, above: [{ tokens: 272000, input: 4, output: 15 }] } }"
    )
    upstream = FakeUpstream(plain_reply(completion(usage=usage)))
    async with house(tmp_path, upstream, "0%", models) as app:
        found = await ask(app, "Say a word.", "pass", "deep")
        page = app.shell.telemetry.page(0)
    assert found.cost_nano == 300_000 * 4_000 + 9 * 15_000
    assert found.waste_nano == found.cost_nano - (50_000 * 2_000 + 9 * 10_000)
    assert found.effective_tokens == 50_000 + 5
    assert found.billed_tokens == 300_009
    text = page.decode() if isinstance(page, bytes) else str(page)
    assert 'mystery_tokens"} 1.0' in text
    assert found.attempts[-1].usage is not None
    assert found.attempts[-1].usage["mystery_tokens"] == 4

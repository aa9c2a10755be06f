"""The exact answer cache: the same request of the same key gets the answer that it got before.

Off unless `answers.exact` says otherwise. The same is: key, wire, body (whatever the order of
its fields), the headers that change an answer, and the configuration in force. Only whole
answers are kept, as they went out; a stream comes back as its stored text.

What is kept lies beside the ledger, for all processes, under a name and a seal that only the
client's own secret gives: whoever has the disk can neither read it nor test a guess. Another
key, of the same team, too, finds nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from billing.errors import LedgerUnavailable, PriceMissing
from billing.ledger import HoldRequest
from billing.money import usd
from billing.receipt import ANSWERED, Receipt
from billing.recovery import orphan
from gateway.answers_store import Found, Name, named
from gateway.exchange import Caller, Exchange
from gateway.idempotency import Recorder, Reply
from gateway.pipeline import handle
from gateway.prepare import INLINE_BYTES
from gateway.rate_limits import limited
from gateway.relay import Send, send_plain
from gateway.settle import answered
from gateway.shell import Shell
from gateway.snapshot import Snapshot
from gateway.wire import body as bodies
from gateway.workers_ledger import held

log = logging.getLogger("weir")
KEEP_BYTES = 1 << 20
"""A longer answer is not kept."""
SHARED_PREFIX_TOKENS, WARM_MS = 1024, 3_600_000
"""A prompt of this size, asked again this soon, a provider might have had in its own cache."""
_TRACES = frozenset({"traceparent", "tracestate"})
_KEPT_HEADERS = frozenset({b"content-type", b"x-weir-model", b"x-weir-tier", b"cache-control"})


async def remembered(shell: Shell, ex: Exchange, raw: bytes, send: Send) -> None:
    """Serve one request from what is kept, or serve it and keep what it got."""
    name = None
    if ex.headers.cache != "off":
        naming = partial(name_of, shell.snapshot, ex, raw)
        name = naming() if len(raw) <= INLINE_BYTES else await asyncio.to_thread(naming)
    if name is None or ex.caller is None:
        await handle(shell, ex, raw, send)
        return
    found = None
    if ex.headers.cache == "use":
        found = await _asked(shell, lambda: shell.answers.find(name, ex.at_ms))
    if found is not None:
        if not limited(ex.caller.key):
            await _again(shell, ex, ex.caller, found, send)
            return
        async with shell.rates.within(ex.caller.key, ex):
            await _again(shell, ex, ex.caller, found, send)
        return
    recorder = Recorder(send)
    try:
        await handle(shell, ex, raw, recorder)
        await _keep(shell, ex, name, recorder.finished())
    finally:
        await recorder.let_go()  # who has the whole answer finds it kept


async def _keep(shell: Shell, ex: Exchange, name: Name, reply: Reply | None) -> None:
    """A whole answer that the client can use is kept for its time."""
    receipt = ex.settled
    whole = answered(ex) and ex.reply.completed and not ex.reply.schema_failed
    if reply is None or receipt is None or not whole or len(reply.body) > KEEP_BYTES:
        return
    headers = [pair for pair in reply.headers if pair[0] in _KEPT_HEADERS]
    kept = Found(Reply(200, headers, reply.body), receipt)
    section = shell.snapshot.settings.answers
    span = (ex.at_ms, ex.at_ms + int(section.ttl_seconds * 1000))
    most = int(section.max_mb * 1024 * 1024)
    await _asked(shell, lambda: shell.answers.keep(name, kept, span, most))


def name_of(snapshot: Snapshot, ex: Exchange, raw: bytes) -> Name | None:
    """What a request's answer is known by; None: it is never kept.

    What lies at the provider (a stored response, a conversation) may change there.

    Raises:
        InvalidRequest: the body is no JSON object, or names a key twice.
    """
    body = bodies.load(raw)
    if not bodies.spliceable(raw):
        bodies.check_duplicates(raw)
    headers, secret = ex.headers, ex.headers.secret
    if ex.caller is None or secret is None or _stored(ex.wire, body):
        return None
    said = {
        "wire": ex.wire,
        "config": snapshot.settings.hash,
        "mode": headers.mode,
        "fit": headers.fit.value,
        "user": ex.caller.user,
        "session": headers.session,
        "headers": {k: v for k, v in ex.forwarded.items() if k not in _TRACES},
        "body": body,
    }
    whole = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
    owner = ex.caller.key.sha256
    return named(owner, secret, whole)


def _stored(wire: str, body: Mapping[str, Any]) -> bool:
    if wire != "responses":
        return False
    return body.get("store") is not False or any(
        body.get(name) is not None for name in ("previous_response_id", "conversation", "prompt")
    )


async def _asked(shell: Shell, work: Callable[[], Found | None]) -> Found | None:
    """The store's answer, off the event loop; a store in trouble is no reason to fail."""
    try:
        return await asyncio.to_thread(work)
    except LedgerUnavailable as error:
        log.warning("no answer is kept or found: %s", error)
        return None


async def _again(shell: Shell, ex: Exchange, caller: Caller, found: Found, send: Send) -> None:
    """The kept answer goes out, and its receipt is written first."""
    wanted = HoldRequest(
        request_id=ex.request_id,
        path=caller.key.path,
        user=caller.user,
        amount_nano=0,
        at_ms=ex.at_ms,
        model=found.receipt.served_model,
        upstream=found.receipt.upstream,
        session=ex.headers.session,
        task=ex.headers.task,
        tags=ex.headers.tags,
    )
    hold = await held(shell.ledger, wanted)
    receipt = ex.settled = receipt_of(shell.snapshot, wanted, found.receipt)
    shell.ledger.settle(hold, receipt)
    shell.telemetry.settled(receipt, time.perf_counter() - ex.started)
    ex.status = 200
    rows = [
        ("x-weir-request-id", ex.request_id),
        ("x-weir-action", ANSWERED),
        ("x-weir-reason", "kept_answer"),
        ("x-weir-arm", receipt.arm),
        ("x-weir-cost-usd", "0"),
    ]
    if receipt.baseline_nano is not None:
        rows.append(("x-weir-baseline-usd", usd(receipt.baseline_nano)))
    headers = [(name.encode(), value.encode()) for name, value in rows]
    await send_plain(send, 200, [*found.reply.headers, *headers], found.reply.body)


def receipt_of(snapshot: Snapshot, wanted: HoldRequest, first: Receipt) -> Receipt:
    """The receipt of an answer that was given before: nothing paid, and what it would have cost."""
    age_ms = wanted.at_ms - first.at_ms
    reason = {"code": "kept_answer", "of": first.request_id, "age_s": age_ms // 1000}
    return replace(
        orphan(wanted, 0, wanted.at_ms, "kept_answer"),
        requested_model=first.requested_model,
        tier=first.tier,
        action=ANSWERED,
        reasons=(reason,),
        original_prompt_tokens=first.original_prompt_tokens,
        effective_tokens=first.effective_tokens,
        baseline_nano=_baseline(snapshot, first, wanted.at_ms, age_ms),
        baseline_model=first.baseline_model,
        usage_source="none",
        status=200,
        policy_hash=snapshot.settings.hash,
        prices_hash=snapshot.prices.hash,
        catalog_hash=snapshot.catalog_hash,
        state="settled",
    )


def _baseline(snapshot: Snapshot, first: Receipt, at_ms: int, age_ms: int) -> int | None:
    """What it would have cost again: never more than at first, and less where the provider
    itself might have had the prompt in its cache."""
    cost, prompt = first.baseline_nano, first.original_prompt_tokens
    if cost is None or age_ms > WARM_MS or prompt < SHARED_PREFIX_TOKENS:
        return cost
    try:
        price = snapshot.price(first.baseline_model, at_ms, None)
        return min(cost, price.estimate(prompt, prompt, first.completion_tokens))
    except (PriceMissing, KeyError):
        return cost

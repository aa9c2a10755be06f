"""handle(): the request's story on one screen.

Parse, measure, decide, hold, send, relay, settle. Whatever happens after the hold, it is
settled: no request leaves without its ledger row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import ceil
from typing import TypeVar

from billing.errors import (
    BudgetExhausted,
    BudgetFigures,
    LedgerUnavailable,
    PriceMissing,
    Throttled,
)
from billing.ledger import Hold, HoldRequest
from compressor.recipe import Way
from gateway import relay, settle, shadow
from gateway.actions import weir_headers
from gateway.aside import ASIDE_BYTES
from gateway.baseline import special_price
from gateway.brakes import as_rate, obeyed
from gateway.charges import charged
from gateway.errors import (
    GatewayError,
    Overloaded,
    StreamBroken,
    UpstreamFailed,
    UpstreamTimeout,
)
from gateway.escalate import fault_of, step_up
from gateway.exchange import ChatRequest, Exchange, Parties, Prepared, Reply
from gateway.headers import passed_back
from gateway.keeping import keep
from gateway.most import most
from gateway.own_calls import OwnCalls, metered
from gateway.prepare import INLINE_BYTES, Question, prepare, prepare_aside, write_outbound
from gateway.rate_limits import limited
from gateway.recall_settle import is_json
from gateway.relay import Send
from gateway.sessions import in_holdout, session_key
from gateway.shell import Shell
from gateway.snapshot import Snapshot
from gateway.upstream.failover import Around, Delivery, Ready, dispatch
from gateway.wire.registry import WIRES
from gateway.workers import QueueFull
from gateway.workers_ledger import held
from router.fitting import scale
from router.plan import Candidate

T = TypeVar("T")

# A summary by a model takes seconds: only a body too small for one is fitted on the event loop.
MODEL_INLINE_BYTES = 4 * 1024


async def handle(shell: Shell, ex: Exchange, raw: bytes, send: Send) -> None:
    """Serve one request and write its receipt, within its key's rate limits."""
    if ex.caller is None or not limited(ex.caller.key):
        await _handle(shell, ex, raw, send)
        return
    async with shell.rates.within(ex.caller.key, ex):
        await _handle(shell, ex, raw, send)


async def _handle(shell: Shell, ex: Exchange, raw: bytes, send: Send) -> None:
    snapshot = shell.snapshot
    ex.request = await _read(shell, ex, raw)
    if ex.caller is not None:
        ex.brake = obeyed(shell, ex.caller, ex.request_id, ex.at_ms)
        ex.reply.keep = ex.caller.key.keep_bodies_s > 0
        if snapshot.settings.routing.shadow is not None:
            ex.reply.keep |= shadow.drawn(snapshot, ex.request_id)
    try:
        ex.prepared = await think(shell, snapshot, ex, ex.request, paying=True)
        if ex.caller is not None and limited(ex.caller.key):
            await shell.rates.prompt(ex.caller.key, ex.prepared.measurement.prompt_tokens)
        hold = await _hold(shell, snapshot, ex)
    except BaseException as error:
        settle.abandon(shell, snapshot, ex, error)
        raise
    try:
        ready = partial(_ready, shell, snapshot, ex, hold)
        around = Around(shell.upstreams, shell.retries, shell.admission.inside)
        delivery = await dispatch(around, snapshot, ex, ready)
        delivery = await _checked(around, snapshot, ex, ready, delivery)
        await _deliver(shell, snapshot, ex, delivery, hold, send)
    except asyncio.CancelledError:
        ex.reply.outcome, ex.status = "cancelled", 499
        raise
    except StreamBroken:
        pass  # the client has been told inside the stream
    except GatewayError as error:
        ex.status = settle.status_of(error)
        raise
    finally:
        settle.finish(shell, snapshot, ex, hold)
        keep(shell.bodies, ex)
        if snapshot.settings.routing.shadow is not None:
            shadow.after(shell, snapshot, ex)


async def dry_run(shell: Shell, ex: Exchange, raw: bytes) -> None:
    """All that happens before a hold; nothing is reserved, sent or remembered."""
    ex.request = await _read(shell, ex, raw)
    ex.prepared = await think(shell, shell.snapshot, ex, ex.request)


async def _read(shell: Shell, ex: Exchange, raw: bytes) -> ChatRequest:
    """The body parsed; the end user it names is the caller's where no header names one."""
    request = await _work(shell, raw, partial(WIRES[ex.wire].parse, raw, ex.headers))
    if ex.caller is not None and request.user != ex.caller.user:
        ex.caller = replace(ex.caller, user=request.user)
    return request


async def think(
    shell: Shell, snapshot: Snapshot, ex: Exchange, request: ChatRequest, *, paying: bool = False
) -> Prepared:
    """Measure, decide and fit, off the event loop when the body is big.

    ``paying``: summaries that cost money may be made, each one held and billed.
    """
    question = _question(shell, snapshot, ex, request)
    if paying and snapshot.settings.routing.explore is not None:
        question = replace(question, draw=shell.recall.draw(snapshot, ex.request_id, ex.at_ms))
    if shell.feed is not None and shell.recall.stale(ex.session_key, request):
        await shell.feed.catch_up()
    kit = shell.kit_for(snapshot, question.caller.key.team, request.facts.requested_model)
    section = snapshot.settings.fit.summarizer
    if paying and section.backend == "openai":
        wanted = _wanted(ex, request, 0, (section.model or "", section.upstream or ""))
        ex.own = OwnCalls(shell.ledger, snapshot, wanted)
        kit = metered(kit, ex.own)
    inline = INLINE_BYTES if section.backend == "extractive" else MODEL_INLINE_BYTES
    if len(request.raw) > ASIDE_BYTES:
        work = partial(prepare_aside, snapshot, question, kit, shell.workers.helpers)
        return await _pooled(shell, work, aside=True)
    return await _work(shell, request.raw, partial(prepare, snapshot, question, kit), inline)


def _question(shell: Shell, snapshot: Snapshot, ex: Exchange, request: ChatRequest) -> Question:
    """The request in its surroundings: session, arm, brake, what is warm."""
    caller = ex.caller
    if caller is None:
        raise RuntimeError("a request without a caller reached the pipeline")
    key = caller.key
    ex.session_key = session_key(
        key.name, ex.headers.session or request.session, request.conversation, ex.at_ms
    )
    if snapshot.policy(key).mode == "observe":
        ex.arm = "observe"
    elif in_holdout(ex.session_key, float(key.holdout)):
        ex.arm = "holdout"
        facts = replace(request.facts, mode="pass", fit=Way.WHOLE)
        request = ex.request = replace(request, facts=facts)
    return Question(
        request=request,
        caller=caller,
        brake=ex.brake or shell.ledger.brake(key.path, caller.user, ex.at_ms),
        warm={},
        served_before=None,
        at_ms=ex.at_ms,
        recall=shell.recall,
        session_key=ex.session_key,
    )


async def _work(shell: Shell, raw: bytes, work: Callable[[], T], inline: int = INLINE_BYTES) -> T:
    """Small work here and now, big work in the pool. Raises Overloaded."""
    return work() if len(raw) <= inline else await _pooled(shell, work)


async def _pooled(shell: Shell, work: Callable[[], T], *, aside: bool = False) -> T:
    """Big work in a pool.

    Raises:
        Overloaded: the pool is full; nothing was held or sent.
    """
    try:
        return await shell.workers.run(work, aside=aside)
    except QueueFull as full:
        raise Overloaded(f"too many big requests at once ({full}); try again soon") from None


async def _hold(shell: Shell, snapshot: Snapshot, ex: Exchange) -> Hold:
    """Reserve the worst case in every ancestor, durably, before anything is sent.

    Raises:
        BudgetExhausted, Throttled, LedgerUnavailable, PriceMissing.
    """
    parties = Parties.of(ex)
    key, candidate = parties.caller.key, parties.prepared.candidate
    amount = worst_case(snapshot, ex, parties.prepared, candidate)
    ceiling = ex.headers.max_cost_nano
    own_nano = ex.own.cost_nano if ex.own is not None else 0
    if ceiling is not None and amount + own_nano > ceiling:
        raise BudgetExhausted(
            "this request could cost more than its own header x-weir-max-cost-usd allows; lower "
            "max_tokens or raise the header",
            BudgetFigures("request/header", 0, amount, ceiling, ""),
        )
    towards = (candidate.model, snapshot.settings.models[candidate.model].upstream)
    wanted = _wanted(ex, parties.request, amount, towards)
    try:
        if ex.own is not None and ex.own.hold is not None:
            hold = ex.own.hold
            await asyncio.to_thread(shell.ledger.extend, hold, amount, towards)
        else:
            hold = await held(shell.ledger, wanted)
    except BudgetExhausted as exhausted:
        if key.ladder is not None and key.ladder.refuses_as_rate:
            raise as_rate(exhausted, ex.at_ms) from None
        raise
    ex.held_nano = amount + (ex.own.held_nano if ex.own is not None else 0)
    return hold


def _wanted(
    ex: Exchange, request: ChatRequest, amount: int, towards: tuple[str, str]
) -> HoldRequest:
    """A hold for this exchange, with all that is known of it should nothing else survive."""
    if ex.caller is None:
        raise RuntimeError("a request without a caller wants no hold")
    model, upstream = towards
    return HoldRequest(
        request_id=ex.request_id,
        path=ex.caller.key.path,
        user=ex.caller.user,
        amount_nano=amount,
        at_ms=ex.at_ms,
        model=model,
        upstream=upstream,
        session=ex.headers.session,
        session_key=ex.session_key,
        task=ex.headers.task,
        tags=ex.headers.tags,
        arm=ex.arm,
        requested_model=request.facts.requested_model,
    )


def worst_case(snapshot: Snapshot, ex: Exchange, prepared: Prepared, candidate: Candidate) -> int:
    """The most that one attempt on ``candidate`` can cost, nano-USD.

    Raises:
        PriceMissing: the candidate has no price.
    """
    parties = Parties.of(ex)
    option = snapshot.option(parties.caller.key, candidate.model, ex.at_ms)
    if option.price is None:
        raise PriceMissing(option.provider, option.provider_model)
    tokens = candidate.prompt_tokens
    if prepared.fitted is not None:  # a fit may have widened beyond what was planned
        ratio = scale(prepared.measurement, option.card)
        tokens = max(tokens, ceil(prepared.fitted.prompt_tokens * ratio))
    if parties.request.hidden:  # the provider adds what it stored, up to all it can read
        tokens = max(tokens, option.card.window)
    exact = prepared.measurement.exact and option.card.exact
    output = prepared.plan.max_output_tokens * parties.request.facts.choices
    amount = most(option.price, tokens, output, exact=exact)
    special = special_price(snapshot, ex, candidate.model)
    return amount if special is None else max(amount, most(special, tokens, output, exact=exact))


def _ready(
    shell: Shell, snapshot: Snapshot, ex: Exchange, hold: Hold, candidate: Candidate
) -> bool:
    """Make a further candidate ready: its own body, and room beside what is charged already."""
    parties = Parties.of(ex)
    fitted = parties.prepared.fitted
    if candidate.way is Way.WHOLE:
        fitted = None
    elif fitted is None or fitted.way is not candidate.way:
        return False
    question = _question(shell, snapshot, ex, parties.request)
    again = candidate.model == parties.prepared.candidate.model
    code = "retry" if again else "fallback"
    prepared = replace(
        parties.prepared,
        candidate=candidate,
        fitted=fitted,
        outbound=write_outbound(snapshot, parties.request, candidate, fitted, question),
        reasons=(*parties.prepared.reasons, {"code": code, "model": candidate.model}),
    )
    last = charged(snapshot, ex)
    upstream = snapshot.settings.models[candidate.model].upstream
    ceiling = ex.headers.max_cost_nano
    try:
        need = ex.charged_nano + last.cost_nano + worst_case(snapshot, ex, prepared, candidate)
        need += ex.own.cost_nano if ex.own is not None else 0
        if ceiling is not None and need > ceiling:
            return False
        more = max(0, need - ex.held_nano)
        shell.ledger.extend(hold, more, (candidate.model, upstream))
    except (BudgetExhausted, Throttled, PriceMissing, LedgerUnavailable):
        return False
    ex.held_nano += more
    ex.charges.append(last)
    ex.prepared, ex.reply = prepared, Reply(keep=ex.reply.keep)
    return True


async def _checked(
    around: Around, snapshot: Snapshot, ex: Exchange, ready: Ready, delivery: Delivery
) -> Delivery:
    """The answer, or that of the model asked for where a cheaper one's fails a check.

    Where that model does not answer either, the first answer goes out; both are charged.
    """
    if delivery.stream is not None or delivery.status != 200:
        return delivery
    up = step_up(ex) if snapshot.settings.routing.escalate == "on_fault" else None
    fault = fault_of(Parties.of(ex).request, delivery.body) if up is not None else None
    if up is None or fault is None:
        return delivery
    before = Parties.of(ex).prepared, ex.reply
    if not ready(up):
        return delivery
    weak, prepared = before[0], Parties.of(ex).prepared
    reason = {"code": "escalated", "fault": fault, "model": up.model}
    ex.prepared = replace(prepared, reasons=(*weak.reasons, reason))
    ex.escalated = weak.candidate
    try:
        better = await dispatch(around, snapshot, ex, ready, alone=True)
    except (UpstreamFailed, UpstreamTimeout, Overloaded):
        better = None
    if better is not None and better.status == 200:
        return better
    first, failed = ex.charges.pop(), charged(snapshot, ex)
    ex.charges.append(failed)
    if first.attempt is not None:  # the attempt that answered stands last
        ex.attempts.sort(key=lambda attempt: attempt.id == first.attempt_id)
    ex.prepared, ex.reply, ex.escalated = *before, None
    return delivery


async def _deliver(
    shell: Shell, snapshot: Snapshot, ex: Exchange, delivery: Delivery, hold: Hold, send: Send
) -> None:
    """Pass the answer on; the receipt of a whole answer is written before its first byte."""
    parties = Parties.of(ex)
    ex.status = delivery.status
    tightest = shell.ledger.tightest(parties.caller.key.path, parties.caller.user)
    budget = tightest.header() if tightest else None
    back = passed_back(delivery.headers)
    if delivery.stream is not None:
        headers = [*weir_headers(ex, parties.prepared, budget), *back]
        await delivery.stream.run(send, headers, snapshot.settings.server.heartbeat_seconds)
        return
    if parties.request.facts.json_schema and delivery.status == 200:
        ex.reply.schema_failed = not is_json(WIRES[ex.wire], delivery.body)
    settle.finish(shell, snapshot, ex, hold)
    headers = [
        (b"content-type", b"application/json"),
        *weir_headers(ex, parties.prepared, budget),
        *back,
    ]
    await relay.send_plain(send, delivery.status, headers, delivery.body)

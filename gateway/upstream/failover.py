"""Trying candidates in the plan's order, only until the first byte has gone out.

A provider's own refusal (4xx) is an answer, not a failure: it goes back as it came. A
failure that another candidate may mend is tried there, each attempt on the receipt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import orjson

from billing.receipt import Attempt
from billing.record import record
from gateway.errors import (
    BrokenOff,
    ConnectTimeout,
    GatewayError,
    Overloaded,
    UpstreamAuth,
    UpstreamFailed,
    UpstreamTimeout,
)
from gateway.exchange import Exchange, Parties
from gateway.ids import new_id
from gateway.relay import StreamRelay, read_plain, take_usage
from gateway.snapshot import Snapshot
from gateway.stream import scrubbed
from gateway.upstream.health import retry_after_s
from gateway.upstream.overflow import STATUSES, overflowed
from gateway.upstream.protocol import Opened, Outbound, Upstream
from gateway.upstream.retry import RetryBudget, wait_s
from gateway.wire.protocol import Wire
from gateway.wire.registry import WIRES
from router.catalog import effective
from router.plan import Candidate

MAX_ATTEMPTS = 5
_MENDABLE = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
# Of an attempt that ended so nobody knows whether it is billed: it is not asked again in place.
_UNKNOWN_END = frozenset({"timeout", "cut", "cancelled"})
Ready = Callable[[Candidate], bool]


@record(frozen=True, slots=True)
class Around:
    """What a dispatch needs of the process: its upstreams, and how many retries it may make."""

    upstreams: Mapping[str, Upstream]
    retries: RetryBudget
    inside: int


@record(frozen=True, slots=True)
class Delivery:
    """An answer whose status is known: a whole body, or a stream that has begun."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    stream: StreamRelay | None = None


async def dispatch(
    around: Around, snapshot: Snapshot, ex: Exchange, ready: Ready, *, alone: bool = False
) -> Delivery:
    """The first answer that the plan's candidates give.

    A candidate whose upstream rests is passed over where another is in order. What failed
    before it can have been billed is asked again at the same place, within its retries; then
    the next candidate is, unless this one is to answer ``alone``. A prompt that is too long
    goes to the next with a larger window.

    Raises:
        UpstreamFailed, UpstreamTimeout, UpstreamAuth, Overloaded: none of them answered.
    """
    queue = [] if alone else _queue(snapshot, ex)
    _pass_over(around, snapshot, ex, queue, ready)
    failure: GatewayError | None = None
    last: Delivery | None = None
    while True:
        try:
            delivery = await _attempt(around.upstreams, snapshot, ex)
        except (UpstreamFailed, UpstreamTimeout, Overloaded) as error:
            failure, last = error, None
        else:
            if _too_long(delivery):
                queue = _larger(snapshot, ex, queue)
                failure, last = None, delivery
            elif delivery.status in _MENDABLE:
                failure, last = _failure(delivery, ex), delivery
            else:
                return delivery
        if len(ex.attempts) >= MAX_ATTEMPTS:
            break
        final = failure is None or getattr(failure, "final", False)
        if not final and await _again(around, snapshot, ex, ready, last):
            continue
        if not _next(ex, queue, ready):
            break
    if last is not None and (failure is None or last.status in {408, 409, 429}):
        return last
    raise failure or UpstreamFailed("no candidate answered")


def _queue(snapshot: Snapshot, ex: Exchange) -> list[Candidate]:
    """The fallbacks that read this prompt at least as well as the first choice would."""
    prepared = Parties.of(ex).prepared
    first = prepared.candidate
    reach = effective(snapshot.cards[first.model], prepared.need)

    def reads(other: Candidate) -> bool:
        own = effective(snapshot.cards[other.model], prepared.need)
        return own >= min(reach, other.prompt_tokens)

    return [c for c in prepared.plan.fallbacks if c.model != first.model and reads(c)]


def _pass_over(
    around: Around, snapshot: Snapshot, ex: Exchange, queue: list[Candidate], ready: Ready
) -> None:
    """Begin with the first candidate whose upstream is in order, if there is one."""
    first = Parties.of(ex).prepared.candidate
    if _well(around, snapshot, first):
        return
    for candidate in queue:
        if _well(around, snapshot, candidate) and ready(candidate):
            queue.remove(candidate)
            return


def _well(around: Around, snapshot: Snapshot, candidate: Candidate) -> bool:
    entry = snapshot.settings.models[candidate.model]
    asked = getattr(around.upstreams[entry.upstream], "ready", None)
    return asked is None or bool(asked(entry.model or candidate.model))


def _too_long(delivery: Delivery) -> bool:
    return delivery.status in STATUSES and overflowed(delivery.body)


def _larger(snapshot: Snapshot, ex: Exchange, queue: list[Candidate]) -> list[Candidate]:
    """What is left of the fallbacks with a window larger than the one that was too small."""
    window = snapshot.cards[Parties.of(ex).prepared.candidate.model].window
    return [c for c in queue if snapshot.cards[c.model].window > window]


async def _again(
    around: Around, snapshot: Snapshot, ex: Exchange, ready: Ready, last: Delivery | None
) -> bool:
    """Whether the same candidate is to be asked once more; waits until it is time."""
    candidate = Parties.of(ex).prepared.candidate
    entry = snapshot.settings.models[candidate.model]
    spec = snapshot.settings.upstreams[entry.upstream]
    tries = sum(attempt.model == candidate.model for attempt in ex.attempts)
    if tries > spec.retries or _may_be_billed(ex):
        return False
    wait = 0.0
    elsewhere = len(spec.endpoints) > 1 and _well(around, snapshot, candidate)
    if not elsewhere:
        if ex.attempts[-1].status in {401, 403}:
            return False  # the same credential gets the same answer
        headers = last.headers if last is not None else {}
        told = retry_after_s(headers.get("retry-after"), headers.get("retry-after-ms"))
        due = wait_s(tries, told)
        if due is None or time.perf_counter() - ex.started + due > spec.timeouts.total:
            return False
        wait = due
    if not around.retries.take(around.inside):
        return False
    try:
        await asyncio.sleep(wait)
    finally:
        around.retries.give()
    return ready(candidate)


def _may_be_billed(ex: Exchange) -> bool:
    """Whether the latest attempt may cost something: it is not made twice in the same place."""
    last = ex.attempts[-1]
    return last.outcome in _UNKNOWN_END or last.status == 200 or ex.reply.usage is not None


def _next(ex: Exchange, queue: list[Candidate], ready: Ready) -> bool:
    tried = {attempt.model for attempt in ex.attempts}
    while queue:
        candidate = queue.pop(0)
        if candidate.model not in tried and ready(candidate):
            return True
    return False


def _call(snapshot: Snapshot, ex: Exchange) -> Outbound:
    """The call that the present candidate asks for."""
    parties = Parties.of(ex)
    prepared, request = parties.prepared, parties.request
    model = prepared.candidate.model
    return Outbound(
        wire=request.wire,
        path=WIRES[request.wire].path,
        body=prepared.outbound,
        stream=request.stream,
        model=snapshot.settings.models[model].model or model,
        headers=ex.forwarded,
        max_output=prepared.plan.max_output_tokens,
    )


async def _attempt(upstreams: Mapping[str, Upstream], snapshot: Snapshot, ex: Exchange) -> Delivery:
    """One call, noted as an attempt whatever becomes of it."""
    model = Parties.of(ex).prepared.candidate.model
    entry = snapshot.settings.models[model]
    upstream, call = upstreams[entry.upstream], _call(snapshot, ex)
    started = time.perf_counter()
    if not ex.attempts:
        ex.before_upstream_ms = (started - ex.started) * 1000
    status, outcome = 0, "error"
    ex.attempt_id = new_id(ex.at_ms)
    try:
        opened = await upstream.send(call)
        status = opened.status
        delivery = await _read(ex, opened, upstream.name, snapshot.secrets)
        outcome = "ok" if status < 400 else "refused"
    except UpstreamTimeout as error:
        outcome = "error" if isinstance(error, ConnectTimeout) else "timeout"
        raise
    except asyncio.CancelledError:
        outcome = "cancelled"
        raise
    except BrokenOff:
        outcome = "cut" if status in {0, 200} else "error"
        raise
    finally:
        ex.attempts.append(
            Attempt(
                id=ex.attempt_id,
                model=model,
                upstream=entry.upstream,
                status=status,
                outcome=outcome,
                ttft_ms=ex.reply.ttft_ms,
                duration_ms=(time.perf_counter() - started) * 1000,
                provider_id=ex.reply.provider_id,
            )
        )
    return _scrubbed(delivery, snapshot.secrets)


def _scrubbed(delivery: Delivery, secrets: Sequence[str]) -> Delivery:
    """A refusal without the credential that some providers repeat in it."""
    if delivery.status < 400:
        return delivery
    return replace(delivery, body=scrubbed(delivery.body, secrets))


async def _read(ex: Exchange, opened: Opened, name: str, secrets: Sequence[str]) -> Delivery:
    status, request = opened.status, Parties.of(ex).request
    wire = WIRES[request.wire]
    ex.reply.status = status
    if status == 200 and request.stream:
        kind = opened.headers.get("content-type", "")
        if kind and "text/event-stream" not in kind:
            await opened.close()
            raise UpstreamFailed(f"upstream {name!r} answered a stream request with {kind[:64]!r}")
        stream = StreamRelay(ex, opened, wire, secrets)
        try:
            await stream.begin()
        except BaseException:
            await opened.close()
            raise
        return Delivery(status, opened.headers, stream=stream)
    try:
        body = await opened.read()
    finally:
        await opened.close()
    if status in {401, 403}:
        raise UpstreamAuth(
            f"upstream {name!r} refused the gateway's own credential ({status}); check "
            f"upstreams.{name}.api_key"
        )
    if status == 200:
        read_plain(ex.reply, body, name, wire)
        ex.reply.ttft_ms = (time.perf_counter() - ex.started) * 1000
        return Delivery(status, opened.headers, body=body)
    if 200 < status < 300:
        raise UpstreamFailed(f"upstream {name!r} answered with status {status}")
    return Delivery(status, opened.headers, body=_error_body(status, body, ex, wire))


def _error_body(status: int, body: bytes, ex: Exchange, wire: Wire) -> bytes:
    """A provider's JSON error as it came; anything else becomes one in the wire's shape.

    A failure that reports its usage is billed, and so it is charged.
    """
    try:
        said = orjson.loads(body)
        if isinstance(said, dict):
            take_usage(ex.reply, said.get("usage"), wire)
            return body
    except orjson.JSONDecodeError:
        pass
    error = {
        "message": f"the provider answered with status {status} and no JSON body",
        "type": "upstream_error",
        "param": None,
        "code": "upstream_error",
        "request_id": ex.request_id,
    }
    return orjson.dumps({"error": error})


def _failure(delivery: Delivery, ex: Exchange) -> GatewayError:
    """What a mendable status becomes when nothing mended it."""
    upstream = ex.attempts[-1].upstream
    text = f"upstream {upstream!r} answered with status {delivery.status}"
    if delivery.status == 504:
        return UpstreamTimeout(text)
    if delivery.status in {503, 529}:
        wait = delivery.headers.get("retry-after", "")
        return Overloaded(text, float(wait) if wait.isdigit() else 1.0)
    return UpstreamFailed(text)

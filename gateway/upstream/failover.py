"""Trying candidates in the plan's order, only until the first byte has gone out.

A provider's own refusal (4xx) is an answer, not a failure: it goes back as it came. A
failure that another candidate may mend is tried there, each attempt on the receipt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from billing.receipt import Attempt
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
from gateway.upstream.protocol import Opened, Outbound, Upstream
from gateway.wire.protocol import Wire
from gateway.wire.registry import WIRES
from router.plan import Candidate

MAX_ATTEMPTS = 3
_MENDABLE = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
Ready = Callable[[Candidate], bool]


@dataclass(frozen=True, slots=True)
class Delivery:
    """An answer whose status is known: a whole body, or a stream that has begun."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    stream: StreamRelay | None = None


async def dispatch(
    upstreams: Mapping[str, Upstream], snapshot: Snapshot, ex: Exchange, ready: Ready
) -> Delivery:
    """The first answer that the plan's candidates give.

    Raises:
        UpstreamFailed, UpstreamTimeout, UpstreamAuth, Overloaded: none of them answered.
    """
    prepared = Parties.of(ex).prepared
    queue = [c for c in prepared.plan.fallbacks if c.model != prepared.candidate.model]
    failure: GatewayError | None = None
    last: Delivery | None = None
    while True:
        try:
            delivery = await _attempt(upstreams, snapshot, ex)
        except (UpstreamFailed, UpstreamTimeout, Overloaded) as error:
            failure, last = error, None
        else:
            if delivery.status not in _MENDABLE:
                return delivery
            failure, last = _failure(delivery, ex), delivery
        if len(ex.attempts) >= MAX_ATTEMPTS or not _next(ex, queue, ready):
            break
    if last is not None and last.status in {408, 409, 429}:
        return last
    raise failure


def _next(ex: Exchange, queue: list[Candidate], ready: Ready) -> bool:
    tried = {attempt.model for attempt in ex.attempts}
    while queue:
        candidate = queue.pop(0)
        if candidate.model not in tried and ready(candidate):
            return True
    return False


async def _attempt(upstreams: Mapping[str, Upstream], snapshot: Snapshot, ex: Exchange) -> Delivery:
    """One call, noted as an attempt whatever becomes of it."""
    parties = Parties.of(ex)
    prepared, request = parties.prepared, parties.request
    model = prepared.candidate.model
    entry = snapshot.settings.models[model]
    upstream = upstreams[entry.upstream]
    call = Outbound(
        wire=request.wire,
        path=WIRES[request.wire].path,
        body=prepared.outbound,
        stream=request.stream,
        model=entry.model or model,
        headers=ex.forwarded,
        max_output=prepared.plan.max_output_tokens,
    )
    started = time.perf_counter()
    if not ex.attempts:
        ex.before_upstream_ms = (started - ex.started) * 1000
    status, outcome = 0, "error"
    ex.attempt_id = new_id(ex.at_ms)
    try:
        opened = await upstream.send(call)
        status = opened.status
        delivery = await _read(ex, opened, upstream.name, snapshot.settings.secrets)
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
    return _scrubbed(delivery, snapshot.settings.secrets)


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

"""Pictures and sound: passed to the model's own provider as they came, held before, billed after.

Nothing is routed, fitted or asked twice. JSON answers are read whole; sound and events go out
in pieces as they arrive. What came of a request whose answer is lost is charged at its hold.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from billing.errors import BudgetExhausted, BudgetFigures
from billing.ledger import Hold, HoldRequest
from billing.money import usd
from gateway.batches import read as json_of
from gateway.brakes import as_rate, obeyed
from gateway.errors import (
    BrokenOff,
    ConnectTimeout,
    InvalidRequest,
    ModelNotAllowed,
    StreamBroken,
    UpstreamAuth,
    UpstreamFailed,
    UpstreamTimeout,
    row_for,
)
from gateway.exchange import Exchange
from gateway.headers import passed_back
from gateway.media_bill import Work, receipt_of
from gateway.media_body import Asked, read, renamed
from gateway.media_price import IMAGE, SPEECH, TRANSCRIPT, Kind, Told, cost
from gateway.prepare import INLINE_BYTES, check_model, permitted
from gateway.rate_limits import limited
from gateway.relay import Send, send_plain
from gateway.shell import Shell
from gateway.stream import EventStream, EventTooLarge, payloads
from gateway.upstream.storage import Ask, Stored
from gateway.workers_ledger import held

ROUTES: Mapping[str, Kind] = {
    "/v1/images/generations": IMAGE,
    "/v1/images/edits": IMAGE,
    "/v1/images/variations": IMAGE,
    "/v1/audio/speech": SPEECH,
    "/v1/audio/transcriptions": TRANSCRIPT,
    "/v1/audio/translations": TRANSCRIPT,
}


@dataclass(slots=True)
class _Events(EventStream):
    """What the events of pictures, speech and transcripts tell of their bill."""

    pictures: int = 0
    finished: bool = False

    @property
    def whole(self) -> bool:
        """Whether the last event has come."""
        return self.finished

    def text(self) -> str:
        """Nothing is kept."""
        return ""

    def read(self, block: bytes) -> bytes:
        """Usage and ends; the bytes as they came."""
        for said in payloads(block):
            kind = str(said.get("type"))
            if kind.endswith((".completed", ".done")):
                self.finished = True
                self.pictures += kind.endswith(".completed")
                usage = said.get("usage")
                self.usage = usage if isinstance(usage, dict) else self.usage
            if isinstance(said.get("error"), dict) or kind == "error":
                self.error = said
        return block


@dataclass(frozen=True, slots=True)
class Media:
    """The work of one route, for ``generate.serve``."""

    path: str
    content_type: str

    async def __call__(self, shell: Shell, ex: Exchange, raw: bytes, send: Send) -> None:
        """Serve one request and write its receipt, within its key's rate limits."""
        if ex.caller is None or not limited(ex.caller.key):
            await self._handle(shell, ex, raw, send)
            return
        async with shell.rates.within(ex.caller.key, ex):
            await self._handle(shell, ex, raw, send)

    async def _handle(self, shell: Shell, ex: Exchange, raw: bytes, send: Send) -> None:
        if len(raw) > INLINE_BYTES:
            asked = await asyncio.to_thread(read, raw, self.content_type)
        else:
            asked = read(raw, self.content_type)
        work = _work(shell, ex, ROUTES[self.path], asked)
        work.small = len(raw) <= INLINE_BYTES
        entry = work.snapshot.settings.models[asked.model]
        body = renamed(raw, asked, entry.model or asked.model)
        hold = await _hold(work)
        headers = {**ex.forwarded, "content-type": self.content_type}
        ask = Ask("POST", self.path.removeprefix("/v1"), headers, body)
        work.began, work.outcome = time.perf_counter(), "cut"  # until more is known
        try:
            answer = await shell.batches.storage(entry.upstream).send(ask)
            work.status = answer.status
            await _deliver(work, answer, hold, send)
        except asyncio.CancelledError:
            work.outcome, ex.status = "cancelled", 499
            raise
        except (UpstreamFailed, UpstreamTimeout, StreamBroken) as error:
            ex.status = row_for(error).status
            unknown = isinstance(error, BrokenOff | UpstreamTimeout | StreamBroken)
            work.outcome = "cut" if unknown else "error"
            if isinstance(error, ConnectTimeout):
                work.outcome = "error"
            if not isinstance(error, StreamBroken) or work.status == 0:
                raise
        finally:
            _finish(work, hold)


def _work(shell: Shell, ex: Exchange, kind: Kind, asked: Asked) -> Work:
    """A request that may be made.

    Raises:
        UnknownModel, ModelNotAllowed, InvalidRequest, PriceMissing, and what a ladder does.
    """
    snapshot, caller = shell.snapshot, ex.caller
    if caller is None:
        raise RuntimeError("a request without a caller reached the pipeline")
    check_model(snapshot, asked.model)
    entry = snapshot.settings.models.get(asked.model)
    if entry is None or snapshot.settings.upstreams[entry.upstream].kind != "openai":
        raise InvalidRequest(
            f"model {asked.model!r} is not served by an upstream that takes pictures or sound; "
            f"name one of an upstream of kind openai",
            param="model",
        )
    if not permitted(snapshot, caller.key, asked.model):
        raise ModelNotAllowed(f"key {caller.key.name!r} may not use model {asked.model!r}")
    user = asked.fields.get("user")
    if caller.user is None and isinstance(user, str) and user:
        caller = ex.caller = replace(caller, user=user[:200])
    obeyed(shell, caller, ex.request_id, ex.at_ms)
    price = snapshot.price(asked.model, ex.at_ms, None)
    return Work(shell, snapshot, ex, caller, kind, asked, price)


async def _hold(work: Work) -> Hold:
    """The worst case, held. Raises BudgetExhausted, Throttled, LedgerUnavailable, PriceMissing."""
    ex, key, asked = work.ex, work.caller.key, work.asked
    most = partial(work.kind.most, work.price, asked, work.count)
    amount = cost(work.price, most() if work.small else await asyncio.to_thread(most))
    ceiling = ex.headers.max_cost_nano
    if ceiling is not None and amount > ceiling:
        raise BudgetExhausted(
            "this request could cost more than its own header x-weir-max-cost-usd allows",
            BudgetFigures("request/header", 0, amount, ceiling, ""),
        )
    wanted = HoldRequest(
        request_id=ex.request_id,
        path=key.path,
        user=work.caller.user,
        amount_nano=amount,
        at_ms=ex.at_ms,
        model=asked.model,
        upstream=work.snapshot.settings.models[asked.model].upstream,
        session=ex.headers.session,
        task=ex.headers.task,
        tags=ex.headers.tags,
    )
    try:
        hold = await held(work.shell.ledger, wanted)
    except BudgetExhausted as exhausted:
        if key.ladder is not None and key.ladder.refuses_as_rate:
            raise as_rate(exhausted, ex.at_ms) from None
        raise
    work.held_nano = amount
    ex.before_upstream_ms = (time.perf_counter() - ex.started) * 1000
    return hold


async def _deliver(work: Work, answer: Stored, hold: Hold, send: Send) -> None:
    """Pass the answer on; the receipt of a whole one is written before its first byte."""
    kind = answer.headers.get("content-type", "application/octet-stream")
    back = [(b"content-type", kind.encode("latin-1")), *passed_back(answer.headers)]
    if answer.status == 200 and (work.asked.stream or work.kind is SPEECH):
        await _relay(work, answer, back, send)
        return
    try:
        body = await answer.read()
    finally:
        answer.close()
    if answer.status in {401, 403}:
        raise UpstreamAuth(f"the provider refused the gateway's own credential ({answer.status})")
    if answer.status == 504:
        raise UpstreamTimeout("the provider answered with status 504")
    if answer.status >= 500 or 200 < answer.status < 400:
        raise UpstreamFailed(f"the provider answered with status {answer.status}")
    work.ex.status, work.outcome = answer.status, "ok" if answer.status == 200 else "refused"
    if answer.status == 200:
        work.told = _told(body, kind)
        if work.kind is IMAGE and not work.told.pictures:
            work.told = None
            raise BrokenOff("the provider answered 200 without a picture")
    _finish(work, hold)
    await send_plain(send, answer.status, [*_headers(work), *back], body)


def _told(body: bytes, content_type: str) -> Told:
    """What a whole answer tells."""
    if "json" not in content_type:
        return Told(text=body.decode("utf-8", "replace"))
    data = json_of(body)
    usage, made, length = data.get("usage"), data.get("data"), data.get("duration")
    return Told(
        usage if isinstance(usage, dict) else None,
        len(made) if isinstance(made, list) else 0,
        float(length) if isinstance(length, int | float) else None,
        str(data.get("text", "")),
    )


async def _relay(work: Work, answer: Stored, back: list[tuple[bytes, bytes]], send: Send) -> None:
    """Sound or events in pieces. Raises StreamBroken: the client has been told, or cut off."""
    events = _Events() if work.asked.stream else None
    start = {"type": "http.response.start", "status": 200, "headers": [*_headers(work), *back]}
    try:
        await send(start)
        async for piece in answer.chunks():
            out = events.feed(piece) if events is not None else piece
            if out:
                await send({"type": "http.response.body", "body": out, "more_body": True})
        if events is not None:
            rest = events.rest()
            await send({"type": "http.response.body", "body": rest, "more_body": True})
            if not events.finished and events.error is None:
                raise BrokenOff("the provider closed its stream early")
    except (UpstreamFailed, UpstreamTimeout, EventTooLarge) as error:
        if events is not None:
            told = b'data: {"error":{"message":"the answer is incomplete","type":"upstream_error"}}'
            await send({"type": "http.response.body", "body": told + b"\n\n"})
        raise StreamBroken(f"the answer is incomplete: {error}") from None
    finally:
        answer.close()
    await send({"type": "http.response.body", "body": b""})
    work.ex.status, work.outcome = 200, "ok"
    work.told = Told(events.usage, events.pictures) if events is not None else Told()


def _headers(work: Work) -> list[tuple[bytes, bytes]]:
    ex, caller = work.ex, work.caller
    rows = [
        ("x-weir-request-id", ex.request_id),
        ("x-weir-action", "pass"),
        ("x-weir-model", work.asked.model),
        ("x-weir-overhead-ms", f"{ex.before_upstream_ms:.2f}"),
    ]
    tightest = work.shell.ledger.tightest(caller.key.path, caller.user)
    if tightest is not None:
        rows.append(("x-weir-budget", tightest.header()))
    if ex.settled is not None:
        rows.append(("x-weir-cost-usd", usd(ex.settled.cost_nano)))
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in rows]


def _finish(work: Work, hold: Hold) -> None:
    """Settle the hold, once."""
    ex = work.ex
    if ex.settled is not None:
        return
    receipt = ex.settled = receipt_of(work)
    work.shell.ledger.settle(hold, receipt)
    work.shell.telemetry.settled(receipt, time.perf_counter() - ex.started)

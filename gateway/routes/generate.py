"""What generates, on any wire: a bare ASGI callable, no framework on the hot path."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any

from billing.errors import LedgerUnavailable
from gateway import auth
from gateway import headers as header_rules
from gateway.admission import Receive, read_body
from gateway.answers import remembered
from gateway.errors import ClientGone, param_of, place, render, row_for
from gateway.exchange import Caller, ClientHeaders, Exchange
from gateway.ids import new_id
from gateway.pipeline import handle
from gateway.relay import Send, send_plain
from gateway.shell import Shell

log = logging.getLogger("weir")
Scope = MutableMapping[str, Any]
Work = Callable[[Shell, Exchange, bytes, Send], Awaitable[None]]


class Outbox:
    """The ASGI send, remembering whether an answer has begun and whether it has ended."""

    __slots__ = ("_send", "begun", "ended")

    def __init__(self, send: Send) -> None:
        self._send, self.begun, self.ended = send, False, False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        """Pass one message on."""
        self.begun = True
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.ended = True  # from here on the server says `disconnect`, whoever is there
        await self._send(message)


async def serve(
    shell: Shell, scope: Scope, receive: Receive, send: Send, wire: str, work: Work | None = None
) -> None:
    """One request from headers to the last byte; every error becomes the wire's own."""
    at_ms = shell.clock()
    ex = Exchange(
        request_id=new_id(at_ms),
        at_ms=at_ms,
        started=time.perf_counter(),
        wire=wire,
        headers=ClientHeaders(),
    )
    outbox = Outbox(send)
    try:
        work = work or (remembered if shell.snapshot.settings.answers.exact else handle)
        await _admitted(shell, ex, (scope, receive), outbox, work)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelled() or not ex.client_gone:
            raise
        task.uncancel()
        shell.telemetry.refused("client_closed_request", ex.request_id, 499)
    except Exception as error:  # noqa: BLE001 - the edge: whatever it was, the client is told
        await answer_error(shell, ex.request_id, wire, error, outbox)


async def answer_error(
    shell: Shell, request_id: str, wire: str, error: Exception, outbox: Outbox
) -> None:
    """Log an error once and tell the client, unless its answer has begun."""
    row = row_for(error)
    if row.status == 500:
        log.error("request %s failed inside: %s", request_id, place(error))
    elif isinstance(error, LedgerUnavailable):
        log.error("request %s: %s", request_id, error)
    shell.telemetry.refused(row.code, request_id, row.status, param_of(error))
    if outbox.begun or isinstance(error, ClientGone):
        return
    rendered = render(error, wire, request_id)
    await send_plain(outbox, rendered.status, rendered.headers, rendered.body)


async def _admitted(
    shell: Shell, ex: Exchange, ends: tuple[Scope, Receive], outbox: Outbox, work: Work
) -> None:
    scope, receive = ends
    raw_headers = scope["headers"]
    ex.headers = header_rules.read(raw_headers)
    ex.forwarded = header_rules.forwarded(raw_headers)
    key = auth.identify(ex.headers.secret, shell.snapshot.accounts, ex.at_ms)
    ex.caller = Caller(key=key, user=ex.headers.user)
    shell.admission.enter(ex.headers)
    try:
        raw = await read_body(receive, shell.admission)
        if ex.headers.idempotency_key is not None:
            await shell.replies.once(ex, raw, outbox, partial(work, shell, ex, raw))
            return
        watch = asyncio.ensure_future(receive())
        watch.add_done_callback(_Leaver(ex, outbox))
        try:
            await work(shell, ex, raw, outbox)
        finally:
            watch.cancel()
    finally:
        shell.admission.leave()


class _Leaver:
    """Cancels a request's work when its client leaves."""

    __slots__ = ("_ex", "_outbox", "_task")

    def __init__(self, ex: Exchange, outbox: Outbox) -> None:
        self._ex, self._outbox = ex, outbox
        self._task = asyncio.current_task()

    def __call__(self, watch: asyncio.Future[MutableMapping[str, Any]]) -> None:
        if watch.cancelled() or watch.exception() is not None or self._outbox.ended:
            return
        if watch.result()["type"] == "http.disconnect" and self._task is not None:
            self._ex.client_gone = True
            self._task.cancel()

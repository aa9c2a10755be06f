"""`/v1/batches` and `/v1/messages/batches`: held before they are sent, billed when they end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from billing.batches import OPEN, StoredBatch, StoredFile
from billing.errors import BudgetExhausted, BudgetFigures, LedgerUnavailable
from billing.ledger import Hold, HoldRequest
from billing.recovery import orphan
from gateway import headers as header_rules
from gateway.admission import read_body
from gateway.batch_rows import Rows, Terms
from gateway.batches import in_pieces, path_of, read
from gateway.brakes import as_rate, obeyed
from gateway.errors import (
    BrokenOff,
    ConnectTimeout,
    InvalidRequest,
    NotFound,
    Overloaded,
    UpstreamFailed,
    UpstreamTimeout,
)
from gateway.exchange import Caller, ClientHeaders
from gateway.ids import new_id
from gateway.routes.files import homes_of, listed, own_file, passed_on, plain, relayed
from gateway.routes.management import Process, Who
from gateway.shell import Shell
from gateway.upstream.storage import Ask, Stored
from gateway.wire import body as bodies
from gateway.wire.registry import ROUTES
from gateway.workers import QueueFull

log = logging.getLogger("weir")
api = APIRouter()
MESSAGES = "/v1/messages/batches"
SETTLE_WAIT_S = 10.0
"""How long a client that fetches an ended batch waits for its bill to be written."""


@dataclass(frozen=True, slots=True)
class Started:
    """A batch that is about to be: who asks, how, where, what each row may cost."""

    request_id: str
    caller: Caller
    headers: ClientHeaders
    rows: Rows

    def hold(self, amount_nano: int) -> HoldRequest:
        """The hold for all of it."""
        terms = self.rows.terms
        models = {ceiling.model for ceiling in self.rows.costs.values()}
        return HoldRequest(
            request_id=self.request_id,
            path=self.caller.key.path,
            user=self.caller.user,
            amount_nano=amount_nano,
            at_ms=terms.at_ms,
            model=min(models, default=""),
            upstream=terms.upstream,
            session=self.headers.session,
            task=self.headers.task,
            tags=self.headers.tags,
        )


@api.post("/v1/batches")
async def create(request: Request, caller: Who, shell: Process) -> Response:
    """OpenAI's batch over an input file of the team."""
    raw = await read_body(request.receive, shell.admission)
    body = bodies.load(raw)
    bodies.check_duplicates(raw)
    endpoint, file_id = body.get("endpoint"), body.get("input_file_id")
    wire = ROUTES.get(endpoint) if isinstance(endpoint, str) else None
    if wire is None or wire.name == "messages":
        known = ", ".join(route for route, one in ROUTES.items() if one.name != "messages")
        raise InvalidRequest(f"'endpoint' must be one of: {known}", param="endpoint")
    if not isinstance(file_id, str):
        raise InvalidRequest("'input_file_id' must name a file", param="input_file_id")
    homes, _ = homes_of(request, caller, shell)
    file = await own_file(file_id, caller, shell)
    if file.upstream not in homes:
        raise NotFound(f"no file {file_id[:64]!r} of this team")
    started = _started(request, caller, shell, (file.upstream, wire.name))
    await _read_file(shell, file, started.rows)
    return await _start(shell, started, Ask("POST", "/batches", passed_on(request), raw))


@api.post(MESSAGES)
async def create_messages(request: Request, caller: Who, shell: Process) -> Response:
    """Anthropic's batch, its rows in the body."""
    raw = await read_body(request.receive, shell.admission)
    body = await asyncio.to_thread(bodies.load, raw)
    homes, _ = homes_of(request, caller, shell)
    upstream = _home_of_rows(shell, homes, body.get("requests"))
    started = _started(request, caller, shell, (upstream, "messages"))
    await _worked(shell, partial(bodies.check_every_object, raw))
    await _worked(shell, partial(started.rows.take_requests, body.get("requests")))
    return await _start(shell, started, Ask("POST", MESSAGES, passed_on(request), raw))


@api.get("/v1/batches")
@api.get(MESSAGES)
async def batches(
    request: Request,
    caller: Who,
    shell: Process,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    after: str | None = None,
) -> Response:
    """The team's batches, the newest first; those that are not over as they are now."""
    homes, wire = homes_of(request, caller, shell)
    after = after or request.query_params.get("after_id")
    found = await asyncio.to_thread(shell.batches.store.batches, caller.key.team, homes)
    names = [batch.id for batch in found]
    start = names.index(after) + 1 if after in names else 0
    for number in range(start, min(start + limit, len(found))):
        if found[number].state == OPEN:
            with contextlib.suppress(UpstreamFailed, UpstreamTimeout, LedgerUnavailable):
                found[number] = await _looked_at(shell, found[number])
    rows = [(batch.id, _shown(batch, batch.shown)) for batch in found]
    return listed(rows, after, limit, wire)


@api.get("/v1/batches/{batch_id}")
@api.get(MESSAGES + "/{batch_id}")
async def batch(batch_id: str, request: Request, caller: Who, shell: Process) -> Response:
    """One batch; where it has ended, its bill is written."""
    found = await _own(batch_id, request, caller, shell)
    answer = await shell.batches.storage(found.upstream).send(
        Ask("GET", path_of(found), passed_on(request))
    )
    return await _told(shell, found, answer)


@api.post("/v1/batches/{batch_id}/cancel")
@api.post(MESSAGES + "/{batch_id}/cancel")
async def cancel(batch_id: str, request: Request, caller: Who, shell: Process) -> Response:
    """The provider is asked to stop; what it has served by then is billed when it has."""
    found = await _own(batch_id, request, caller, shell)
    answer = await shell.batches.storage(found.upstream).send(
        Ask("POST", f"{path_of(found)}/cancel", passed_on(request))
    )
    return await _told(shell, found, answer)


@api.get(MESSAGES + "/{batch_id}/results")
async def results(batch_id: str, request: Request, caller: Who, shell: Process) -> Response:
    """The output, byte for byte and in pieces; its bill is written first."""
    found = await _own(batch_id, request, caller, shell)
    if found.state == OPEN:
        found = await _looked_at(shell, found)
    ask = Ask("GET", f"{path_of(found)}/results", passed_on(request))
    return await relayed(shell, found.upstream, ask)


@api.delete(MESSAGES + "/{batch_id}")
async def delete(batch_id: str, request: Request, caller: Who, shell: Process) -> Response:
    """It is gone at the provider; not before it has been billed."""
    found = await _own(batch_id, request, caller, shell)
    if found.state == OPEN:
        await _looked_at(shell, found)
    answer = await shell.batches.storage(found.upstream).send(
        Ask("DELETE", path_of(found), passed_on(request))
    )
    return plain(answer, await answer.read(), new_id(shell.clock()))


def _started(request: Request, caller: Caller, shell: Shell, where: tuple[str, str]) -> Started:
    """What is known before the rows are read. Raises what a ladder does to new requests."""
    at_ms = shell.clock()
    request_id = new_id(at_ms)
    brake = obeyed(shell, caller, request_id, at_ms)
    limits = [limit for limit in (caller.key.max_output, brake.max_output) if limit is not None]
    rows = Rows(shell.snapshot, Terms(*where, at_ms), caller.key, min(limits, default=None))
    return Started(request_id, caller, header_rules.read(request.scope["headers"]), rows)


def _home_of_rows(shell: Shell, homes: list[str], requests: object) -> str:
    """The upstream that knows the first row's model; the other rows must be there, too."""
    first = requests[0] if isinstance(requests, list) and requests else None
    params = first.get("params") if isinstance(first, Mapping) else None
    name = params.get("model") if isinstance(params, Mapping) else None
    for model, entry in shell.snapshot.settings.models.items():
        if entry.upstream in homes and (entry.model or model) == name:
            return entry.upstream
    return homes[0]


async def _read_file(shell: Shell, file: StoredFile, rows: Rows) -> None:
    """Every row's ceiling, read from the provider's copy: that is what it will serve.

    Raises:
        NotFound: the provider does not have it any more.
    """
    answer = await shell.batches.fetch(file.upstream, f"/files/{file.id}/content")
    if answer.status != 200:
        answer.close()
        raise NotFound(f"the provider does not give file {file.id[:64]!r} ({answer.status})")
    async for lines in in_pieces(answer):
        await _worked(shell, partial(rows.take_lines, lines))
    if not rows.costs:
        raise InvalidRequest("the input file has no rows", param="input_file_id")


async def _worked(shell: Shell, work: Any) -> None:
    try:
        await shell.workers.run(work)
    except QueueFull as full:
        raise Overloaded(f"too many big requests at once ({full}); try again soon") from None


async def _start(shell: Shell, started: Started, ask: Ask) -> Response:
    """Held, sent, and remembered; whatever fails, the hold says what it may have cost.

    Raises:
        BudgetExhausted, Throttled, LedgerUnavailable: nothing was sent.
        UpstreamFailed, UpstreamTimeout: with no word of what became of it, all is charged.
    """
    terms, amount = started.rows.terms, started.rows.most_nano
    wanted = started.hold(amount)
    _check_header(started, amount)
    try:
        hold = await asyncio.to_thread(shell.ledger.hold, wanted)
    except BudgetExhausted as exhausted:
        ladder = started.caller.key.ladder
        if ladder is not None and ladder.refuses_as_rate:
            raise as_rate(exhausted, terms.at_ms) from None
        raise
    work = asyncio.ensure_future(_sent(shell, started, ask, (wanted, hold)))
    return await asyncio.shield(work)  # a client that leaves does not leave a batch unknown


async def _sent(
    shell: Shell, started: Started, ask: Ask, held: tuple[HoldRequest, Hold]
) -> Response:
    terms = started.rows.terms
    wanted, hold = held
    try:
        answer = await shell.batches.storage(terms.upstream).send(ask)
        said = await answer.read()
    except (ConnectTimeout, UpstreamFailed, UpstreamTimeout) as error:
        unsent = not isinstance(error, BrokenOff | UpstreamTimeout)
        if unsent or isinstance(error, ConnectTimeout):
            shell.ledger.release(hold, "the batch was not sent")
        else:
            receipt = orphan(wanted, wanted.amount_nano, hold.at_ms, "provisional")
            shell.ledger.settle(hold, receipt)
        raise
    shown = read(said)
    if not isinstance(shown.get("id"), str) or answer.status >= 300:
        # A 2xx without a name, or a proxy's word for the provider: it may run all the same.
        if answer.status < 300 or answer.status in {502, 504}:
            shell.ledger.settle(hold, orphan(wanted, wanted.amount_nano, hold.at_ms, "provisional"))
        else:
            shell.ledger.release(hold, f"the provider answered with status {answer.status}")
        return plain(answer, said, started.request_id)
    stored = StoredBatch(
        upstream=terms.upstream,
        id=shown["id"],
        team=started.caller.key.team,
        wire=terms.wire,
        at_ms=terms.at_ms,
        hold=replace(wanted, kept=True),
        costs=started.rows.costs,
        shown=said,
        keeper=shell.batches.keeper,
    )
    try:
        await asyncio.to_thread(shell.batches.begin, stored)
    except LedgerUnavailable as error:
        # It runs: an error would have it started twice. Nobody watches it, so the sweep
        # charges its hold.
        log.error("batch %s is not remembered: %s", stored.id, error)
    return plain(answer, _shown(stored, said), started.request_id)


def _check_header(started: Started, amount: int) -> None:
    ceiling = started.headers.max_cost_nano
    if ceiling is not None and amount > ceiling:
        raise BudgetExhausted(
            "this batch could cost more than its own header x-weir-max-cost-usd allows; lower "
            "max_tokens in its rows or raise the header",
            BudgetFigures("request/header", 0, amount, ceiling, ""),
        )


async def _own(batch_id: str, request: Request, caller: Caller, shell: Shell) -> StoredBatch:
    """A batch of the caller's team, on the wire of this path. Raises NotFound."""
    found = await asyncio.to_thread(shell.batches.store.batch, batch_id, caller.key.team)
    of_messages = request.url.path.startswith(MESSAGES)
    if found is None or (found.wire == "messages") is not of_messages:
        raise NotFound(f"no batch {batch_id[:64]!r} of this team")
    return found


async def _looked_at(shell: Shell, found: StoredBatch) -> StoredBatch:
    """An open batch as it is now, billed where it has ended."""
    answer = await shell.batches.fetch(found.upstream, path_of(found))
    said = await answer.read()
    if answer.status != 200:
        return found
    await _taken_in(shell, found, said)
    return replace(found, shown=said)


async def _told(shell: Shell, found: StoredBatch, answer: Stored) -> Response:
    said = await answer.read()
    if answer.status == 200:
        await _taken_in(shell, found, said)
        said = _shown(found, said)
    return plain(answer, said, found.hold.request_id)


async def _taken_in(shell: Shell, found: StoredBatch, said: bytes) -> None:
    """The provider's word is kept, and an ended batch billed; what fails now is tried later."""
    await asyncio.to_thread(shell.batches.store.show, found, said)
    work = asyncio.ensure_future(_settled(shell, found, read(said)))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_WAIT_S):
            await asyncio.shield(work)


async def _settled(shell: Shell, found: StoredBatch, shown: Mapping[str, Any]) -> None:
    with contextlib.suppress(UpstreamFailed, UpstreamTimeout, LedgerUnavailable):
        await shell.batches.settle(found, shown)


def _shown(found: StoredBatch, said: bytes) -> bytes:
    """The provider's words; its address of the results becomes ours, below the client's own."""
    if found.wire != "messages" or not isinstance(read(said).get("results_url"), str):
        return said
    return bodies.with_values(said, {"results_url": f"{path_of(found)}/results"})

"""`/v1/files`: a team's files at its provider, byte for byte and in pieces.

The provider sees one account, ours; a team sees what it uploaded, and what its batches made.
Any other id is not there. OpenAI's clients reach upstreams of `kind: openai`, Anthropic's (they
send `anthropic-version`) those of `kind: anthropic`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from billing.batches import OPEN, StoredFile
from gateway import headers as header_rules
from gateway.admission import SLOW_S
from gateway.batches import files_of, files_root, read
from gateway.errors import (
    BodyTooLarge,
    BodyTooSlow,
    Conflict,
    InvalidRequest,
    ModelNotAllowed,
    NotFound,
    UpstreamFailed,
    UpstreamTimeout,
)
from gateway.exchange import Caller
from gateway.ids import new_id
from gateway.prepare import permitted
from gateway.routes.management import Process, Who
from gateway.shell import Shell
from gateway.upstream.storage import Ask, Stored

api = APIRouter()
CHOICE = "x-weir-upstream"
_SHOWN = ("content-type", "content-disposition")
_WAYS = {"openai": "chat", "anthropic": "messages"}


@api.post("/v1/files")
async def upload(request: Request, caller: Who, shell: Process) -> Response:
    """A file goes to the provider as it comes, and is the team's."""
    home, wire = home_of(request, caller, shell)
    shell.admission.enter(header_rules.read(()))  # its size has a limit of its own
    try:
        headers = passed_on(request)
        length = request.headers.get("content-length", "")
        most = int(shell.snapshot.settings.server.max_file_mb * 1024 * 1024)
        if length.isdecimal():
            _check(int(length), most)
            headers["content-length"] = length
        body = _pieces(request, most)
        answer = await _sent(shell, home, Ask("POST", files_root(wire), headers, body))
        said = await answer.read()
    finally:
        shell.admission.leave()
    shown = read(said)
    if answer.status < 300 and isinstance(shown.get("id"), str):
        file = StoredFile(home, shown["id"], caller.key.team, shell.clock(), said)
        await asyncio.to_thread(shell.batches.store.add_file, file)
    return plain(answer, said, new_id(shell.clock()))


@api.get("/v1/files")
async def files(
    request: Request,
    caller: Who,
    shell: Process,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    after: str | None = None,
    purpose: str | None = None,
) -> Response:
    """The team's files, the newest first, as the provider described them."""
    homes, wire = homes_of(request, caller, shell)
    after = after or request.query_params.get("after_id")
    found = await asyncio.to_thread(shell.batches.store.files, caller.key.team, homes)
    shown = [await _described(shell, file, wire) for file in found]
    rows = [(f.id, s) for f, s in zip(found, shown, strict=True) if s is not None]
    if purpose is not None:
        rows = [(name, said) for name, said in rows if read(said).get("purpose") == purpose]
    return listed(rows, after, limit, wire)


@api.get("/v1/files/{file_id}")
async def file(file_id: str, request: Request, caller: Who, shell: Process) -> Response:
    """One file, as the provider describes it now."""
    found, wire = await _own(file_id, request, caller, shell)
    return await relayed(shell, found.upstream, Ask("GET", _path(wire, found), passed_on(request)))


@api.delete("/v1/files/{file_id}")
async def delete(file_id: str, request: Request, caller: Who, shell: Process) -> Response:
    """It is gone at the provider; a batch's output not before it has been billed."""
    found, wire = await _own(file_id, request, caller, shell)
    await _billed(shell, caller, found)
    ask = Ask("DELETE", _path(wire, found), passed_on(request))
    answer = await shell.batches.storage(found.upstream).send(ask)
    said = await answer.read()
    if answer.status < 300 or answer.status == 404:
        await asyncio.to_thread(shell.batches.store.forget_file, found)
    return plain(answer, said, new_id(shell.clock()))


@api.get("/v1/files/{file_id}/content")
async def content(file_id: str, request: Request, caller: Who, shell: Process) -> Response:
    """What is in it, byte for byte and in pieces."""
    found, wire = await _own(file_id, request, caller, shell)
    ask = Ask("GET", f"{_path(wire, found)}/content", passed_on(request))
    return await relayed(shell, found.upstream, ask)


def homes_of(request: Request, caller: Caller, shell: Shell) -> tuple[list[str], str]:
    """The upstreams whose models the caller may use, of its client's kind, and that kind's wire.

    Raises:
        ModelNotAllowed: none. InvalidRequest: another one is asked for by name.
    """
    path = request.url.path
    theirs = path.startswith("/v1/files") and "anthropic-version" in request.headers
    kind = "anthropic" if theirs or path.startswith("/v1/messages/") else "openai"
    snapshot = shell.snapshot
    used = {e.upstream for n, e in snapshot.settings.models.items() if _may(shell, caller, n)}
    found = [
        name
        for name, spec in snapshot.settings.upstreams.items()
        if spec.kind == kind and name in used
    ]
    if not found:
        raise ModelNotAllowed(
            f"key {caller.key.name!r} may use no model of an upstream of kind {kind!r}, where "
            f"files and batches could lie"
        )
    chosen = request.headers.get(CHOICE)
    if chosen is not None and chosen not in found:
        raise InvalidRequest(
            f"header {CHOICE} is {chosen[:64]!r}; expected one of: {', '.join(found)}", param=CHOICE
        )
    return ([chosen] if chosen else found), _WAYS[kind]


def home_of(request: Request, caller: Caller, shell: Shell) -> tuple[str, str]:
    """Where something new goes: the upstream that is chosen, or the first in the file."""
    homes, wire = homes_of(request, caller, shell)
    return homes[0], wire


def _may(shell: Shell, caller: Caller, model: str) -> bool:
    return permitted(shell.snapshot, caller.key, model)


def passed_on(request: Request) -> dict[str, str]:
    """The client's headers that go to the provider."""
    headers = header_rules.forwarded(request.scope["headers"])
    kind = request.headers.get("content-type")
    return {**headers, "content-type": kind} if kind else headers


def back(answer: Stored, request_id: str) -> dict[str, str]:
    """The provider's headers that a client may see."""
    found = {k.decode(): v.decode("latin-1") for k, v in header_rules.passed_back(answer.headers)}
    found |= {name: answer.headers[name] for name in _SHOWN if name in answer.headers}
    return {**found, "x-weir-request-id": request_id}


def plain(answer: Stored, body: bytes, request_id: str) -> Response:
    """A whole answer as it came; our own credential's failure is our failure.

    Raises:
        UpstreamFailed: the provider refused our credential, or failed.
    """
    refuse_failure(answer)
    return Response(body, answer.status, back(answer, request_id))


def refuse_failure(answer: Stored) -> None:
    """Raises UpstreamFailed, UpstreamTimeout: what is no answer to the client's own question."""
    if answer.status in {401, 403}:
        answer.close()
        raise UpstreamFailed(f"the provider refused the gateway's own credential ({answer.status})")
    if answer.status == 504:
        answer.close()
        raise UpstreamTimeout("the provider answered with status 504")
    if answer.status >= 500:
        answer.close()
        raise UpstreamFailed(f"the provider answered with status {answer.status}")


async def relayed(shell: Shell, upstream: str, ask: Ask) -> Response:
    """The provider's answer in pieces, byte for byte. Raises UpstreamFailed, UpstreamTimeout."""
    answer = await shell.batches.storage(upstream).send(ask)
    request_id = new_id(shell.clock())
    if answer.status >= 400:
        refuse_failure(answer)
        return plain(answer, await answer.read(), request_id)
    headers = back(answer, request_id)
    if "content-length" in answer.headers:
        headers["content-length"] = answer.headers["content-length"]
    return StreamingResponse(answer.chunks(), answer.status, headers)


def listed(rows: list[tuple[str, bytes]], after: str | None, limit: int, wire: str) -> Response:
    """A page of objects in the shape of the wire's lists; each object as it came."""
    names = [name for name, _ in rows]
    start = names.index(after) + 1 if after in names else 0
    page = rows[start : start + limit]
    told: dict[str, Any] = {"object": "list"} if wire == "chat" else {}
    told["data"] = [orjson.Fragment(said) for _, said in page]
    told["first_id"] = page[0][0] if page else None
    told["last_id"] = page[-1][0] if page else None
    told["has_more"] = start + limit < len(rows)
    return Response(orjson.dumps(told), media_type="application/json")


async def _sent(shell: Shell, home: str, ask: Ask) -> Stored:
    """An upload's answer; what stopped the upload on our side is told as such."""
    try:
        return await shell.batches.storage(home).send(ask)
    except (UpstreamFailed, UpstreamTimeout) as error:
        cause = error.__context__
        while cause is not None:
            if isinstance(cause, BodyTooLarge | BodyTooSlow | ClientDisconnect):
                raise cause from None
            cause = cause.__context__
        raise


async def _pieces(request: Request, most: int) -> AsyncIterator[bytes]:
    """The body as it comes. Raises BodyTooLarge, BodyTooSlow."""
    size, stream = 0, request.stream()
    while True:
        try:
            async with asyncio.timeout(SLOW_S):
                piece = await anext(stream, None)
        except TimeoutError:
            raise BodyTooSlow(f"no more of the file came for {SLOW_S:g} s") from None
        if piece is None:
            return
        size += len(piece)
        _check(size, most)
        if piece:
            yield piece


def _check(size: int, most: int) -> None:
    if size > most:
        raise BodyTooLarge(
            f"the upload has {size:,} bytes or more, the limit (server.max_file_mb) is {most:,}"
        )


async def own_file(file_id: str, caller: Caller, shell: Shell) -> StoredFile:
    """A file of the caller's team. Raises NotFound."""
    found = await asyncio.to_thread(shell.batches.store.file, file_id, caller.key.team)
    if found is None:
        raise NotFound(f"no file {file_id[:64]!r} of this team")
    return found


async def _own(
    file_id: str, request: Request, caller: Caller, shell: Shell
) -> tuple[StoredFile, str]:
    homes, wire = homes_of(request, caller, shell)
    found = await own_file(file_id, caller, shell)
    if found.upstream not in homes:
        raise NotFound(f"no file {file_id[:64]!r} of this team")
    return found, wire


def _path(wire: str, found: StoredFile) -> str:
    return f"{files_root(wire)}/{found.id}"


async def _described(shell: Shell, found: StoredFile, wire: str) -> bytes | None:
    """A file's description; what a batch made is asked for, and gone where nobody knows it."""
    if found.shown:
        return found.shown
    try:
        answer = await shell.batches.fetch(found.upstream, _path(wire, found))
        said = await answer.read()
    except (UpstreamFailed, UpstreamTimeout):
        return None
    return said if answer.status == 200 and read(said) else None


async def _billed(shell: Shell, caller: Caller, found: StoredFile) -> None:
    """What an open batch is billed by is not deleted. Raises Conflict."""
    store = shell.batches.store
    for batch in await asyncio.to_thread(store.batches, caller.key.team, [found.upstream]):
        shown: Mapping[str, Any] = read(batch.shown)
        if found.id in files_of(shown) and batch.state == OPEN:
            if await shell.batches.settle(batch, shown):
                return
            raise Conflict(f"batch {batch.id!r} is not billed yet; delete its output after that")

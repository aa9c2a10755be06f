"""Management routes: explain, receipts, budgets, models. FastAPI serves these, not the hot path.

Every route asks for a key; a caller sees its own team only.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from billing.budget import WindowFigures
from billing.money import usd
from billing.outcomes import Outcome, OutcomeInvalid, outcome_of
from billing.receipt import iso_ms
from billing.receipt_json import to_json
from gateway import auth
from gateway import headers as header_rules
from gateway.admission import read_body
from gateway.errors import TABLE, InvalidRequest, NotFound
from gateway.exchange import Caller, Exchange
from gateway.explain import explained
from gateway.ids import new_id
from gateway.pipeline import dry_run
from gateway.recall_settle import take_in
from gateway.shell import Shell
from gateway.trail import audited
from gateway.wire.registry import told

api = APIRouter()
KNOWN_ERRORS = tuple(TABLE)
# What OpenAI's and Anthropic's clients each want of a model; nobody knows when it was made.
_MODEL = {"object": "model", "created": 0, "type": "model", "created_at": "1970-01-01T00:00:00Z"}


def shell_of(request: Request) -> Shell:
    """The process's shell, put there by create_app."""
    shell: Shell = request.app.state.shell
    return shell


def caller_of(request: Request) -> Caller:
    """Who asks. Raises NotAuthenticated, KeyDisabled."""
    shell = shell_of(request)
    headers = header_rules.read(request.scope["headers"])
    key = auth.identify(headers.secret, shell.snapshot.accounts, shell.clock())
    return Caller(key=key, user=headers.user)


Who = Annotated[Caller, Depends(caller_of)]
Process = Annotated[Shell, Depends(shell_of)]


@api.get("/v1/models")
def models(caller: Who, shell: Process) -> dict[str, Any]:
    """The models this key may use, and `auto`."""
    snapshot = shell.snapshot
    policy = snapshot.policy(caller.key)
    rows: list[dict[str, Any]] = [
        {"id": "auto", "owned_by": "tokenweir", **_MODEL, "display_name": "auto"}
    ]
    for name, entry in snapshot.settings.models.items():
        if not policy.permits(name, entry.tier):
            continue
        card = snapshot.cards[name]
        rows.append(
            {
                "id": name,
                **_MODEL,
                "display_name": name,
                "owned_by": snapshot.provider(name),
                "tier": entry.tier.value,
                "context_window": card.window,
            }
        )
    names = [row["id"] for row in rows]
    ends = {"has_more": False, "first_id": names[0], "last_id": names[-1]}
    return {"object": "list", "data": rows, **ends}


@api.get("/v1/models/{name:path}")
def model(name: str, caller: Who, shell: Process) -> dict[str, Any]:
    """One model."""
    for row in models(caller, shell)["data"]:
        if row["id"] == name:
            found: dict[str, Any] = row
            return found
    raise NotFound(f"model {name[:128]!r} is not declared for this key; see GET /v1/models")


@api.post("/weir/explain")
async def explain(request: Request, caller: Who, shell: Process) -> Response:
    """What would be done with a request body; nothing is sent, nothing billed."""
    started = time.perf_counter()
    headers = header_rules.read(request.scope["headers"])
    raw = await read_body(request.receive, shell.admission)
    at_ms = shell.clock()
    wire = headers.wire or (await asyncio.to_thread(told, raw)).name
    ex = Exchange(new_id(at_ms), at_ms, started, wire, headers, caller)
    await dry_run(shell, ex, raw)
    took_ms = (time.perf_counter() - started) * 1000
    rendered = await asyncio.to_thread(  # a long body is read and written again: not in the loop
        lambda: orjson.dumps(explained(shell.snapshot, ex, took_ms, shell.norms))
    )
    return Response(rendered, media_type="application/json")


@api.get("/weir/receipts")
def receipts(
    caller: Who,
    shell: Process,
    session: str | None = None,
    task: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """The team's newest receipts."""
    found = shell.ledger.receipts(caller.key.team, session=session, task=task, limit=limit)
    return {"object": "list", "data": [to_json(receipt) for receipt in found]}


@api.get("/weir/receipts/{request_id}")
def receipt(request_id: str, caller: Who, shell: Process) -> dict[str, Any]:
    """One receipt of the caller's team."""
    return to_json(_receipt(request_id, caller, shell))


@api.get("/weir/receipts/{request_id}/audit")
def audit(request_id: str, caller: Who, shell: Process) -> dict[str, Any]:
    """What was dropped or rewritten: places, sizes, scores, hashes; texts where bodies are kept."""
    found = _receipt(request_id, caller, shell)
    return audited(found, shell.bodies.find(request_id, found.team))


@api.get("/weir/receipts/{request_id}/original")
def original(request_id: str, caller: Who, shell: Process) -> Response:
    """The body as the client sent it, byte for byte, where policy keeps bodies."""
    found = _receipt(request_id, caller, shell)
    kept = shell.bodies.original(request_id, found.team)
    if kept is None:
        raise NotFound(f"the body of {request_id[:64]!r} is not kept; see `record.bodies`")
    return Response(kept, media_type="application/json")


def _receipt(request_id: str, caller: Caller, shell: Shell) -> Any:
    found = shell.ledger.receipt(request_id, caller.key.team)
    if found is None:
        raise NotFound(f"no receipt {request_id[:64]!r} of this team")
    return found


@api.get("/weir/budgets")
def budgets(caller: Who, shell: Process) -> dict[str, Any]:
    """The caller's budgets, tightest first."""
    figures = shell.ledger.budgets(caller.key.path, caller.user)
    rows = [
        {
            "budget": window.budget,
            "window": {
                "start_ms": window.window.start_ms,
                "end_ms": window.window.end_ms,
            },
            "user": window.user,
            "spent_usd": usd(window.spent_nano),
            "held_usd": usd(window.held_nano),
            "limit_usd": usd(window.limit_nano),
            "left_usd": usd(window.left_nano),
            "resets_at": window.resets_at,
            "state": window.state,
        }
        for window in sorted(figures, key=WindowFigures.tightness)
    ]
    return {"object": "list", "data": rows}


@api.post("/weir/outcomes", status_code=201)
async def close_task(request: Request, caller: Who, shell: Process) -> dict[str, Any]:
    """A task of the caller's team is accepted or rejected; the last word holds."""
    from billing.outcome_rows import post  # SQLAlchemy: half a second that a start is spared

    raw = await read_body(request.receive, shell.admission)
    try:
        said = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise InvalidRequest("the body is not JSON; send {task, outcome, value?}") from None
    try:
        outcome = outcome_of(said, caller.key.team, caller.key.name, shell.clock())
    except OutcomeInvalid as error:
        raise InvalidRequest(str(error), param=error.field) from None
    await asyncio.to_thread(post, shell.snapshot.settings.database, outcome)
    for event in shell.recall.told(outcome.team, outcome.task, outcome.outcome, outcome.at_ms):
        take_in(shell, event)
    return outcome_json(outcome)


@api.get("/weir/outcomes")
def outcomes(
    caller: Who,
    shell: Process,
    task: Annotated[str | None, Query(max_length=256)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """The team's outcomes that hold; of one task its whole history, the newest first."""
    from billing.outcome_rows import history, newest  # as above

    url, team = shell.snapshot.settings.database, caller.key.team
    found = newest(url, team, limit) if task is None else history(url, team, task)[:limit]
    return {"object": "list", "data": [outcome_json(outcome) for outcome in found]}


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """The outward shape of an outcome."""
    return {
        "task": outcome.task,
        "outcome": outcome.outcome,
        "value": outcome.value,
        "key": outcome.key,
        "at": iso_ms(outcome.at_ms),
    }


def invalid(error: Exception) -> InvalidRequest:
    """FastAPI's own validation findings as our error."""
    found: list[dict[str, Any]] = getattr(error, "errors", list)()
    first = found[0] if found else {"loc": ("query",), "msg": "invalid"}
    where = ".".join(str(step) for step in first["loc"])
    return InvalidRequest(f"{where}: {first['msg']}", param=where)

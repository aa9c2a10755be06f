"""`POST /v1/messages/count_tokens`: how large a prompt is; nothing is generated or billed.

The provider's own count where the model is served on Anthropic's wire (it is free there),
else ours. A provider that cannot count just now is no reason to fail: ours stands in.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from fastapi import APIRouter, Request

from gateway import headers as header_rules
from gateway.admission import read_body
from gateway.errors import ModelNotAllowed, UpstreamFailed, UpstreamTimeout
from gateway.exchange import ChatRequest
from gateway.prepare import INLINE_BYTES, check_model, measured
from gateway.routes.management import Process, Who
from gateway.shell import Shell
from gateway.upstream.protocol import Outbound
from gateway.wire import body as bodies
from gateway.wire import messages
from gateway.wire.crossings import SPOKEN

api = APIRouter()


@api.post("/v1/messages/count_tokens")
async def count_tokens(request: Request, caller: Who, shell: Process) -> dict[str, Any]:
    """Prompt tokens of a messages body."""
    headers = header_rules.read(request.scope["headers"])
    raw = await read_body(request.receive, shell.admission)
    if len(raw) > INLINE_BYTES:
        asked = await asyncio.to_thread(messages.parse, raw, headers)
    else:
        asked = messages.parse(raw, headers)
    model = asked.facts.requested_model
    check_model(shell.snapshot, model)
    name = shell.snapshot.default_model() if model == "auto" else model
    entry = shell.snapshot.settings.models[name]
    if not shell.snapshot.policy(caller.key).permits(name, entry.tier):
        raise ModelNotAllowed(f"model {name!r} is not among those that this key may use")
    if "messages" in SPOKEN[shell.snapshot.settings.upstreams[entry.upstream].kind]:
        counted = await _theirs(shell, asked, name, header_rules.forwarded(request.headers.raw))
        if counted is not None:
            return {"input_tokens": counted}
    size = await asyncio.to_thread(measured, shell.snapshot, asked)
    return {"input_tokens": size.prompt_tokens}


async def _theirs(
    shell: Shell, asked: ChatRequest, name: str, headers: dict[str, str]
) -> int | None:
    """The provider's count; None where it gives none."""
    entry = shell.snapshot.settings.models[name]
    body = bodies.with_values(asked.raw, {"model": entry.model or name})
    call = Outbound(
        wire="messages",
        path="/v1/messages/count_tokens",
        body=body,
        stream=False,
        model=entry.model or name,
        headers=headers,
    )
    try:
        opened = await shell.upstreams[entry.upstream].send(call)
        try:
            told = orjson.loads(await opened.read())
        finally:
            await opened.close()
    except (UpstreamFailed, UpstreamTimeout, orjson.JSONDecodeError):
        return None
    count = told.get("input_tokens") if isinstance(told, dict) else None
    return count if isinstance(count, int) else None

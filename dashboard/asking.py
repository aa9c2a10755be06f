"""Asking the running gateway what it would do: one request to ``/weir/explain``, nothing sent on.

The address comes from the command line that started the dashboard (WEIR_GATEWAY), never from
a page; the key is the one that its owner typed, and is kept nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import httpx
import orjson

_PATIENCE_S = 60.0
_OK = 200


class CannotAsk(Exception):
    """The gateway gave no answer; the message says why and what to do."""


def body_of(text: str, model: str) -> bytes:
    """A request body: the text itself where it is a JSON object, else one user message.

    Raises:
        CannotAsk: it is empty, or JSON of another shape.
    """
    text = text.strip()
    if not text:
        raise CannotAsk("Write a prompt, or paste the JSON body of a request.")
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError:
        said = None
    if isinstance(said, dict):
        return orjson.dumps({"model": model, **said})
    if isinstance(said, list):
        raise CannotAsk("This is a JSON list; a request body is an object with `messages`.")
    return orjson.dumps({"model": model, "messages": [{"role": "user", "content": text}]})


def explain(body: bytes, secret: str) -> Mapping[str, Any]:
    """What the gateway would do with a request.

    Raises:
        CannotAsk: no gateway is named or answers, or it refuses.
    """
    where = os.environ.get("WEIR_GATEWAY")
    if not where:
        raise CannotAsk("Start the dashboard with `weir dashboard --gateway URL` to ask it.")
    if not secret.strip():
        raise CannotAsk("Give a gateway key: its policy decides.")
    headers = {"Authorization": f"Bearer {secret.strip()}", "Content-Type": "application/json"}
    try:
        with httpx.Client(timeout=_PATIENCE_S, trust_env=False) as client:
            reply = client.post(f"{where.rstrip('/')}/weir/explain", content=body, headers=headers)
    except (httpx.HTTPError, ValueError) as error:
        why = type(error).__name__  # the type alone: a message may repeat a header
        raise CannotAsk(f"The gateway at {where} does not answer: {why}.") from None
    said = _json(reply)
    if reply.status_code != _OK:
        refusal = said.get("error")
        told = refusal.get("message") if isinstance(refusal, dict) else None
        raise CannotAsk(f"The gateway refuses ({reply.status_code}): {told or 'no reason given'}")
    return said


def _json(reply: httpx.Response) -> Mapping[str, Any]:
    try:
        said = orjson.loads(reply.content)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        raise CannotAsk(f"What answers ({reply.status_code}) is no gateway: not a JSON object.")
    return said

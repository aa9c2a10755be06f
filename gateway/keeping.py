"""What of a request is kept, where the policy of its key says so, and what an audit reads of it.

A cut says where in the request it was and the hash of what stood there; from a kept body the
audit gives the text back, and only where the hash is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from billing.bodies import Bodies, Kept
from gateway.exchange import Exchange


def keep(bodies: Bodies, ex: Exchange) -> None:
    """The bodies of an exchange are on their way to the store, if its key keeps any."""
    if ex.caller is None or ex.request is None or not ex.caller.key.keep_bodies_s:
        return
    sent = ex.prepared.outbound if ex.prepared is not None else b""
    bodies.keep(
        Kept(
            request_id=ex.request_id,
            team=ex.caller.key.team,
            at_ms=ex.at_ms,
            expires_ms=ex.at_ms + ex.caller.key.keep_bodies_s * 1000,
            received=ex.request.raw,
            sent=b"" if sent == ex.request.raw else sent,
            answer=ex.reply.said,
        )
    )


def texts(kept: Kept, cuts: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """What each cut left out or rewrote; None where the kept body has no such text."""
    body = orjson.loads(kept.received)
    return [_text(body, cut) for cut in cuts]


def _text(body: Any, cut: Mapping[str, Any]) -> str | None:
    found = body
    try:
        for step in cut["path"]:
            found = found[step]
        piece = found[cut["start"] : cut["end"]]
        digest = hashlib.sha256(piece.encode("utf-8", "surrogatepass")).hexdigest()
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    return str(piece) if digest == str(cut["sha256"]).removeprefix("sha256:") else None

"""What of a request is kept, where its key's policy says so; ``billing.originals`` reads it."""

from __future__ import annotations

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

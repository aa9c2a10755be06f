"""Liveness, readiness, metrics: open to whoever can reach the port, and saying little."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from gateway.routes.management import shell_of

api = APIRouter()


@api.get("/healthz")
def healthz(request: Request) -> dict[str, str]:
    """The process lives; `config: stale` when the last reload failed."""
    shell = shell_of(request)
    answer = {"status": "ok", "config": "stale" if shell.stale_config else "current"}
    if shell.stale_config:
        answer["reason"] = shell.stale_config
    return answer


@api.get("/readyz")
def readyz(request: Request) -> JSONResponse:
    """Whether requests can be served now; 503 while starting, draining or without a journal.

    A database that is locked, full or away does not unmake readiness: the journal is the record
    until it is back, and to take every process away for it would turn a delay into an outage.
    """
    shell = shell_of(request)
    if shell.admission.draining:
        state = "draining"
    elif not shell.ready:
        state = "starting"
    elif shell.ledger.refusing() is not None:  # the log has the details
        state = "ledger_unavailable"
    else:
        behind = {"ledger": "behind"} if shell.ledger.trouble() is not None else {}
        return JSONResponse({"status": "ready", **behind})
    return JSONResponse({"status": state}, status_code=503, headers={"retry-after": "1"})


@api.get("/metrics")
def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    shell = shell_of(request)
    page = shell.telemetry.page(shell.admission.inside)
    if shell.peers is not None:
        page = shell.peers.merged(page)
    return Response(page, media_type="text/plain; version=0.0.4")

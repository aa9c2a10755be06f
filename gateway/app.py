"""create_app(): the only place that wires.

`/v1/*` is a bare ASGI callable in front of a FastAPI app that serves the management
routes: the hot path pays for no framework (docs/decisions/0008-hot-path.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from billing.bodies import Bodies
from billing.desk import Desk
from billing.errors import BillingError
from gateway import media
from gateway.admission import Admission
from gateway.ahead import Ahead
from gateway.answers_store import Answers
from gateway.batches import Batches
from gateway.errors import ConfigError, GatewayError, MethodNotAllowed, NotFound, place, render
from gateway.grant_watch import GrantWatch
from gateway.idempotency import Replies
from gateway.ids import new_id
from gateway.kits import Kits
from gateway.lag import watch
from gateway.norms import keep_norms
from gateway.notify import Notifier
from gateway.rate_limits import RateLimits, limited
from gateway.recall_feed import Feed, channel_of
from gateway.relay import Send, send_plain
from gateway.routes import batches, count, files, generate, health, management
from gateway.settings import Settings, parse
from gateway.shadow import relearn
from gateway.shell import Shell
from gateway.snapshot import build_snapshot
from gateway.spans import spans_from
from gateway.sweeper import sweep_for_ever
from gateway.telemetry import Telemetry
from gateway.upstream.build import build_upstream
from gateway.upstream.protocol import Upstream
from gateway.wire.registry import ROUTES
from gateway.workers import Workers
from gateway.workers_ledger import ledger_for
from gateway.workers_metrics import PUBLISH_S, Peers

log = logging.getLogger("weir")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

RELOAD_POLL_S = 2.0
GC_PACE = (20_000, 20, 100)


def wall_clock_ms() -> int:
    """UTC epoch milliseconds; the one place that reads the wall clock."""
    return time.time_ns() // 1_000_000


class App:
    """The gateway as an ASGI application; it starts and stops with the server's lifespan.

    ``failure`` says why it could not start, in one sentence.
    """

    def __init__(self, shell: Shell, kits: Kits, settings_path: Path | None) -> None:
        self.shell = shell
        self.failure: str | None = None
        self._kits = kits
        self._settings_path = settings_path
        self._grants = GrantWatch(shell, shell.desk)
        self._management = _management_app(shell)
        self._tasks: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route one ASGI scope."""
        if scope["type"] == "http":
            wire = ROUTES.get(scope["path"])
            if wire is not None:
                if scope["method"] == "POST":
                    await generate.serve(self.shell, scope, receive, send, wire.name)
                else:
                    await _refuse(send, MethodNotAllowed(f"{wire.route} takes POST only"))
                return
            if scope["path"] in media.ROUTES:
                await self._media(scope, receive, send)
                return
            # Starlette answers an unknown failure and raises it again for the server's log.
            with contextlib.suppress(Exception):
                await self._management(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _media(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if scope["method"] != "POST":
            await _refuse(send, MethodNotAllowed(f"{path} takes POST only"))
            return
        kind = next((v for k, v in scope["headers"] if k == b"content-type"), b"")
        work = media.Media(path, kind.decode("latin-1"))
        await generate.serve(self.shell, scope, receive, send, path, work)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.start()
                except Exception as error:  # noqa: BLE001 - the server must be told
                    known = isinstance(error, BillingError | GatewayError | OSError)
                    self.failure = str(error) if known else f"it failed to start: {place(error)}"
                    await send({"type": "lifespan.startup.failed", "message": self.failure})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def start(self) -> None:
        """Open the ledger, import what upstreams need, then say that it is ready."""
        shell = self.shell
        shell.ledger.open()
        await asyncio.to_thread(self._grants.refresh)
        self._tasks.append(asyncio.create_task(self._grants.run()))
        self._tasks.append(asyncio.create_task(shell.replies.run()))
        self._tasks.append(
            asyncio.create_task(sweep_for_ever(shell.ledger, shell.snapshot.settings))
        )
        self._tasks.append(asyncio.create_task(keep_norms(shell)))
        self._tasks.append(asyncio.create_task(watch(shell.telemetry.loop_lag.observe)))
        self._tasks.append(asyncio.create_task(shell.batches.run()))
        shell.notifier.start()
        for upstream in shell.upstreams.values():
            start = getattr(upstream, "start", None)
            if start is not None:
                await start()
        for model in shell.snapshot.cards:  # tokenizers load here, not in a first request
            shell.snapshot.gauge(model).counter.count("ready")
        self._tasks.append(asyncio.create_task(self._kits.warm()))
        if any(limited(key) for key in shell.snapshot.accounts.keys.values()):
            shell.rates.load()
        if shell.peers is not None:
            self._tasks.append(asyncio.create_task(self._publish(shell.peers)))
        if shell.snapshot.settings.routing.shadow is not None and shell.feed is None:
            await asyncio.to_thread(relearn, shell)
        if shell.feed is not None:
            await shell.feed.exchange()
            self._tasks.append(asyncio.create_task(shell.feed.run()))
        if self._settings_path is not None:
            self._tasks.append(asyncio.create_task(self._watch_file(self._settings_path)))
            with contextlib.suppress(ValueError, RuntimeError):  # only a main thread has signals
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.reload)
        shell.ready = True
        # What exists now lives as long as the process: the collector need not walk it again.
        gc.collect()
        gc.freeze()
        # A request leaves little in cycles, but much that lives on until the ledger has written
        # it: at the default pace the collector walks that for a tenth of a second at a time.
        gc.set_threshold(*GC_PACE)

    async def stop(self) -> None:
        """Stop taking requests, close upstreams, write the ledger out."""
        self.shell.ready = False
        self.shell.admission.draining = True
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.shell.notifier.stop()
        await self.shell.behind.close()
        await self.shell.batches.close()
        for upstream in self.shell.upstreams.values():
            await upstream.close()
        if self.shell.feed is not None:
            await self.shell.feed.close()
        self.shell.ahead.close()
        self.shell.workers.close()
        await asyncio.to_thread(self.shell.ledger.close)
        await asyncio.to_thread(self.shell.bodies.close)
        self.shell.answers.close()
        self.shell.rates.close()
        if self.shell.peers is not None:
            self.shell.peers.publish(self.shell.telemetry.page(0))
        self.shell.desk.close()
        if self.shell.telemetry.spans is not None:
            await asyncio.to_thread(self.shell.telemetry.spans.close)

    async def _publish(self, peers: Peers) -> None:
        """Sibling processes see this one's metrics."""
        while True:
            peers.publish(self.shell.telemetry.page(self.shell.admission.inside))
            await asyncio.sleep(PUBLISH_S)

    async def _watch_file(self, path: Path) -> None:
        """Reload when the file changes; a bad one keeps the policy in force and says why."""
        seen = self._stamps(path)
        while True:
            await asyncio.sleep(RELOAD_POLL_S)
            stamps = self._stamps(path)
            if stamps[0] is not None and stamps != seen:
                seen = stamps
                self.reload()

    def _stamps(self, path: Path) -> list[tuple[int, int] | None]:
        """When the configuration and the contracts that it names were last written."""
        return [_stamp(each) for each in (path, *self.shell.snapshot.settings.contracts.files)]

    def reload(self) -> None:
        """Read the configuration again; all of it takes effect, or nothing."""
        shell, path = self.shell, self._settings_path
        if path is None:
            return
        try:
            settings = parse(path.read_text(encoding="utf-8"), str(path))
            _check_unchanged(shell.snapshot.settings, settings)
            snapshot = build_snapshot(settings)
            upstreams = dict(shell.upstreams)
            old = shell.snapshot.settings.upstreams
            for name, spec in settings.upstreams.items():
                if old.get(name) != spec:
                    upstreams[name] = build_upstream(spec)
            shell.ledger.use(self._grants.accounts(settings.accounts))
        except Exception as error:  # noqa: BLE001 - whatever it was, the old policy serves on
            known = isinstance(error, ConfigError | OSError | UnicodeDecodeError | BillingError)
            # /healthz is open to all: it names the place, the log says what is wrong there.
            shell.stale_config = error.at if isinstance(error, ConfigError) else "see the log"
            told = str(error) if known else place(error)
            log.error("configuration not reloaded, the old one stays: %s", told)
            return
        shell.upstreams = upstreams
        shell.snapshot = snapshot
        shell.stale_config = None
        log.info("configuration reloaded: policy %s", settings.hash)


def _check_unchanged(old: Settings, new: Settings) -> None:
    for name in ("database", "shared_state", "journal"):
        if getattr(old, name) != getattr(new, name):
            raise ConfigError(
                new.source, name, "cannot change while serving", "restart `weir serve`"
            )


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _management_app(shell: Shell) -> FastAPI:
    app = FastAPI(
        title="Tokenweir",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # a redirect would be made of the caller's Host header
    )
    app.state.shell = shell
    app.include_router(health.api)
    app.include_router(management.api)
    app.include_router(count.api)
    app.include_router(files.api)
    app.include_router(batches.api)

    async def on_error(request: Request, error: Exception) -> Response:
        return _error_response(shell, request, error)

    async def on_invalid(request: Request, error: Exception) -> Response:
        return _error_response(shell, request, management.invalid(error))

    async def on_http(request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 404)
        path = request.url.path[:200]
        if status == 405:
            allow = (getattr(error, "headers", None) or {}).get("Allow", "GET")
            refused = MethodNotAllowed(f"{path} takes {allow} only", allow)
            return _error_response(shell, request, refused)
        return _error_response(shell, request, NotFound(f"there is nothing at {path!r}"))

    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    for known in management.KNOWN_ERRORS:
        app.add_exception_handler(known, on_error)
    app.add_exception_handler(Exception, on_error)
    return app


def _error_response(shell: Shell, request: Request, error: Exception) -> Response:
    request_id = new_id(shell.clock())
    rendered = render(error, _wire_of(request), request_id)
    if rendered.status == 500:
        log.error("request %s failed inside: %s", request_id, place(error))
    headers = {name.decode(): value.decode() for name, value in rendered.headers}
    return Response(rendered.body, rendered.status, headers)


def _wire_of(request: Request) -> str:
    """Whose words an error is told in: Anthropic's clients say which version they speak."""
    return "messages" if "anthropic-version" in request.headers else "chat"


async def _refuse(send: Send, error: GatewayError) -> None:
    rendered = render(error, "chat", new_id(wall_clock_ms()))
    await send_plain(send, rendered.status, rendered.headers, rendered.body)


def _admission(settings: Settings) -> Admission:
    server = settings.server
    return Admission(server.max_concurrent, int(server.max_body_mb * 1024 * 1024))


def _upstreams(settings: Settings) -> dict[str, Upstream]:
    return {name: build_upstream(spec) for name, spec in settings.upstreams.items()}


def create_app(
    settings: Settings,
    *,
    settings_path: Path | None = None,
    upstreams: dict[str, Upstream] | None = None,
    clock: Callable[[], int] = wall_clock_ms,
    peers: Peers | None = None,
) -> App:
    """The gateway for one configuration.

    Args:
        settings_path: watched, and reloaded when it changes; None: never.
        upstreams: adapters by name, in place of those the settings describe.
        clock: UTC epoch milliseconds.
        peers: other processes that serve the same socket.
    """
    kits, desk = Kits(settings), Desk(settings.database)
    telemetry = Telemetry(spans_from(os.environ))
    notifier = Notifier(
        desk,
        lambda: shell.snapshot.settings.notify,
        lambda channel, outcome: telemetry.notices.labels(channel, outcome).inc(),
    )
    ledger = ledger_for(settings, clock, several=peers is not None)
    workers = Workers(helpers=2 if peers is not None else None)
    shell = Shell(
        snapshot=build_snapshot(settings),
        ledger=ledger,
        upstreams=upstreams or _upstreams(settings),
        workers=workers,
        ahead=Ahead(workers.helpers),
        admission=_admission(settings),
        telemetry=telemetry,
        desk=desk,
        notifier=notifier,
        replies=Replies(desk, clock),
        bodies=Bodies(settings.database, clock, lambda said: telemetry.bodies.labels(said).inc()),
        answers=Answers(settings.database),
        batches=Batches(settings.database, ledger, lambda: shell.snapshot, clock),
        kit_for=kits.kit_for,
        clock=clock,
        peers=peers,
        rates=RateLimits(peers.folder if peers else None, settings.shared_state),
    )
    make = channel_of(peers.folder if peers else None, settings.shared_state)
    if make is not None:
        shell.feed = Feed(make, shell.recall.apply)
    return App(shell, kits, settings_path)

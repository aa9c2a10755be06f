"""Running the processes: the gateway under uvicorn, the dashboard under Streamlit."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path

import uvicorn

from gateway.app import App, create_app
from gateway.edge import ASIDE_S, EdgeProtocol, EdgeState
from gateway.settings import Settings
from gateway.telemetry import configure_logging
from gateway.workers_metrics import Peers

log = logging.getLogger("weir")
KEEP_ALIVE_S = 75
BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class Where:
    """Where and by how many processes is served."""

    host: str
    port: int
    workers: int = 1


def serve(settings: Settings, path: Path, where: Where, log_level: str) -> int:
    """Serve until SIGTERM or SIGINT; requests in flight finish within the drain time."""
    configure_logging(log_level)
    sock = _bind(where.host, where.port)
    found = sock.getsockname()
    told = partial(_say, f"serving on http://{found[0]}:{found[1]}")
    if where.workers == 1:
        return serve_on(sock, settings, path, log_level, told)
    from gateway.workers_run import Plan, Watcher

    sock.listen(BACKLOG)
    drain_s = settings.server.drain_seconds
    return Watcher(Plan(path.absolute(), where.workers, log_level, drain_s), sock, told).run()


def serve_on(
    sock: socket.socket,
    settings: Settings,
    path: Path,
    log_level: str,
    told: Callable[[], None],
    peers: Peers | None = None,
) -> int:
    """Serve on a bound socket, alone or beside ``peers``; the exit status.

    ``told`` is called once requests are served. What keeps the gateway from starting is said
    in one sentence; beside peers that is status 3, since another try may succeed.
    """
    configure_logging(log_level)
    app = create_app(settings, settings_path=path, peers=peers)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=EdgeProtocol,
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here believes X-Forwarded-For
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=ceil(settings.server.drain_seconds),
        backlog=BACKLOG,
    )
    server = _Server(config, app, told)
    for asked in (signal.SIGTERM, signal.SIGINT):
        # Once it has stopped, uvicorn raises the signal again: asked to stop is not killed.
        signal.signal(asked, _leave)
    try:
        server.run(sockets=[sock])
    except SystemExit:
        if app.failure is None:
            raise
        _say(app.failure)
        return 2 if peers is None else 3
    return 0 if server.started else 2


def _say(text: str) -> None:
    print(f"weir: {text}", file=sys.stderr, flush=True)  # noqa: T201 - for a person at a terminal


def _leave(number: int, frame: object) -> None:
    raise SystemExit(0)


class _Server(uvicorn.Server):
    """Uvicorn's server that tells the gateway at once when it is asked to stop."""

    def __init__(self, config: uvicorn.Config, app: App, told: Callable[[], None]) -> None:
        super().__init__(config)
        self._app, self._told = app, told
        self.server_state = self._state = EdgeState()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """The address is told once it is served; why it is not is ours to say."""
        noise = logging.getLogger("uvicorn.error")
        level = noise.level
        noise.setLevel(logging.CRITICAL)
        try:
            await super().startup(sockets)
        finally:
            noise.setLevel(level)
        if self.started:
            if self._app.shell.peers is not None:
                loop = asyncio.get_running_loop()
                loop.add_signal_handler(signal.SIGUSR2, self._step_aside)
            self._told()

    def _step_aside(self) -> None:
        """Siblings take new connections; what comes on open ones is answered, then this ends."""
        if self._state.leaving:
            return
        self._state.leaving = True
        for listening in self.servers:
            listening.close()
        asyncio.get_running_loop().call_later(ASIDE_S, self._go)

    def _go(self) -> None:
        self.should_exit = True

    def handle_exit(self, sig: int, frame: object) -> None:
        """Readiness fails and new requests are refused before the drain begins."""
        self._app.shell.admission.draining = True
        super().handle_exit(sig, frame)  # type: ignore[arg-type]


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        _say(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port")
        raise SystemExit(2) from None
    return sock


@dataclass(frozen=True, slots=True)
class Shown:
    """Which ledger a dashboard shows, where it listens, and whose budgets and people it knows."""

    database: str
    host: str
    port: int
    config: Path


def dashboard_command(
    shown: Shown, told: Mapping[str, str] | None = None
) -> tuple[list[str], dict[str, str]]:
    """The command and environment that start the dashboard.

    Args:
        told: what else it is told: WEIR_FACTS (``gateway.dashboard_facts``), WEIR_GATEWAY.
    """
    if importlib.util.find_spec("dashboard") is None:
        raise SystemExit("weir: the dashboard package is not installed")
    environment = {**os.environ, **(told or {}), "WEIR_DATABASE": shown.database}
    environment["WEIR_CONFIG"] = str(shown.config.absolute())
    where = ["--address", shown.host, "--port", str(shown.port)]
    return [sys.executable, "-m", "dashboard", *where], environment


def dashboard(shown: Shown, told: Mapping[str, str] | None = None) -> int:
    """Run the dashboard until it is stopped.

    It takes this process's place where the system can do that, so that a signal to the one
    ends the other.
    """
    command, environment = dashboard_command(shown, told)
    if os.name == "posix":
        os.execve(command[0], command, environment)  # noqa: S606 - our own command
    return subprocess.call(command, env=environment)  # noqa: S603 - the same

"""`weir serve --workers N`: worker processes on one socket, and one that watches over them.

The watcher binds the socket and serves nothing. A worker that dies is started again; its
siblings bury what it left in the ledger. Asked to stop, the watcher lets every worker drain
and exits 0. Workers that lose their watcher drain and end by themselves.

Asked by SIGUSR2, it starts the workers anew, one place after the other: once the new one
serves, the old one steps aside, ends what it has begun, and goes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.edge import ASIDE_S
from gateway.workers_metrics import bury_page, has_page

log = logging.getLogger("weir")
_POLL_S = 0.05
_SPARE_S = 10.0
"""Beyond the drain time: to write the ledger out, or else be killed."""
_BRIEF_S = 5.0
"""A worker that lived no longer than this failed to start; the next try waits."""
_LONGEST_WAIT_S = 5.0
_BAD_CONFIG = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """What every worker is started with; ``drain_s`` is how long its requests may take."""

    config: Path
    workers: int
    log_level: str
    drain_s: float


@dataclass(slots=True)
class _Place:
    """One worker's place: the process in it, and when the next one may be started."""

    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    not_before: float = 0.0
    wait_s: float = 0.0


@dataclass(slots=True)
class _Rolling:
    """Which places get a new worker, the one that starts, and those that step aside."""

    waiting: deque[_Place]
    successor: subprocess.Popen[bytes] | None
    leaving: list[tuple[subprocess.Popen[bytes], float]]


class Watcher:
    """Keeps the workers alive until it is asked to stop."""

    def __init__(self, plan: Plan, sock: socket.socket, told: Callable[[], None]) -> None:
        """``told`` is called once, when the first worker serves."""
        self._plan = plan
        self._told: Callable[[], None] | None = told
        self._sock = sock
        self._places = [_Place() for _ in range(plan.workers)]
        self._pages = Path(tempfile.mkdtemp(prefix="weir-"))
        self._alive_read, self._alive_write = os.pipe()
        self._stopping = threading.Event()
        self._asked_anew = False
        self._rolling = _Rolling(deque(), None, [])
        self._failed = False

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; the exit status."""
        for asked in (signal.SIGTERM, signal.SIGINT):
            signal.signal(asked, self._stop)
        with contextlib.suppress(AttributeError):
            signal.signal(signal.SIGHUP, self._reload)
            signal.signal(signal.SIGUSR2, self._anew)
        try:
            while not self._stopping.is_set():
                for place in self._places:
                    self._look_after(place)
                self._roll_on()
                if self._told is not None and has_page(self._pages):
                    self._told()
                    self._told = None
                self._stopping.wait(_POLL_S)
            self._drain()
        finally:
            os.close(self._alive_write)
            shutil.rmtree(self._pages, ignore_errors=True)
        return _BAD_CONFIG if self._failed else 0

    def _look_after(self, place: _Place) -> None:
        """A worker runs in its place, or will once its wait is over."""
        now = time.monotonic()
        process = place.process
        if process is None:
            if now >= place.not_before:
                place.process, place.started = self._start(), now
            return
        code = process.poll()
        if code is None:
            return
        place.process = None
        bury_page(self._pages, process.pid)
        if code == _BAD_CONFIG:  # only a start ends so, however long it took
            self._failed = True
            self._stopping.set()
            return
        brief = now - place.started < _BRIEF_S
        place.wait_s = min(max(place.wait_s * 2, 0.1), _LONGEST_WAIT_S) if brief else 0.0
        place.not_before = now + place.wait_s
        log.error("worker %d ended with status %d; another is started", process.pid, code)

    def _start(self) -> subprocess.Popen[bytes]:
        plan = self._plan
        command = [
            sys.executable, "-m", "gateway.workers_child", str(plan.config), plan.log_level,
            str(self._sock.fileno()), str(self._alive_read), str(self._pages),
        ]  # fmt: skip
        # A session of its own: Ctrl-C reaches the watcher alone, which passes it on once.
        return subprocess.Popen(  # noqa: S603 - our own command
            command,
            pass_fds=(self._sock.fileno(), self._alive_read),
            start_new_session=True,
        )

    def _stop(self, number: int, frame: object) -> None:
        self._stopping.set()

    def _reload(self, number: int, frame: object) -> None:
        for process in self._running():
            process.send_signal(signal.SIGHUP)

    def _anew(self, number: int, frame: object) -> None:
        self._asked_anew = True

    def _roll_on(self) -> None:
        """One step of starting the workers anew."""
        rolling = self._rolling
        if self._asked_anew:
            self._asked_anew = False
            rolling.waiting = deque(self._places)
        self._see_off()
        if rolling.successor is None:
            if rolling.waiting:
                rolling.successor = self._start()
            return
        code = rolling.successor.poll()
        if code is not None:
            bury_page(self._pages, rolling.successor.pid)
            log.error("a new worker ended with status %d; the old ones serve on", code)
            rolling.waiting.clear()
            rolling.successor = None
        elif has_page(self._pages, rolling.successor.pid):
            place = rolling.waiting.popleft()
            old, place.process = place.process, rolling.successor
            place.started, place.wait_s = time.monotonic(), 0.0
            rolling.successor = None
            if old is not None:
                old.send_signal(signal.SIGUSR2)
                most = ASIDE_S + self._plan.drain_s + _SPARE_S
                rolling.leaving.append((old, time.monotonic() + most))

    def _see_off(self) -> None:
        """Of those that step aside, who has ended is forgotten, and who will not is killed."""
        for process, deadline in list(self._rolling.leaving):
            if process.poll() is not None:
                bury_page(self._pages, process.pid)
                self._rolling.leaving.remove((process, deadline))
            elif time.monotonic() > deadline:
                log.error("worker %d did not end in time and is killed", process.pid)
                process.kill()

    def _running(self) -> list[subprocess.Popen[bytes]]:
        rolling = self._rolling
        found = [place.process for place in self._places]
        found += [rolling.successor, *(process for process, _ in rolling.leaving)]
        return [process for process in found if process is not None and process.poll() is None]

    def _drain(self) -> None:
        """Every worker has ended, by itself or, long after its drain time, by force."""
        self._sock.close()  # what nobody will accept is refused at once
        for process in self._running():
            process.terminate()
        deadline = time.monotonic() + self._plan.drain_s + _SPARE_S
        while self._running() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        for process in self._running():
            log.error("worker %d did not end in time and is killed", process.pid)
            process.kill()
            process.wait()

"""Processes of a benchmark: pinned to a core, watched through /proc, always stopped."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class NotStarted(SystemExit):
    """A server did not answer in time or ended at its start; its last words are the message."""


@dataclass(frozen=True)
class Server:
    """A running server: ``start_s`` seconds from its start to its first 200."""

    name: str
    pid: int
    port: int
    start_s: float

    def cpu_seconds(self) -> float:
        """CPU used so far by the process and its descendants, user and system."""
        return sum(_cpu(pid) for pid in _family(self.pid))

    def memory_mb(self) -> float:
        """Resident memory now, MiB, of the process and its descendants."""
        return sum(_resident(pid) for pid in _family(self.pid)) / 1024 / 1024


def _family(pid: int) -> list[int]:
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return found


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """``command``, kept on one core."""
    return ["taskset", "-c", str(core), *command]


@contextlib.contextmanager
def server(
    name: str, command: Sequence[str], port: int, path: str | None, environ: Mapping[str, str]
) -> Iterator[Server]:
    """Run a server until the block ends; ready when ``path`` answers 200 (None: accepts)."""
    started = time.perf_counter()
    log = Path(os.environ.get("TMPDIR", "/tmp")) / f"benchmark-{name}-{os.getpid()}.log"  # noqa: S108
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **environ}
        )
    try:
        while not _answers(port, path):
            if process.poll() is not None or time.perf_counter() - started > 120:
                tail = log.read_text(errors="replace")[-3000:]
                raise NotStarted(f"{name} did not start:\n{tail}")
            time.sleep(0.02)
        yield Server(name, process.pid, port, time.perf_counter() - started)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.unlink(missing_ok=True)


def _answers(port: int, path: str | None) -> bool:
    try:
        if path is None:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        status = connection.getresponse().status
        connection.close()
    except OSError:
        return False
    return status == 200

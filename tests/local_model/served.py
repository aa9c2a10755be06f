"""The server process of examples/local_model, for the tests beside this file."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from processes import Running

LOADED_S = 240.0

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class LocalModel:
    """The running server; ``url`` has no ``/v1``."""

    running: Running
    folder: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.running.url


def started(command: list[str], url: str, log: Path) -> Running:
    """The server's process once its model is loaded, which takes a while on a busy machine."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
    running = Running(url, process, log)
    deadline = time.monotonic() + LOADED_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url + "/healthz", timeout=2).status_code == 200:
                return running
        time.sleep(0.1)
    running.stop(signal.SIGKILL)
    raise AssertionError(f"{command} did not become ready:\n{log.read_text()[-4000:]}")

"""The watcher of workers: what a worker's end says."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.workers_run import Plan, Watcher, _Place


@pytest.mark.parametrize(
    ("code", "lived_s", "ends"), [(2, 0.0, True), (2, 60.0, True), (1, 0.0, False), (1, 60, False)]
)
def test_a_configuration_that_cannot_be_read_ends_it(
    tmp_path: Path, code: int, lived_s: float, ends: bool
) -> None:
    """However slowly the worker came to say so; any other end is answered by a new worker."""
    with socket.socket() as sock:
        watcher = Watcher(Plan(tmp_path / "weir.yaml", 1, "info", 1.0), sock, lambda: None)
        process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
        process.wait(30)
        place = _Place(process, started=time.monotonic() - lived_s)
        watcher._look_after(place)
        assert watcher._stopping.is_set() is ends
        assert place.process is None
        if not ends:
            watcher._stopping.set()
        watcher._drain()

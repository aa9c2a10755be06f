"""`weir dashboard` as a process: it serves, and a signal leaves nothing behind."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from processes import Key, config_for, free_port, start

from billing.ledger import Ledger
from gateway.settings import parse

pytestmark = pytest.mark.slow


def test_the_dashboard_serves_and_ends_with_its_command(tmp_path: Path) -> None:
    """The app answers whatever the working folder is; SIGTERM to the command ends the server."""
    config = tmp_path / "weir.yaml"
    config.write_text(config_for("http://127.0.0.1:9", tmp_path, Key.new()), encoding="utf-8")
    settings = parse(config.read_text(encoding="utf-8"), str(config))
    Ledger(settings.database, settings.accounts, lambda: 1_800_000_000_000).open().close()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "gateway", "dashboard", "--config", str(config)]
    running = start(
        [*command, "--port", str(port)], url, "/_stcore/health", tmp_path / "dashboard.log"
    )
    running.stop(signal.SIGTERM)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert "Traceback" not in running.log.read_text(encoding="utf-8")


def test_beyond_this_machine_it_wants_people(tmp_path: Path) -> None:
    """On another address nobody is let in unasked: the command says what to do, and ends with 2."""
    config = tmp_path / "weir.yaml"
    config.write_text(config_for("http://127.0.0.1:9", tmp_path, Key.new()), encoding="utf-8")
    settings = parse(config.read_text(encoding="utf-8"), str(config))
    Ledger(settings.database, settings.accounts, lambda: 1_800_000_000_000).open().close()
    command = [sys.executable, "-m", "gateway", "dashboard", "--config", str(config)]
    refused = subprocess.run(
        [*command, "--host", "192.0.2.1"], capture_output=True, text=True, timeout=60, check=False
    )
    assert refused.returncode == 2
    assert "name `people`" in refused.stderr.replace("\n", " ")
    wrong = subprocess.run(
        [*command, "--gateway", "nowhere"], capture_output=True, text=True, timeout=60, check=False
    )
    assert wrong.returncode == 2
    assert "is no address" in wrong.stderr.replace("\n", " ")

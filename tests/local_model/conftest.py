"""The real model of scripts/fetch_local_model.py, served by examples/local_model/server.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from processes import free_port
from served import ROOT, LocalModel, started

FOLDER = Path(os.environ.get("WEIR_LOCAL_MODEL", ROOT / ".cache" / "local-model"))
THREADS = "1"  # threads that wait for each other are slower than one on a busy machine


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """The converted model; `make test-local-model` puts it there."""
    assert (FOLDER / "config.json").is_file(), f"no model in {FOLDER}: run `make test-local-model`"
    return FOLDER


@pytest.fixture(scope="session")
def local_model(
    model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalModel]:
    """The server as a process on a real socket, with room for one waiting request."""
    port = free_port()
    command = [
        sys.executable, str(ROOT / "examples" / "local_model" / "server.py"),
        "--model", str(model_folder), "--name", "local-qwen", "--port", str(port),
        "--threads", THREADS, "--waiting", "1",
    ]  # fmt: skip
    log = tmp_path_factory.mktemp("server") / "server.log"
    running = started(command, f"http://127.0.0.1:{port}", log)
    try:
        yield LocalModel(running, model_folder)
    finally:
        running.stop()

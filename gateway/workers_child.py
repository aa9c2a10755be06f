"""One worker of `weir serve --workers N`: started by the watcher, never by hand."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from pathlib import Path

from gateway.errors import ConfigError
from gateway.server import serve_on
from gateway.settings import parse
from gateway.workers_metrics import Peers


def main(config: str, log_level: str, sock: int, alive: int, pages: str) -> int:
    """Serve on an inherited socket until asked to stop; the exit status."""
    threading.Thread(target=_follow, args=(alive,), daemon=True).start()
    path = Path(config)
    try:
        settings = parse(path.read_text(encoding="utf-8"), config)
    except (OSError, UnicodeDecodeError, ConfigError) as error:
        sys.stderr.write(f"weir: {error}\n")
        return 2
    own, peers = socket.socket(fileno=sock), Peers(Path(pages))
    return serve_on(own, settings, path, log_level, _quiet, peers)


def _quiet() -> None:
    """The watcher tells where is served."""


def _follow(alive: int) -> None:
    """Drain when the watcher is gone: its end of this pipe closes with it."""
    os.read(alive, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    raise SystemExit(
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
    )

"""`python -m dashboard`: the app under Streamlit, with our theme, whatever folder one is in.

WEIR_DATABASE names the ledger, WEIR_CONFIG (may be absent) the weir.yaml with the budgets.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from dashboard.theme import environment

_SETTINGS = {
    "STREAMLIT_SERVER_HEADLESS": "true",
    "STREAMLIT_SERVER_FILE_WATCHER_TYPE": "none",
    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
    "STREAMLIT_CLIENT_TOOLBAR_MODE": "minimal",
    "STREAMLIT_CLIENT_SHOW_ERROR_DETAILS": "none",
}


def main(arguments: list[str] | None = None) -> None:
    """Serve the dashboard until it is stopped; what the environment sets already wins."""
    options = argparse.ArgumentParser(prog="python -m dashboard", description=main.__doc__)
    options.add_argument("--port", type=int, default=8501)
    options.add_argument("--address", default="127.0.0.1")
    chosen = options.parse_args(arguments)
    for name, value in {**_SETTINGS, **environment()}.items():
        os.environ.setdefault(name, value)
    from streamlit.web import cli

    script = str(Path(__file__).with_name("app.py"))
    where = ["--server.port", str(chosen.port), "--server.address", chosen.address]
    sys.argv = ["streamlit", "run", script, *where]
    cli.main()


if __name__ == "__main__":
    main()

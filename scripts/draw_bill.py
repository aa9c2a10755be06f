"""Draw docs/images/bill.svg: the bill of one `weir demo --once`, as the terminal shows it."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from gateway.demo import run_demo


def main() -> int:
    """Run the demo once and keep what it printed."""
    console = Console(record=True, width=80, force_terminal=True, force_interactive=False)
    code = run_demo(once=True, dashboard=False, console=console)
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images/bill.svg")
    console.save_svg(str(target), title="make demo")
    return code


if __name__ == "__main__":
    raise SystemExit(main())

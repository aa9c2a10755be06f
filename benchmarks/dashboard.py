"""How long a person waits for the dashboard on a large ledger, in a real Chromium.

Usage: python benchmarks/dashboard.py --database FILE [--rounds 5] [--views compare,teams]
                                      [--pictures DIR]

The ledger is one that ``benchmarks/ledger.py --rows N --database FILE`` made. The dashboard
is the real process, warm: every view was opened once. Then, for each view:

- *first figures*: from asking for the address to the first sentence or number of the ledger
  on the screen; *whole*: until nothing is drawn any more. Once for a team that nobody has
  asked for yet (the ledger answers), once for the same address again (the cache does).
- *filter*: from the click on a team that nobody has asked for yet to its new figures; *whole*.

Milliseconds of wall, medians and the slowest, and the load of the machine. Nothing is gated.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from billing.browse import watermark

VIEWS = ("compare", "overview", "requests", "teams", "models", "quality")
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
TEAMS = 20
PERIODS = ("Last+30+days", "All+time", "This+month", "Last+7+days", "Last+month")
PATIENCE_MS = 120_000
QUIET = ("--disable-gpu", "--no-sandbox", "--disable-background-networking", "--disable-sync")
POLICY = """\
timezone: Europe/Berlin
budget: 60000000 per month
teams:
  team-01: { budget: [18000000 per month, 1200000 per day], keys: [key-001] }
  team-02: { budget: 9000000 per month, keys: [key-002] }
keys:
  key-001: sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
  key-002: sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
"""
# Times are taken in the page, by what is on the screen: no polling from outside is in them.
WATCH = """
() => {
  const figures = () => [...document.querySelectorAll(
    '[data-testid="stMain"] .weir-lead, [data-testid="stMain"] [data-testid="stMetricValue"]')]
    .map(one => one.textContent).join('|');
  const app = () => document.querySelector('[data-testid="stApp"]');
  const drawn = () => app()?.getAttribute('data-test-script-state') === 'notRunning'
    && !document.querySelector('[data-testid="stSkeleton"],[data-testid="stSpinner"]')
    && ![...document.querySelectorAll('[data-stale="true"]')].length;
  window.__wait = (before, since) => new Promise(done => {
    let first = null, quiet = null;
    const look = () => {
      const now = performance.now();
      if (now - since > 20000) { clearInterval(timer); done([NaN, NaN]); }
      if (first === null && figures() && figures() !== before) first = now;
      if (first !== null && drawn()) {
        quiet ??= now;
        if (now - quiet > 250) { clearInterval(timer); done([first - since, quiet - since]); }
      } else quiet = null;
    };
    const timer = setInterval(look, 8);
  });
  window.__figures = figures;
  window.addEventListener('pointerup', () => { window.__clicked = performance.now(); }, true);
}
"""


@dataclass
class Times:
    """Milliseconds to the first figures and to the whole page."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)

    def add(self, found: list[float]) -> None:
        """One round more."""
        self.first.append(found[0])
        self.whole.append(found[1])

    def said(self) -> str:
        """Median (slowest) of both."""
        return "  ".join(
            f"{statistics.median(values):6.0f} ({max(values):6.0f})"
            for values in (self.first, self.whole)
        )


@contextmanager
def served(database: Path) -> Iterator[str]:
    """The dashboard on a ledger; its address."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "weir.yaml"
        policy.write_text(POLICY, encoding="utf-8")
        environ = {
            **os.environ,
            "WEIR_DATABASE": f"sqlite:///{database}",
            "WEIR_CONFIG": str(policy),
        }
        command = [sys.executable, "-m", "dashboard", "--port", str(port)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        running = subprocess.Popen(command, env=environ, **quiet)
        url = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + 60
            while not _answers(port) and time.monotonic() < deadline:
                time.sleep(0.1)
            yield url
        finally:
            running.terminate()
            running.wait(30)


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def opened(page: Page, url: str) -> list[float]:
    """An address asked for: milliseconds to its first figures, and to all of it."""
    page.goto(url, wait_until="commit", timeout=PATIENCE_MS)
    page.evaluate(WATCH)
    return list(page.evaluate("() => window.__wait('', 0)"))


def filtered(page: Page, team: str) -> list[float]:
    """A click on a team: milliseconds to other figures, and to all of them."""
    before = page.evaluate("() => window.__figures()")
    page.get_by_role("combobox", name="Team").click()
    page.get_by_role("option", name=team, exact=True).click()
    return list(page.evaluate("(b) => window.__wait(b, window.__clicked)", before))


def measure(page: Page, url: str, rounds: int, views: list[str]) -> None:
    """Everything of every view, printed."""
    for number, view in enumerate(views):
        fresh, again, filter_ = Times(), Times(), Times()
        for turn in range(rounds):
            # Teams that this view was not asked for yet, one to open with and one to go to.
            team, other = (f"team-{(2 * turn + number + n) % TEAMS:02d}" for n in (0, 1))
            address = f"{url}/{view}?team={team}&period={PERIODS[turn % len(PERIODS)]}"
            fresh.add(opened(page, address))
            again.add(opened(page, address))
            filter_.add(filtered(page, other))
        print(f"{view:<10} asked first  {fresh.said()}   again  {again.said()}")
        print(f"{'':<10} filter       {filter_.said()}", flush=True)


def main() -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--views", default=",".join(VIEWS))
    parser.add_argument("--pictures", type=Path, default=None)
    options = parser.parse_args()
    program = next((path for path in map(shutil.which, PROGRAMS) if path), None)
    if program is None:
        parser.error("no Chromium on this machine")
    url, views = f"sqlite:///{options.database}", options.views.split(",")
    print(f"{watermark(url):,} receipts; load {os.getloadavg()}")
    print("milliseconds, median (slowest): first figures, whole page")
    with sync_playwright() as engine, served(options.database) as where:
        browser = engine.chromium.launch(executable_path=program, args=[*QUIET])
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        for view in views:  # warm: the process has imported all, the browser has the scripts
            took = opened(page, f"{where}/{view}")
            print(f"{view:<10} very first   {took[0]:6.0f} {took[1]:6.0f}", flush=True)
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            for view in views:
                opened(page, f"{where}/{view}")
                page.screenshot(path=options.pictures / f"{view}.png", full_page=True)
        measure(page, where, options.rounds, views)
        browser.close()
    print(f"load {os.getloadavg()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

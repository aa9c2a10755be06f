"""One whole journey through the dashboard in a real Chromium, and a picture of every view.

The pictures land in ``artifacts/dashboard`` (not kept in git).
"""

from __future__ import annotations

import csv
import io
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from processes import Key, config_for, free_port, start
from pyarrow import parquet
from sharing import receipt

from billing.ledger import HoldRequest, Ledger
from billing.money import nano
from billing.receipt import Receipt
from dashboard.format import money
from gateway.settings import parse

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ARTIFACTS = Path(__file__).parents[2] / "artifacts" / "dashboard"
VIEWS = (
    "", "overview", "requests", "teams", "models", "quality", "chargeback", "reconcile", "prices",
    "playground",
)  # fmt: skip
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 60_000
BELOW = {"project": "key", "key": "session"}


@dataclass(frozen=True)
class Shown:
    """The running dashboard and what its ledger holds."""

    url: str
    receipts: tuple[Receipt, ...]

    def paid(self, team: str | None = None) -> int:
        """Nano-USD, summed here and not by any report."""
        return sum(one.cost_nano for one in self.receipts if team in (None, one.team))


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Forty requests of two teams over the last days, under `weir dashboard`."""
    folder = tmp_path_factory.mktemp("browser")
    config = folder / "weir.yaml"
    config.write_text(config_for("http://127.0.0.1:9", folder, Key.new()), encoding="utf-8")
    settings = parse(config.read_text(encoding="utf-8"), str(config))
    (path,) = {key.path for key in settings.accounts.keys.values()}
    now = datetime.now(UTC)  # noqa: TID251 - the pages read the real clock
    clock = [0]
    ledger = Ledger(settings.database, settings.accounts, lambda: clock[0]).open()
    made = []
    for number in range(40):
        at = now - timedelta(hours=9 * (40 - number))
        clock[0] = int(at.timestamp() * 1000)
        one = replace(
            receipt(f"R{number:02d}", 1_000_000 * (number + 1), clock[0]),
            team="search" if number % 4 == 0 else "support",
            project="chat",
            key="chat-prod",
            session=f"s-{number // 4}",
            session_key=f"s-{number // 4}",
            baseline_nano=3_000_000 * (number + 1),
        )
        request = HoldRequest(one.request_id, path, None, 0, clock[0], "m", "u")
        ledger.settle(ledger.hold(request), one)
        made.append(one)
    ledger.close()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "gateway", "dashboard", "--config", str(config)]
    running = start(
        [*command, "--port", str(port)], url, "/_stcore/health", folder / "dashboard.log"
    )
    yield Shown(url, tuple(made))
    running.stop()
    assert "Traceback" not in running.log.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium as the system has it."""
    found = next((path for path in map(shutil.which, PROGRAMS) if path), None)
    if found is None:
        pytest.skip("no Chromium on this machine: install `chromium` to run the browser tests")
    with sync_playwright() as engine:
        running = engine.chromium.launch(
            executable_path=found, args=[*QUIET, "--no-sandbox"]
        )  # fmt: skip
        yield running
        running.close()


def settled(page: Page) -> None:
    """The page has been drawn whole: no spinner, no exception, nothing wider than the screen."""
    expect(page.get_by_test_id("stApp")).to_have_attribute(
        "data-test-script-state", "notRunning", timeout=PATIENCE_MS
    )
    expect(page.locator("h1")).to_be_visible(timeout=PATIENCE_MS)
    for bad in ("stException", "stSpinner", "stSkeleton"):
        expect(page.get_by_test_id(bad)).to_have_count(0, timeout=PATIENCE_MS)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def figure(page: Page, label: str) -> str:
    """A big number by its label."""
    metric = page.get_by_test_id("stMetric").filter(has_text=label).first
    expect(metric).to_be_visible(timeout=PATIENCE_MS)
    return metric.get_by_test_id("stMetricValue").inner_text()


def pick_first(page: Page) -> None:
    """Pick the first row of the first table: a canvas, whose first column of boxes picks."""
    table = page.get_by_test_id("stDataFrame").locator("canvas").first
    table.click(position={"x": 16, "y": 52}, force=True)


def downloaded(page: Page, button: str) -> tuple[str, bytes]:
    """The name and the bytes of the file that a button gives."""
    with page.expect_download(timeout=PATIENCE_MS) as waiting:
        page.get_by_role("button", name=button, exact=True).click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_from_the_first_screen_to_a_receipt_and_a_file(dashboard: Shown, browser: Browser) -> None:
    """Open, filter, follow the link, pick a request, download: always the ledger's own sums."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.goto(dashboard.url)
    settled(page)
    assert figure(page, "Paid") == money(dashboard.paid())
    assert figure(page, "Tokenmaxxed") == money(3 * dashboard.paid())

    page.get_by_role("combobox", name="Team").click()
    page.get_by_role("option", name="search").click()
    expect(page).to_have_url(re.compile(r"team=search"), timeout=PATIENCE_MS)
    expect(page.get_by_test_id("stMetricValue").nth(1)).to_have_text(
        money(dashboard.paid("search")), timeout=PATIENCE_MS
    )
    again = browser.new_page()
    again.goto(page.url)
    settled(again)
    assert figure(again, "Paid") == money(dashboard.paid("search"))
    again.close()

    page.get_by_role("link", name="Requests").click()
    expect(page.locator("h1")).to_have_text("Requests", timeout=PATIENCE_MS)
    settled(page)
    ours = {one.request_id: one for one in dashboard.receipts if one.team == "search"}
    name, data = downloaded(page, "Download CSV")
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    assert re.fullmatch(r"tokenweir-requests-.*_team-search\.csv", name)
    assert {row["request_id"] for row in rows} == set(ours)
    assert all(nano(row["paid_usd"]) == ours[row["request_id"]].cost_nano for row in rows)

    name, data = downloaded(page, "Parquet")
    typed = parquet.read_table(io.BytesIO(data)).to_pylist()
    assert name.endswith("_team-search.parquet")
    paid = {row["request_id"]: nano(str(row["paid_usd"])) for row in typed}
    assert paid == {one: ours[one].cost_nano for one in ours}

    name, data = downloaded(page, "FOCUS")
    billed = [nano(row["BilledCost"]) for row in csv.DictReader(io.StringIO(data.decode()))]
    assert name.endswith("_team-search-focus.csv")
    assert sum(billed) == dashboard.paid("search")

    pick_first(page)
    newest = max(ours)
    expect(page.get_by_text(f"Receipt {newest}").first).to_be_visible(timeout=PATIENCE_MS)
    expect(page).to_have_url(re.compile(f"request={newest}"), timeout=PATIENCE_MS)
    settled(page)
    page.close()


def test_from_a_team_down_to_a_request_by_clicks(dashboard: Shown, browser: Browser) -> None:
    """Team, project, key, session, request: each click narrows, and the address says so."""
    page = browser.new_page(viewport={"width": 1440, "height": 1400})
    page.goto(f"{dashboard.url}/teams?period=All+time&team=support")
    settled(page)
    page.get_by_role("radio", name="project", exact=True).click()
    for step, label in (("project", "chat"), ("key", "chat-prod")):
        expect(page.get_by_text(f"Pick a row to open its {BELOW[step]}s")).to_be_visible(
            timeout=PATIENCE_MS
        )
        settled(page)
        pick_first(page)
        expect(page).to_have_url(re.compile(f"{step}={label}"), timeout=PATIENCE_MS)
    expect(page.get_by_text("Pick a row to open its requests")).to_be_visible(timeout=PATIENCE_MS)
    settled(page)
    pick_first(page)
    expect(page.locator("h1")).to_have_text("Requests", timeout=PATIENCE_MS)
    expect(page).to_have_url(re.compile("session="), timeout=PATIENCE_MS)
    settled(page)
    pick_first(page)
    expect(page).to_have_url(re.compile("request=R"), timeout=PATIENCE_MS)
    address = page.url
    again = browser.new_page()
    again.goto(address)
    settled(again)
    expect(again.get_by_text("Receipt R").first).to_be_visible(timeout=PATIENCE_MS)
    for step in ("project: chat", "key: chat-prod"):
        expect(again.get_by_role("button", name=step).first).to_be_visible(timeout=PATIENCE_MS)
    again.close()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 420])
def test_every_view_fits_every_screen(
    dashboard: Shown, browser: Browser, scheme: str, width: int
) -> None:
    """Each view is drawn without an error, wide and narrow, light and dark; a picture is kept."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page = browser.new_page(
        viewport={"width": width, "height": 1100},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    for view in VIEWS:
        page.goto(f"{dashboard.url}/{view}")
        settled(page)
        name = f"{view or 'compare'}-{width}-{scheme}.png"
        page.screenshot(path=ARTIFACTS / name)
    page.close()

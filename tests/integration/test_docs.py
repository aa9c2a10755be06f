"""The documentation says what the code does: generated pages, routes, errors, examples."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import TABLE
from gateway.headers import _READ
from gateway.routes import health, management
from gateway.settings import parse

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
HTTP = (DOCS / "reference" / "http.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language on a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_generated_reference_is_current() -> None:
    """Every key and command is documented, and the pages are what the script writes."""
    done = subprocess.run(
        [sys.executable, "scripts/build_reference.py", "--check"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_route_is_documented() -> None:
    """A route that the gateway mounts stands in the HTTP reference."""
    paths = [route.path for api in (health.api, management.api) for route in api.routes]
    assert "/weir/explain" in paths
    for path in [*paths, "/v1/chat/completions"]:
        assert f" {path.replace(':path', '')}" in HTTP, path


def test_every_error_code_is_documented_under_its_status() -> None:
    """A client finds each code that it can meet, in the row of its status."""
    for row in TABLE.values():
        line = next(line for line in HTTP.splitlines() if line.startswith(f"| {row.status} |"))
        assert f"`{row.code}`" in line, row.code


def test_every_request_header_is_documented() -> None:
    """Each gateway header that is read stands in the reference."""
    for name in _READ:
        if name.startswith(b"x-weir-"):
            assert f"`{name.decode()}`" in HTTP, name


def test_the_example_configuration_loads() -> None:
    """What the guides show as weir.yaml is valid as it stands."""
    example = blocks("guides/configuring.md", "yaml")[0]
    settings = parse(example, "weir.yaml", {"OPENAI_API_KEY": "sk-x"})
    assert {key.name for key in settings.accounts.keys.values()} == {
        "chat-prod",
        "mail-prod",
        "claims-prod",
    }


def test_the_examples_of_ladders_and_contracts_load(tmp_path: Path) -> None:
    """Ladder, messages, contract and override are valid as they stand in their guides."""
    ladder, messages = blocks("guides/budgets.md", "yaml")[0], ["BUDGET_WEBHOOK", "OPENAI_API_KEY"]
    _, contract, overrides = blocks("guides/prices.md", "yaml")
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "openai.yaml").write_text(contract, encoding="utf-8")
    example = blocks("guides/configuring.md", "yaml")[0]
    whole = example.replace("at: steady\n", "").replace(
        next(row for row in example.splitlines() if row.startswith("ladders:")), ""
    )
    whole = "\n".join(row for row in whole.splitlines() if "steady: {" not in row)
    prices = overrides.replace("prices:", "prices:\n  contracts: [contracts/openai.yaml]")
    text = f"{whole}\n{ladder}\n{prices}"
    environ = dict.fromkeys(messages, "https://hook.example/x")
    settings = parse(text, str(tmp_path / "weir.yaml"), environ)
    assert settings.notify.smtp is not None
    assert len(settings.contracts.clauses) == 8
    assert "steady" in settings.accounts.config.ladders


@pytest.mark.parametrize("page", sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")))
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link of every page names a file that is there."""
    text = (DOCS / page).read_text(encoding="utf-8")
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith(("http://", "https://")):
            assert ((DOCS / page).parent / target).exists(), f"{page}: {target}"


@pytest.mark.slow
def test_the_sdk_guide_runs(house: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python block of the OpenAI guide runs in order against a real gateway."""
    monkeypatch.setenv("WEIR_URL", f"{house.gateway.url}/v1")
    monkeypatch.setenv("WEIR_KEY", house.key.secret)
    names: dict[str, object] = {}
    for block in blocks("guides/openai-sdk.md", "python"):
        exec(compile(block, "openai-sdk.md", "exec"), names)  # noqa: S102 - our own guide
    names["client"].close()


@pytest.mark.slow
def test_the_curl_guide_runs(house: object) -> None:
    """Every command of the curl guide succeeds against a real gateway."""
    script = "\n".join(["set -euo pipefail", *blocks("guides/curl.md", "sh")])
    done = subprocess.run(
        ["bash", "-c", script.replace("curl -s", "curl --fail-with-body -s")],
        env={"PATH": "/usr/bin:/bin", "WEIR_URL": house.gateway.url, "WEIR_KEY": house.key.secret},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "x-weir-action" in done.stdout.lower()


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Every page is in the navigation, every link and anchor leads somewhere."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, timeout=110, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "guides" / "operations.html").exists()

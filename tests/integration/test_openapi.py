"""The OpenAPI page is what is served, and requests made from it never break the gateway."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from processes import House, Key, gateway, simulator

from gateway import media
from gateway.routes import batches, count, files, health, management
from gateway.wire.registry import ROUTES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "openapi.yaml"
EXAMPLES = int(os.environ.get("WEIR_FUZZ_EXAMPLES") or 4)
CHECKS = "not_a_server_error,ignored_auth,unsupported_method"
APIS = (health.api, management.api, count.api, files.api, batches.api)


def test_the_page_has_every_route_and_no_other() -> None:
    """Paths and methods of the page are those that are mounted."""
    documented = {
        (path, method)
        for path, item in yaml.safe_load(PAGE.read_text())["paths"].items()
        for method in item
        if method != "parameters"
    }
    served = {(path, "post") for path in (*ROUTES, *media.ROUTES)} | {
        (route.path.replace(":path", ""), method.lower())
        for api in APIS
        for route in api.routes
        for method in route.methods  # type: ignore[attr-defined]
    }
    assert documented == served


@pytest.mark.slow
@pytest.mark.timeout(1200 + 20 * EXAMPLES)
def test_requests_made_from_the_page_never_break_the_gateway(tmp_path: Path) -> None:
    """schemathesis, with sound bodies and bent ones: no failure of ours, no way past a key."""
    key = Key.new()
    with simulator(tmp_path) as provider:
        config = f"""
database: sqlite:///{tmp_path}/weir.db
upstreams:
  direct: {{ kind: openai, base_url: "{provider.url}/v1", retries: 0, api_key: sk-planted }}
  crossed: {{ kind: anthropic, base_url: "{provider.url}", retries: 0, api_key: sk-planted }}
models:
  direct: {{ upstream: direct, tier: small, price: {{ input: 1, output: 2 }} }}
  both: {{ upstream: crossed, tier: mid, price: {{ input: 3, output: 4 }} }}
routing: {{ mode: route, baseline: both }}
limits: {{ max_output: 50 }}
teams: {{ t: {{ keys: [main], budget: 1000000 per month }} }}
keys: {{ main: {key.hash} }}
"""
        with gateway(tmp_path, config) as running:
            house = House(provider, running, key, tmp_path)
            said = asked(running.url, key.secret, tmp_path)
            assert house.totals()["open_holds"] == 0
            log = running.log.read_text()
    assert re.search(r"Test cases:\s+\d+ generated, \d+ passed", said), said[-6000:]
    print(re.search(r"Test cases:\s+(.*)", said)[1])  # type: ignore[index]
    assert "failed inside" not in log
    assert "sk-planted" not in said + log


def asked(url: str, secret: str, folder: Path) -> str:
    """What schemathesis says of the gateway at ``url``."""
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "run", str(PAGE), "--url", url,
        "-H", f"Authorization: Bearer {secret}", "--max-examples", str(EXAMPLES),
        "--checks", CHECKS, "--mode", "all", "--phases", "fuzzing,coverage", "--seed", "20261122",
        "--request-timeout", "60",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=1200 + 20 * EXAMPLES,
    )
    return done.stdout + done.stderr

"""The demo's processes and configuration."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from gateway.auth import hash_of
from gateway.demo import DemoFailedError, child, config_text, free_port, run_demo
from gateway.settings import parse


def test_the_demos_configuration_is_valid_and_priced_as_the_real_models(tmp_path: Path) -> None:
    """A small, a mid and a long model are priced under their real providers' names."""
    text = config_text(tmp_path, "http://127.0.0.1:1", "secret", hash_of("weir-x"))
    settings = parse(text, "weir.yaml", {})
    tiers = {name: entry.tier.value for name, entry in settings.models.items()}
    assert tiers == {"gpt-6-luna": "small", "gpt-6.1-sol": "mid", "gemini-4-argon": "long"}
    providers = {name: spec.provider for name, spec in settings.upstreams.items()}
    assert providers == {"openai": "openai", "google": "google"}
    assert next(iter(settings.accounts.keys.values())).name == "demo"


def test_a_child_that_ends_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    """A module that does not exist fails with Python's own words."""
    failing = child("ghost", ["gateway.no_such_module"], tmp_path, "http://127.0.0.1:1/")
    with failing as part, pytest.raises(DemoFailedError, match="No module named"):
        part.await_ready()


@pytest.mark.slow
def test_a_child_is_ready_inside_the_block_and_gone_after_it(tmp_path: Path) -> None:
    """The simulator answers while the block runs, and its port is closed afterwards."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/sim/served"
    with child("simulator", ["gateway.simulator", "--port", str(port)], tmp_path, url) as part:
        part.await_ready()
        assert httpx.get(url).json()["requests"] == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


@pytest.mark.slow
def test_the_demo_ends_with_totals_that_agree() -> None:
    """`weir demo --once` exits 0: receipts, ledger and provider count the same."""
    page = io.StringIO()
    code = run_demo(once=True, console=Console(file=page, width=120))
    printed = page.getvalue()
    assert code == 0, printed
    assert "receipts, ledger, provider agree on 74 requests" in " ".join(printed.split())
    assert "CHECK FAILED" not in printed

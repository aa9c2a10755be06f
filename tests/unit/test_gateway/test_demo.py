"""The demo's processes and configuration."""

from __future__ import annotations

import io
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from gateway.auth import hash_of
from gateway.demo import DemoFailedError, _start, bound, child, config_text, run_demo
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
    with bound() as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/sim/served"
        command = ["gateway.simulator", "--fd", str(taken.fileno())]
        with child("simulator", command, tmp_path, url, taken) as part:
            assert part.await_ready() == url
            assert httpx.get(url).json()["requests"] == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_nobody_can_take_the_providers_port_before_it_serves() -> None:
    """From the moment its number is known a port is ours: another process is refused."""
    with bound() as taken, socket.socket() as rival:
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            rival.bind(taken.getsockname())


@pytest.mark.slow
def test_starts_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Six demos that start beside each other all serve, each on ports of its own."""

    def started(number: int) -> tuple[str, str]:
        folder = tmp_path / str(number)
        folder.mkdir()
        with ExitStack() as stack:
            stage = _start(stack, folder, 0, Console(file=io.StringIO()))
            answer = httpx.get(
                f"{stage.gateway_url}/v1/models", headers={"authorization": f"Bearer {stage.key}"}
            )
            assert answer.status_code == 200
            return stage.gateway_url, stage.provider_url

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(started, range(6)))
    assert all(gateway != provider for gateway, provider in found)


@pytest.mark.slow
def test_the_demo_ends_with_totals_that_agree() -> None:
    """`weir demo --once` exits 0: receipts, ledger and provider count the same."""
    page = io.StringIO()
    code = run_demo(once=True, console=Console(file=page, width=120))
    printed = page.getvalue()
    assert code == 0, printed
    assert "receipts, ledger, provider agree on 74 requests" in " ".join(printed.split())
    assert "CHECK FAILED" not in printed

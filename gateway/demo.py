"""`weir demo`: real prompts through the real gateway to a simulated provider, then the bill.

Three processes: the simulator, ``weir serve`` on a generated weir.yaml, and this one as
the client. Exit code 1 when a request failed, or when the receipts, the ledger and the
provider's own count do not agree.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.auth import hash_of, new_secret
from gateway.demo_bill import (
    Totals,
    bill,
    differences,
    ledger_totals,
    receipts_totals,
    report,
    served_totals,
)
from gateway.demo_traffic import bundled, receipts_of, send_all

_READY_S = 60.0
_STOP_S = 15.0
_BOOKED_S = 20.0
_TRIES = 3
_ANNOUNCED = re.compile(r"^weir: serving on (http://\S+)$", re.MULTILINE)
_CONFIG = """\
# Written by `weir demo`: three models with real prices, served by a local simulator.
version: 1
timezone: UTC
database: sqlite:///{folder}/weir.db
upstreams:
  openai: {{ kind: openai, base_url: "{provider}/v1", api_key: {upstream_key}, provider: openai }}
  google: {{ kind: openai, base_url: "{provider}/v1", api_key: {upstream_key}, provider: google }}
models:
  gpt-6-luna:     {{ upstream: openai, tier: small }}
  gpt-6.1-sol:    {{ upstream: openai, tier: mid }}
  gemini-4-argon: {{ upstream: google, tier: long }}
routing:
  mode: route
  baseline: gpt-6.1-sol
fit:
  allow: [lossless, trim, compress]
holdout: 0%
budget: 1000 per month
limits: {{ max_output: 4000 }}
teams:
  demo: {{ keys: [demo] }}
keys:
  demo: {key_hash}
"""


class DemoFailedError(Exception):
    """A part of the demo did not start or did not answer; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the running parts are."""

    folder: Path
    config: Path
    gateway_url: str
    provider_url: str
    key: str


def config_text(folder: Path, provider_url: str, upstream_key: str, key_hash: str) -> str:
    """The demo's weir.yaml."""
    return _CONFIG.format(
        folder=folder.as_posix(),
        provider=provider_url,
        upstream_key=upstream_key,
        key_hash=key_hash,
    )


def run_demo(
    *, once: bool = False, port: int = 0, dashboard: bool = True, console: Console | None = None
) -> int:
    """Run the demo and print the bill; 0 when everything agrees, else 1.

    Args:
        once: end after the bill; else keep serving until Ctrl-C.
        port: of the gateway; 0 picks a free one.
        dashboard: start the dashboard too, when serving on.
    """
    console = console or Console()
    try:
        with ExitStack() as stack:
            stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _end))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weir-demo-")))
            stage = _start(stack, folder, port, console)
            failed = _traffic_and_bill(stage, console)
            if not once:
                _serve_on(stack, stage, console, with_dashboard=dashboard)
    except DemoFailedError as error:
        console.print(f"weir demo: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    return 1 if failed else 0


def _end(_signal: int, _frame: object) -> None:
    """Leave by way of every clean-up, so that no child outlives the demo."""
    raise SystemExit(143)


def _start(stack: ExitStack, folder: Path, port: int, console: Console) -> Stage:
    """Both parts serve, on ports that nobody else can have taken in between.

    The provider inherits a socket that is bound here; the gateway says what it has bound.
    """
    taken = stack.enter_context(bound())
    provider = f"http://127.0.0.1:{taken.getsockname()[1]}"
    key, upstream_key = new_secret(), "sk-sim-" + secrets.token_urlsafe(16)
    config = folder / "weir.yaml"
    config.write_text(config_text(folder, provider, upstream_key, hash_of(key)), encoding="utf-8")
    with console.status("starting the provider and the gateway"):
        simulator = ["gateway.simulator", "--fd", str(taken.fileno()), "--api-key", upstream_key]
        serve = ["gateway", "serve", "--config", str(config), "--port", str(port)]
        first = child("simulator", simulator, folder, f"{provider}/sim/served", taken)
        parts = (
            stack.enter_context(first),
            stack.enter_context(child("gateway", serve, folder, "/readyz")),
        )
        # Both are starting while the first is waited for.
        _, front = (part.await_ready() for part in parts)
    return Stage(folder, config, front.removesuffix("/readyz"), provider, key)


def _traffic_and_bill(stage: Stage, console: Console) -> bool:
    """Send, print; True when something failed or does not add up."""
    items = bundled()
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("sending", total=len(items))
        sending = send_all(stage.gateway_url, stage.key, items, lambda _: progress.advance(task))
        sent = asyncio.run(sending)
    failed = [one for one in sent if not one.fine]
    for one in failed:
        console.print(f"failed: {one.item['id']}: {one.status} {one.error}", markup=False)
    answered = [one for one in sent if one.fine]
    try:
        receipts = asyncio.run(receipts_of(stage.gateway_url, stage.key, answered))
    except TimeoutError:
        raise DemoFailedError("the gateway did not settle every receipt within 20 s") from None
    total = receipts_totals(bill(receipts).total)
    others = [_booked(stage, total.requests), served_totals(_served(stage))]
    by_request = {one.request_id: one.item for one in sent}
    console.print(report(receipts, by_request, others))
    return bool(failed or differences(total, *others))


def _booked(stage: Stage, requests: int) -> Totals:
    """What the ledger's tables say, once the last group is in them.

    A receipt is known before its row is written; a busy machine may take seconds for that.
    """
    give_up = time.monotonic() + _BOOKED_S
    while True:
        found = ledger_totals(_ledger(stage))
        if found.requests >= requests or time.monotonic() > give_up:
            return found
        time.sleep(0.2)


def _ledger(stage: Stage) -> Mapping[str, Any]:
    command = ["gateway", "ledger", "totals", "--json", "--config", str(stage.config)]
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", *command], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode != 0:
        raise DemoFailedError(f"`weir ledger totals` failed: {done.stderr.strip()[-400:]}")
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


def _served(stage: Stage) -> Mapping[str, Any]:
    found: Mapping[str, Any] = httpx.get(f"{stage.provider_url}/sim/served", timeout=10).json()
    return found


def _serve_on(stack: ExitStack, stage: Stage, console: Console, *, with_dashboard: bool) -> None:
    links = [f"gateway    {stage.gateway_url}/v1   (key {stage.key})"]
    if with_dashboard:
        with console.status("starting the dashboard"):
            links.append(f"dashboard  {_dashboard(stack, stage)}")
    links.append(f"policy     {stage.config}")
    console.print("\n".join(["", *links, "", "Ctrl-C ends it."]), markup=False, highlight=False)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        console.print("stopping")


def _dashboard(stack: ExitStack, stage: Stage) -> str:
    """Where the dashboard is. Streamlit takes a port by number: a lost race is tried again."""
    for left in reversed(range(_TRIES)):
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = ["gateway", "dashboard", "--config", str(stage.config), "--port", str(port)]
        command += ["--gateway", stage.gateway_url]
        try:
            return stack.enter_context(child("dashboard", command, stage.folder, url)).await_ready()
        except DemoFailedError:
            if not left:
                raise
    raise AssertionError("unreachable")


@dataclass(frozen=True, slots=True)
class Part:
    """One started process; its output goes to ``log``.

    ``ready_url`` is asked whether it serves; a path alone is asked where its log says it does.
    """

    name: str
    process: subprocess.Popen[bytes]
    ready_url: str
    log: Path

    def await_ready(self) -> str:
        """The URL that answers 200.

        Raises:
            DemoFailedError: it ended, or was not ready within 60 s; with the end of its log.
        """
        give_up = time.monotonic() + _READY_S
        while time.monotonic() < give_up:
            if self.process.poll() is not None:
                raise self._failed(f"ended with code {self.process.returncode}")
            url = self._url()
            try:
                if url is not None and httpx.get(url, timeout=2.0).status_code == 200:
                    return url
            except httpx.HTTPError:
                pass  # not listening yet
            time.sleep(0.05)
        raise self._failed(f"was not ready within {_READY_S:.0f} s")

    def _url(self) -> str | None:
        if not self.ready_url.startswith("/"):
            return self.ready_url
        said = _ANNOUNCED.search(self.log.read_text(encoding="utf-8", errors="replace"))
        return said[1] + self.ready_url if said else None

    def _failed(self, how: str) -> DemoFailedError:
        tail = self.log.read_text(encoding="utf-8", errors="replace")[-1500:]
        return DemoFailedError(f"the {self.name} {how}:\n{tail}")


@contextmanager
def child(
    name: str,
    command: Sequence[str],
    folder: Path,
    ready_url: str,
    inherited: socket.socket | None = None,
) -> Iterator[Part]:
    """A Python module as a process, stopped when the block ends; its log is in ``folder``.

    ``inherited`` is a socket that it may use by its number.
    """
    log = folder / f"{name}.log"
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    passed = () if inherited is None else (inherited.fileno(),)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", *command],
            stdout=output,
            stderr=output,
            env=environ,
            pass_fds=passed,
        )
    try:
        yield Part(name, process, ready_url, log)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def bound() -> Iterator[socket.socket]:
    """A loopback socket with a port of its own, not listening yet."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def free_port() -> int:
    """A TCP port of the loopback that was free a moment ago."""
    with bound() as probe:
        port: int = probe.getsockname()[1]
        return port

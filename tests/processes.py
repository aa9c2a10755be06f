"""Real processes on real sockets, for tests: a simulated provider and `weir serve`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from gateway.auth import hash_of, new_secret

READY_S = 60.0


def http(base_url: str = "", **headers: str) -> httpx.Client:
    """A client for plain HTTP: it reads no certificates, which takes longer than a request."""
    return httpx.Client(
        base_url=base_url,
        headers=headers,
        timeout=60,
        trust_env=False,
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )


def get(url: str) -> httpx.Response:
    """One GET without a key."""
    with http() as client:
        return client.get(url)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@dataclass
class Running:
    """A process that answers on ``url``."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """End it and give its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(timeout=30)


def start(command: list[str], url: str, ready: str, log: Path, **environ: str) -> Running:
    """Start a process and wait until ``url + ready`` answers 200."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **environ})
    running = Running(url, process, log)
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(httpx.HTTPError):
            if get(url + ready).status_code == 200:
                return running
        time.sleep(0.02)
    running.stop(signal.SIGKILL)
    raise AssertionError(f"{command} did not become ready:\n{log.read_text()[-4000:]}")


@contextlib.contextmanager
def simulator(folder: Path, *options: str) -> Iterator[Running]:
    """The simulated provider."""
    port = free_port()
    command = [sys.executable, "-m", "gateway.simulator", "--port", str(port), *options]
    running = start(command, f"http://127.0.0.1:{port}", "/sim/served", folder / "simulator.log")
    try:
        yield running
    finally:
        running.stop()


@contextlib.contextmanager
def gateway(folder: Path, config: str, *options: str) -> Iterator[Running]:
    """`weir serve` on ``config``, which is written to ``folder/weir.yaml``."""
    path = folder / "weir.yaml"
    path.write_text(config, encoding="utf-8")
    port = free_port()
    command = [
        sys.executable, "-m", "gateway", "serve", "--config", str(path), "--port", str(port),
        "--log-level", "info", *options,
    ]  # fmt: skip
    running = start(command, f"http://127.0.0.1:{port}", "/readyz", folder / "weir.log")
    try:
        yield running
    finally:
        running.stop()


@dataclass(frozen=True)
class Key:
    """A virtual key with its secret."""

    secret: str
    hash: str

    @classmethod
    def new(cls) -> Key:
        """A fresh key."""
        secret = new_secret()
        return cls(secret, hash_of(secret))


def config_for(provider: str, folder: Path, key: Key, extra: str = "", keys: str = "") -> str:
    """A configuration with a small, a mid and a long model on one simulated provider."""
    return f"""
version: 1
timezone: UTC
database: sqlite:///{folder}/weir.db
upstreams:
  openai: {{ kind: openai, base_url: "{provider}/v1", api_key: sk-sim, provider: openai }}
  google: {{ kind: openai, base_url: "{provider}/v1", api_key: sk-sim, provider: google }}
models:
  gpt-6-luna:     {{ upstream: openai, tier: small }}
  gpt-6.1-sol:    {{ upstream: openai, tier: mid }}
  gemini-4-argon: {{ upstream: google, tier: long }}
routing: {{ mode: route, baseline: gpt-6.1-sol }}
limits: {{ max_output: 4000 }}
{extra or "teams: { support: { keys: [main], budget: 100 per month } }"}
keys:
  main: {key.hash}
{keys}
"""


@dataclass(frozen=True)
class House:
    """A provider, a gateway in front of it, and a key."""

    provider: Running
    gateway: Running
    key: Key
    folder: Path

    def client(self, **headers: str) -> httpx.Client:
        """An HTTP client with the key."""
        known = {"authorization": f"Bearer {self.key.secret}"}
        return http(self.gateway.url, **{**known, **headers})

    def totals(self) -> dict[str, object]:
        """What `weir ledger totals --json` says."""
        command = [
            sys.executable, "-m", "gateway", "ledger", "totals", "--json",
            "--config", str(self.folder / "weir.yaml"),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, timeout=60, check=True)
        found: dict[str, object] = json.loads(done.stdout)
        return found


@contextlib.contextmanager
def house_in(folder: Path, extra: str = "", *options: str) -> Iterator[House]:
    """A house of its own, ``extra`` in place of the configuration's teams."""
    key = Key.new()
    with (
        simulator(folder, *options) as provider,
        gateway(folder, config_for(provider.url, folder, key, extra)) as running,
    ):
        yield House(provider, running, key, folder)

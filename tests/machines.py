"""Several machines on one: network namespaces on a bridge, whose cables can be pulled.

The bridge is on the machine itself, with the engines and the load; each namespace has its own
address, its own loopback and one cable to the bridge.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass


def why_not(uid: int) -> str | None:
    """Why namespaces cannot be had here by this user, or None."""
    if uid != 0:
        return "only root may make network namespaces"
    if shutil.which("ip") is None:
        return "there is no `ip` (Debian: iproute2)"
    name = f"weir-{secrets.token_hex(3)}"
    made = _ip("netns", "add", name)
    if made.returncode == 0:
        linked = _ip("link", "add", f"{name}b", "type", "bridge")
        _ip("link", "del", f"{name}b")
        _ip("netns", "del", name)
        made = linked
    return None if made.returncode == 0 else f"no namespaces here: {made.stderr.strip()}"


def _ip(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=False)


def _must(*words: str) -> None:
    done = _ip(*words)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


@dataclass(frozen=True)
class Machine:
    """One namespace."""

    name: str
    address: str
    cable: str

    @property
    def inside(self) -> tuple[str, ...]:
        """What stands before a command that is to run on it."""
        return ("ip", "netns", "exec", self.name)

    def pull(self) -> None:
        """Its cable is out: nothing comes or goes, and nobody is told."""
        _must("link", "set", self.cable, "down")

    def plug(self) -> None:
        """Its cable is in."""
        _must("link", "set", self.cable, "up")


@dataclass(frozen=True)
class Hall:
    """The address of the machine itself on the bridge, and the others there."""

    address: str
    machines: tuple[Machine, ...]


@contextlib.contextmanager
def hall(count: int) -> Iterator[Hall]:
    """So many machines beside this one; gone at the end, with what ran on them."""
    token = secrets.token_hex(3)
    # 198.18.0.0/15 is set aside for such tests (RFC 2544) and routed nowhere.
    net = f"198.{18 + secrets.randbelow(2)}.{secrets.randbelow(256)}"
    bridge = f"weir-{token}"
    machines = tuple(
        Machine(f"weir-{token}-{n}", f"{net}.{10 + n}", f"wc{token}{n}") for n in range(count)
    )
    try:
        _must("link", "add", bridge, "type", "bridge")
        _must("addr", "add", f"{net}.1/24", "dev", bridge)
        _must("link", "set", bridge, "up")
        for machine in machines:
            _connect(machine, bridge)
        yield Hall(f"{net}.1", machines)
    finally:
        for machine in machines:
            _ip("netns", "del", machine.name)
            _ip("link", "del", machine.cable)
        _ip("link", "del", bridge)


def _connect(machine: Machine, bridge: str) -> None:
    far = f"{machine.cable}x"
    _must("netns", "add", machine.name)
    _must("link", "add", machine.cable, "type", "veth", "peer", "name", far)
    _must("link", "set", far, "netns", machine.name)
    _must("link", "set", machine.cable, "master", bridge)
    _must("-n", machine.name, "link", "set", "lo", "up")
    _must("-n", machine.name, "addr", "add", f"{machine.address}/24", "dev", far)
    _must("-n", machine.name, "link", "set", far, "up")
    machine.plug()

"""The gateways that ours is measured beside: what each is installed from, how each is started.

Each lives in a folder of its own under ``.cache/peers``, so that it brings its own versions of
everything. All run with one process, one key to check, and nothing more than their defaults:
no database, no cache, no plugins.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._mock import MODEL

KEY = "sk-bench"
# Asked for by name and not to be had whole from PyPI, npm or apt.
ABSENT = {
    "bifrost": "the npm package @maximhq/bifrost holds no gateway, only a script that downloads "
    "one from its maker's own host",
    "helicone": "no package of its gateway; PyPI and npm have clients",
    "one-api": "what bears the name on PyPI is another program",
    "tensorzero": "PyPI has its client; the gateway comes as a container image",
}


class NotInstalled(Exception):
    """A peer could not be installed; the message says what its installer said."""


@dataclass(frozen=True)
class Launch:
    """How to start a peer: its command and what it needs in its environment."""

    command: list[str]
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a peer is installed, where it may write, and the ports of it and of the mock."""

    home: Path
    folder: Path
    port: int
    mock: int


@dataclass(frozen=True)
class Peer:
    """Another gateway. ``spec`` is pinned; ``stretch`` makes slow ones run longer;
    ``no_streams`` says why it cannot be measured with streams."""

    name: str
    language: str
    installer: str
    spec: str
    launch: Callable[[Place], Launch]
    ready: str
    stretch: float = 1.0
    headers: Callable[[int], dict[str, str]] = field(default=lambda _mock: {})
    no_streams: str = ""


def _litellm(place: Place) -> Launch:
    config = place.folder / "litellm.yaml"
    config.write_text(
        f"model_list:\n  - model_name: {MODEL}\n"
        f"    litellm_params: {{ model: openai/{MODEL}, api_key: k,"
        f' api_base: "http://127.0.0.1:{place.mock}/v1" }}\n'
        f"litellm_settings: {{ callbacks: [] }}\n"
        f"general_settings: {{ master_key: {KEY} }}\n"
    )
    program = str(place.home / "bin" / "litellm")
    return Launch(
        [
            *(program, "--config", str(config), "--num_workers", "1"),
            *("--host", "127.0.0.1", "--port", str(place.port)),
        ],
        {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": "",
        },
    )


def _portkey(place: Place) -> Launch:
    script = place.home / "node_modules/@portkey-ai/gateway/build/start-server.js"
    return Launch(
        ["node", str(script), f"--port={place.port}", "--headless"], {"NODE_ENV": "production"}
    )


def _portkey_headers(mock: int) -> dict[str, str]:
    return {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{mock}/v1",
    }


def _ferrogw(place: Place) -> Launch:
    config = place.folder / "ferrogw.yaml"
    config.write_text("strategy: { mode: single }\ntargets:\n  - virtual_key: openai\n")
    return Launch(
        [str(place.home / "bin" / "ferrogw"), "serve"],
        {
            "PORT": str(place.port),
            "GATEWAY_CONFIG": str(config),
            "OPENAI_API_KEY": "k",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{place.mock}/v1",
            "MASTER_KEY": KEY,
            "FERRO_MODEL_CATALOG_TIMEOUT": "0",
            "LOG_LEVEL": "error",
            "RATE_LIMIT_RPS": "1000000",  # its default stops a benchmark at once
            "RATE_LIMIT_BURST": "1000000",
        },
    )


def _rolter(place: Place) -> Launch:
    config = place.folder / "rolter.toml"
    config.write_text(
        f'[server]\nhost = "127.0.0.1"\nport = {place.port}\n'
        f'[[providers]]\nname = "mock"\nkind = "openai_compatible"\n'
        f'api_base = "http://127.0.0.1:{place.mock}"\n'
        f'[[routes]]\nmodel = "{MODEL}"\nstrategy = "round_robin"\n'
        f'[[routes.targets]]\nprovider = "mock"\nmodel = "{MODEL}"\n'
        f'[[virtual_keys]]\nkey = "{KEY}"\nname = "bench"\nmodels = []\n'
    )
    program = str(place.home / "bin" / "rolter")
    return Launch([program, "gateway", "--config", str(config)], {"RUST_LOG": "error"})


PEERS = (
    # 1.82.7 and 1.82.8 were published by a thief: never those.
    Peer(
        "litellm",
        "Python",
        "pip",
        "litellm[proxy]==1.106.2",
        _litellm,
        "/health/liveliness",
        stretch=2.0,
    ),
    Peer(
        "portkey",
        "Node",
        "npm",
        "@portkey-ai/gateway@1.15.2",
        _portkey,
        "/",
        headers=_portkey_headers,
        no_streams="it answers 500 to any stream with Node 20 (it adds to headers that are fixed)",
    ),
    Peer("ferrogw", "Go", "pip", "ferrogw==1.5.10", _ferrogw, "/readyz"),
    Peer("rolter", "Rust", "pip", "rolter==0.1.0", _rolter, "/readyz"),
)


def chosen(names: str | None) -> tuple[Peer, ...]:
    """The peers of a list like ``litellm,rolter``; all where there is none."""
    if names is None:
        return PEERS
    known = {peer.name: peer for peer in PEERS}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise ValueError(f"{name}: there are {', '.join(known)}")
    return tuple(known[name] for name in wanted)


def commands(peer: Peer, home: Path) -> list[list[str]]:
    """What installs a peer into ``home``."""
    if peer.installer == "npm":
        npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        return [[*npm, "--prefix", str(home), peer.spec]]
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    return [
        [sys.executable, "-m", "venv", "--clear", str(home)],
        [str(home / "bin" / "python"), *pip, peer.spec],
    ]


def install(peer: Peer, home: Path, say: Callable[[str], None]) -> None:
    """``peer`` is in ``home``, in the pinned version; nothing is done where it is already."""
    mark = home / ".installed"
    if mark.exists() and mark.read_text() == peer.spec:
        return
    say(f"installing {peer.spec} into {home}")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    for command in commands(peer, home):
        if shutil.which(command[0]) is None:
            raise NotInstalled(f"{peer.name}: {command[0]} is not on this machine")
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
        except subprocess.TimeoutExpired:
            raise NotInstalled(f"{peer.name}: no end after 400 s of {' '.join(command)}") from None
        if done.returncode:
            last = (done.stderr or done.stdout).strip()[-1_500:]
            raise NotInstalled(f"{peer.name}: {' '.join(command)} failed:\n{last}")
    mark.write_text(peer.spec)

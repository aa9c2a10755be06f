"""Past traffic under an edited policy: `weir policy replay`, run as a process of its own.

Deciding is the gateway's, which this package does not import: it runs the command that an
operator would, on a copy of the weir.yaml with some sections written over. The copy lies
beside the original, since paths in it are relative, and is gone when the command has ended.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

_PATIENCE_S = 300
_DONE = (0, 1)  # 1: the same policy now makes other plans
MOST = 20_000
PERIODS = {"Last week": "7d", "Last two weeks": "2w", "Last four weeks": "4w"}


class CannotReplay(Exception):
    """There is no outcome; the message says why and what to do."""


def edited(policy: str, over: str) -> dict[str, Any]:
    """A policy with the sections of ``over`` written over it, mappings key by key.

    Raises:
        CannotReplay: one of them is no mapping.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        base, more = yaml.load(policy), yaml.load(over)
    except YAMLError as error:
        raise CannotReplay(f"This is no YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(base, dict) or not isinstance(more, dict):
        raise CannotReplay("Write the sections that are to differ, such as `holdout: 5%`.")
    return _merged(base, more)


def replay(config: str, ledger: str, over: str, period: str) -> Mapping[str, Any]:
    """The outcome of a replay, as the command's JSON.

    Args:
        config: the path of the weir.yaml that is in force.
        ledger: whose receipts.
        over: YAML of what is to differ.
        period: one of the values of ``PERIODS``.

    Raises:
        CannotReplay: the policy is refused, or the command does not answer.
    """
    path = Path(config)
    try:
        tree = edited(path.read_text(encoding="utf-8"), over)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=".weir-replay-", suffix=".yaml", encoding="utf-8"
        ) as copy:
            YAML(typ="safe", pure=True).dump(tree, copy)
            copy.flush()
            return _run(copy.name, ledger, period)
    except OSError as error:
        raise CannotReplay(f"{path} cannot be copied for a replay: {error.strerror}") from None


def _run(config: str, ledger: str, period: str) -> Mapping[str, Any]:
    command = [
        sys.executable, "-m", "gateway", "policy", "replay", period, "--config", config,
        "--ledger", ledger, "--limit", str(MOST), "--json",
    ]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 - our own command; the policy is a file, never a word
            command, capture_output=True, timeout=_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise CannotReplay(
            f"It took more than {_PATIENCE_S} s: choose a shorter period, or run the command."
        ) from None
    if done.returncode not in _DONE or not done.stdout:
        said = done.stderr.decode("utf-8", "replace").replace(config, "the edited policy").strip()
        raise CannotReplay("; ".join(said.splitlines()[-3:]) or "The command said nothing.")
    found: Mapping[str, Any] = orjson.loads(done.stdout)
    return found


def _merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(base)
    for name, value in more.items():
        old = made.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        made[name] = _merged(old, value) if both and isinstance(old, dict) else value
    return made

"""Adding and revoking keys in a weir.yaml, its comments and layout kept."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML

from billing.policy_schema import Name
from gateway.errors import ConfigError
from gateway.settings import parse
from gateway.yaml_text import unveil, veil


def _load(path: Path) -> tuple[YAML, Any]:
    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.width = 4096
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(str(path), "", "the file does not exist", "run `weir init`") from None
    parse(text, str(path))  # a file that does not load is not edited
    return yaml, yaml.load(veil(text))


def _save(path: Path, yaml: YAML, tree: Any) -> None:
    """Replace the file whole, so that a reader never sees half of it."""
    out = io.StringIO()
    yaml.dump(tree, out)
    text = unveil(out.getvalue())
    parse(text, str(path))
    draft = path.with_name(path.name + ".new")
    draft.write_text(text, encoding="utf-8")
    draft.chmod(path.stat().st_mode)
    os.replace(draft, path)


def check_name(name: str) -> None:
    """The name may be a key's. Raises ConfigError."""
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        said = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise ConfigError("NAME", "", said, "choose another name") from None


def add_key(path: Path, name: str, hashed: str, place: str | None = None) -> str:
    """Put a key's hash under ``keys:`` and its name in a team or project; which one.

    Args:
        place: TEAM or TEAM/PROJECT; needed where the file declares more than one.

    Raises:
        ConfigError: the name is taken or no name, the place is unknown or not the only one,
            or the file would not load afterwards.
    """
    check_name(name)
    yaml, tree = _load(path)
    keys = tree.setdefault("keys", {})
    if name in keys:
        raise ConfigError(str(path), f"keys.{name}", "this key exists", "choose another name")
    keys[name] = hashed
    places = _places(tree)
    if place is None and len(places) == 1:
        (place,) = places
    if place not in places:
        problem = "several could have the key" if place is None else f"no such place: {place!r}"
        known = f"--team TEAM[/PROJECT] with one of: {', '.join(places) or 'none declared'}"
        raise ConfigError(str(path), "teams", problem, known)
    node = places[place]
    if node.get("keys") is None:
        node["keys"] = []
    node["keys"].append(name)
    _save(path, yaml, tree)
    return place


def _places(tree: Any) -> dict[str, Any]:
    """Every team and project of a file by its name on the command line."""
    places: dict[str, Any] = {}
    for team, node in (tree.get("teams") or {}).items():
        places[str(team)] = node
        for project, inner in (node.get("projects") or {}).items():
            places[f"{team}/{project}"] = inner
    return places


def revoke_key(path: Path, name: str) -> None:
    """Mark a key revoked; its entry stays, so that its spend keeps its name.

    Raises:
        ConfigError: there is no such key.
    """
    yaml, tree = _load(path)
    keys = tree.get("keys") or {}
    if name not in keys:
        known = ", ".join(keys) or "none"
        raise ConfigError(str(path), f"keys.{name}", "no such key", f"known: {known}")
    entry = keys[name]
    if isinstance(entry, str):
        keys[name] = {"hash": entry, "revoked": True}
    else:
        entry["revoked"] = True
    _save(path, yaml, tree)

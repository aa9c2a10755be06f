"""Writes docs/reference/{configuration,cli}.md from the schema and the commands, and the list
of decisions.

    python scripts/build_reference.py            write them
    python scripts/build_reference.py --check    exit 1 when one is not current

A key of the schema without a text (or a text without its key) is an error either way.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from reference_texts import DEFAULTS, SECTIONS, TEXTS

from gateway.cli import app
from gateway.settings import RootSection

DOCS = Path(__file__).parents[1] / "docs"
_MADE = "<!-- Made by scripts/build_reference.py; edit the schema or its texts, not this file. -->"


def models(root: type[BaseModel]) -> list[type[BaseModel]]:
    """Every model reachable from the root, each once, in the order of the keys."""
    found = [root]
    for model in found:
        for field in model.model_fields.values():
            found += [m for m in _inside(field.annotation) if m not in found]
    return found


def _inside(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for argument in get_args(annotation):
        yield from _inside(argument)


def configuration() -> str:
    """The reference of weir.yaml.

    Raises:
        SystemExit: a key or section without a text, or a text without its key.
    """
    reachable = models(RootSection)
    keys = {f"{m.__name__}.{name}" for m in reachable for name in m.model_fields}
    names = {m.__name__ for m in reachable}
    wrong = sorted((keys ^ set(TEXTS)) | (names ^ set(SECTIONS)))
    if wrong:
        raise SystemExit(f"scripts/reference_texts.py and the schema differ: {', '.join(wrong)}")
    parts = [
        "# Configuration",
        _MADE,
        (
            "One YAML file, `weir.yaml`. `weir init` writes one to start from, `weir policy lint` "
            "checks it. `${NAME}` in a value is taken from the environment. A mistake is told "
            "with file, line, key and what would fix it; nothing is half loaded."
        ),
    ]
    for model in reachable:
        title, intro = SECTIONS[model.__name__]
        rows = [_row(model.__name__, name, field) for name, field in model.model_fields.items()]
        table = "\n".join(["| key | default | |", "|---|---|---|", *rows])
        parts += [f"## {title}", intro, table]
    return "\n\n".join(parts) + "\n"


def _row(model: str, name: str, field: FieldInfo) -> str:
    text = TEXTS[f"{model}.{name}"].replace("|", "\\|")
    default = DEFAULTS.get(f"{model}.{name}", _default(field))
    return f"| `{field.alias or name}` | {default} | {text} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True) if not field.default_factory else None
    if isinstance(value, BaseModel) or value is PydanticUndefined or value in (None, (), ""):
        return ""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value:g}`" if isinstance(value, float | Decimal) else f"`{value}`"


def commands() -> str:
    """The reference of the command line."""
    root: Any = typer.main.get_command(app)
    parts = [
        "# Command line",
        _MADE,
        (
            "`weir --help` says the same; `python -m gateway` is `weir`. Exit codes: 0 fine, 1 a "
            "check found problems, 2 bad usage or configuration."
        ),
    ]
    for name, command in _leaves(root, "weir"):
        parts += [f"## `{name}`", *_command(command)]
    return "\n\n".join(parts) + "\n"


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for child in sorted(inner):
        yield from _leaves(inner[child], f"{name} {child}")


def _command(command: Any) -> list[str]:
    said = [" ".join((command.help or "").split())]
    rows = [_parameter(one) for one in command.params if one.name != "help"]
    if rows:
        said.append("\n".join(["| | default | |", "|---|---|---|", *rows]))
    return said


def _parameter(one: Any) -> str:
    argument = one.param_type_name == "argument"
    name = str(one.name).upper() if argument else ", ".join([*one.opts, *one.secondary_opts])
    default = "" if one.default is None or isinstance(one.default, bool) else f"`{one.default}`"
    if one.required:
        default = "required"
    return f"| `{name}` | {default} | {(getattr(one, 'help', None) or '').replace('|', '/')} |"


def decisions() -> str:
    """The list of decisions, by their titles."""
    rows = []
    for path in sorted((DOCS / "decisions").glob("0*.md")):
        title = path.read_text(encoding="utf-8").split("\n", maxsplit=1)[0].lstrip("# ")
        number, text = re.match(r"(\d{4})[.:]? +(.*)", title).groups()  # type: ignore[union-attr]
        rows.append(f"| {number} | [{text[0].upper()}{text[1:]}]({path.name}) |")
    intro = "What was chosen, over what, and what it costs."
    return (
        "\n\n".join(["# Decisions", _MADE, intro, "\n".join(["| | |", "|---|---|", *rows])]) + "\n"
    )


def main() -> int:
    """Write or check; the exit code."""
    pages = {
        "reference/configuration.md": configuration(),
        "reference/cli.md": commands(),
        "decisions/README.md": decisions(),
    }
    stale = []
    for name, text in pages.items():
        path = DOCS / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        print(f"not current: {', '.join(stale)}; run python scripts/build_reference.py")
        return 1
    print("written: " + ", ".join(stale) if stale else "current")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`weir policy explain` for a person at a terminal: one table a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

Row = Sequence[str]


def print_policy(found: Mapping[str, Any], console: Console) -> None:
    """Who said what, node by node; what does not decide is dimmed."""
    state = "usable" if found["usable"] else ("revoked" if found["revoked"] else "expired")
    console.print(f"[bold]{found['key']}[/] ({state}): " + " › ".join(found["path"]))
    _table(
        console,
        ("ceilings: every one counts", "said by", "window open now"),
        [
            (c["says"], _place(c), f"{c['from']} to {c['until']}" if "from" in c else "each alone")
            for c in found["ceilings"]
        ]
        or [("no budget on the path", "", "")],
    )
    _table(
        console,
        ("limits: the tightest decides", "value", "said by"),
        [(one["limit"], str(one["value"]), _place(one)) for one in found["limits"]],
        [one["decides"] for one in found["limits"]],
    )
    _table(
        console,
        ("permissions: they intersect", "says", "said by"),
        [
            *((p["permission"], ", ".join(p["says"]), _place(p)) for p in found["permissions"]),
            *(("forbid", f["action"], _place(f)) for f in found["forbid"]),
        ],
    )
    _table(
        console,
        ("preferences: the nearest decides", "value", "said by"),
        [(p["preference"], _text(p["value"]), _place(p)) for p in found["preferences"]],
        [p["decides"] for p in found["preferences"]],
    )
    if found["ladder"]:
        ladder = found["ladder"]
        _table(
            console,
            (
                f"ladder {ladder['ladder']}, set by {ladder['node']}",
                "does",
                "forbidden, so skipped",
            ),
            [
                (rung["at"], ", ".join(rung["actions"]), ", ".join(rung["forbidden"]))
                for rung in ladder["rungs"]
            ],
        )
    _models(found, console)


def _models(found: Mapping[str, Any], console: Console) -> None:
    rows = [
        (
            model["model"],
            model.get("tier", ""),
            "yes" if model["allowed"] else f"no: {', '.join(model['denied_by'])}",
            _prices(model),
            _context(model),
        )
        for model in found["models"]
    ]
    heads = ("model", "tier", "allowed", "USD/Mtok in, out", "reads well (literal, meaning, many)")
    _table(console, heads, rows, [model["allowed"] for model in found["models"]])
    if "may_go_to" in found:
        _table(
            console,
            ("may be answered by", "tier", "when"),
            [(m["model"], m["tier"], m["when"]) for m in found["may_go_to"]],
            [m["ok"] for m in found["may_go_to"]],
        )


def _prices(model: Mapping[str, Any]) -> str:
    if "priced" not in model:
        return "as the one chosen"
    if not model["priced"]:
        return "unpriced: refused"
    rates = model["usd_per_mtok"]
    return ", ".join(rates.get(part, "-") for part in ("input", "output")) if rates else "free"


def _context(model: Mapping[str, Any]) -> str:
    said = model.get("effective_context")
    if said is None:
        return ""
    reach = ", ".join(f"{said[kind]:,}" for kind in ("literal", "semantic", "multi"))
    window = f" of {model['window']:,}" if model["window"] else ""
    return f"{reach}{window}"


def _place(row: Mapping[str, Any]) -> str:
    return f"{row['node']}  ({row['where']})"


def _text(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _table(
    console: Console, heads: Row, rows: Sequence[Row], decides: Sequence[bool] | None = None
) -> None:
    if not rows:
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    for number, row in enumerate(rows):
        table.add_row(*row, style="" if decides is None or decides[number] else "dim")
    console.print()
    console.print(table)

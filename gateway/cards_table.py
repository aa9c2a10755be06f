"""How far each declared model reads well, and who says so: for a person and for a program."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from gateway.snapshot import Snapshot
from router.catalog import ModelCard, effective
from router.effective import LENGTHS
from router.need import Need, NeedKind

_NEEDS = {
    "literal": Need(NeedKind.LOOKUP, 1.0, identifiers=True),
    "semantic": Need(NeedKind.LOOKUP, 1.0),
    "multi": Need(NeedKind.SYNTHESIS, 1.0),
}


def card_json(card: ModelCard) -> dict[str, Any]:
    """The three effective lengths of a card in tokens, each with where it is from.

    A length that nobody measured is the one that the default rule gives, and says so.
    """
    found: dict[str, Any] = {}
    for kind in LENGTHS:
        said = card.measured.get(kind)
        found[kind] = {
            "tokens": effective(card, _NEEDS[kind]),
            "source": said.source if said else "default rule",
            "date": said.date if said else None,
            "confidence": said.confidence if said else "default",
        }
    return found


def cards_json(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Every declared model with its window and effective lengths."""
    return [
        {
            "model": name,
            "tier": entry.tier.value,
            "upstream": entry.upstream,
            "context_window": snapshot.cards[name].window,
            "window_known": snapshot.cards[name].window_known,
            "effective": card_json(snapshot.cards[name]),
        }
        for name, entry in snapshot.settings.models.items()
    ]


def print_cards(rows: list[dict[str, Any]]) -> None:
    """One line a model; what nobody measured is dim."""
    table = Table(box=None, header_style="dim")
    for title in ("model", "tier", "window", *LENGTHS, "from"):
        table.add_column(title, justify="right" if title in {"window", *LENGTHS} else "left")
    for row in rows:
        lengths, sources = [], []
        for kind in LENGTHS:
            said = row["effective"][kind]
            known = said["confidence"] != "default"
            lengths.append(f"{said['tokens']:,}" if known else f"[dim]{said['tokens']:,}[/]")
            if known:
                dated = f" {said['date']}" if said["date"] else ""
                sources.append(f"{said['source']}{dated} ({said['confidence']})")
        window = f"{row['context_window']:,}" if row["window_known"] else "unknown"
        table.add_row(
            row["model"], row["tier"], window, *lengths,
            "; ".join(dict.fromkeys(sources)) or "[dim]default rule[/]",
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print("[dim]Tokens read well, by kind of question; dim: nobody measured it yet. "
                  "`weir probe MODEL` does.[/]")  # fmt: skip

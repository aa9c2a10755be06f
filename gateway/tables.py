"""Explain for a person at a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from billing.money import NANO_PER_USD, half_even, usd_cents


def money(nano: int) -> str:
    """USD for a person: cents, and four places more where it is below 10 dollars."""
    if abs(nano) >= 10 * NANO_PER_USD:
        return usd_cents(nano)
    tenths = half_even(nano, NANO_PER_USD // 1_000_000)
    whole, part = divmod(abs(tenths), 1_000_000)
    return f"{'-' if tenths < 0 else ''}{whole}.{part:06d}"


def print_explain(found: Mapping[str, Any]) -> None:
    """Measurement, candidates and plan, readable at a glance."""
    console = Console()
    m, plan, baseline = found["measurement"], found["plan"], found["baseline"]
    console.print(
        f"[bold]{m['prompt_tokens']:,} prompt tokens[/] ({m['tokenizer']}), need [bold]"
        f"{m['need']}[/] ({m['need_confidence']:.0%} sure), small is enough "
        f"{m['small_is_enough']:.0%}"
    )
    table = Table(box=None, header_style="dim")
    for name, right in (
        ("model", False), ("way", False), ("tokens", True), ("expected USD", True),
        ("about ms", True), ("why not", False),
    ):  # fmt: skip
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for c in found["candidates"]:
        chosen = c["model"] == plan["model"] and c["why_not"] is None
        style = "bold green" if chosen else ("" if c["ok"] else "dim")
        table.add_row(
            c["model"], c["way"], f"{c['prompt_tokens']:,}", c["expected_usd"] or "unpriced",
            f"{c['expected_ms']:,}", c["why_not"] or "chosen", style=style,
        )  # fmt: skip
    console.print(table)
    console.print(
        f"Plan: [bold]{plan['action']}[/] to [bold]{plan['model']}[/]; as asked "
        f"({baseline['model']}): {baseline['expected_usd'] or 'unpriced'} USD"
    )
    for reason in plan["reasons"]:
        facts = ", ".join(f"{k} {v}" for k, v in reason.items() if k != "code")
        console.print(f"  · {reason['code']}" + (f" ({facts})" if facts else ""))
    if found["cuts"]:
        cut = sum(c["tokens"] for c in found["cuts"])
        console.print(f"Cuts: {len(found['cuts'])} pieces, {cut:,} tokens")
        console.print(_largest_cuts(found["cuts"]))
    for hidden in found.get("hidden", ()):
        console.print(
            f"[yellow]Hidden content:[/] {hidden['kind']} in message {hidden['message']}, "
            f"{hidden['count']} places, {hidden['chars']:,} characters, first at "
            f"{hidden['start']:,}"
        )


_SHOWN_CUTS = 8


def _largest_cuts(cuts: Sequence[Mapping[str, Any]]) -> Table:
    """The cuts that dropped most, as a table."""
    table = Table(box=None, header_style="dim")
    for name in ("message", "characters", "tokens", "way", "score", "sha256"):
        table.add_column(name, justify="right" if name in {"tokens", "score"} else "left")
    largest = sorted(cuts, key=lambda cut: -int(cut["tokens"]))[:_SHOWN_CUTS]
    for cut in sorted(largest, key=lambda cut: (cut["message"], cut["start"])):
        table.add_row(
            str(cut["message"]), f"{cut['start']:,}-{cut['end']:,}", f"{cut['tokens']:,}",
            cut["way"], f"{cut['score']:.2f}", cut["sha256"][:12],
        )  # fmt: skip
    return table

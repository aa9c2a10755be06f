"""Figures of a fit benchmark as sums, as a table and as a plot."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

METHODS = ("head_tail", "bm25", "always", "fit")
COLOURS = {"head_tail": "#b8bec6", "bm25": "#8aa0b8", "always": "#4f8fc0", "fit": "#17456b"}
NAMES = {
    "head_tail": "head + tail",
    "bm25": "plain BM25",
    "always": "ours, gate off",
    "fit": "ours, as sent",
}
WHOLE = 0.95


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and whole in per cent of each method.

    ``fit`` is what would be sent, refusals whole; ``trimmed`` leaves refusals out;
    ``always`` is the trim with the gate off.
    """
    trimmed = [one for one in results if not one["refused"]]
    out: dict[str, Any] = {"questions": len(results)}
    for method in METHODS:
        out[method] = figures([one[method] for one in results])
    out["trimmed"] = figures([one["fit"] for one in trimmed])
    out["refused"] = round(100 * (1 - len(trimmed) / max(1, len(results))), 1)
    out["over_budget"] = sum(one["over"] for one in results)
    out["gateway_reads_whole"] = round(
        100 * statistics.fmean(not one["lookup"] for one in results) if results else 0.0, 1
    )
    return out


def figures(kept: Sequence[float]) -> list[float]:
    """Mean share and share of whole ones (95 % or more), per cent."""
    if not kept:
        return [0.0, 0.0]
    whole = sum(share >= WHOLE for share in kept) / len(kept)
    return [round(100 * statistics.fmean(kept), 1), round(100 * whole, 1)]


def other_summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The other package's evidence and tokens kept, per cent, and its CPU time, ms."""
    out: dict[str, Any] = {"questions": len(results)}
    if results:
        spent = sorted(one["ms"] for one in results)
        out["evidence"] = figures([one["kept"] for one in results])
        sent, whole = (sum(one[name] for one in results) for name in ("sent", "tokens"))
        out["tokens_kept"] = round(100 * sent / max(1, whole), 1)
        out["ms_p50"] = round(statistics.median(spent), 1)
        out["ms_p99"] = round(spent[min(len(spent) - 1, int(0.99 * len(spent)))], 1)
    return out


def table(report: dict[str, Any], budgets: Sequence[str]) -> str:
    """The report for people: mean/whole of each method by budget and kind."""
    width = 44
    head = f"{'':26}" + "".join(f"{name:>{width}}" for name in budgets)
    lines = [head, f"{'':26}" + f"{'h+t  bm25  always  fit (refused)':>{width}}" * len(budgets)]
    for kind, by_budget in {"all": report["overall"], **report["by_kind"]}.items():
        cells = [_cell(by_budget[name]) for name in budgets]
        lines.append(f"{kind[:25]:26}" + "".join(f"{cell:>{width}}" for cell in cells))
    lines.append("CPU ms a fit: " + json.dumps(report["cpu_ms"]))
    if report.get("headroom"):
        lines.append("headroom-ai: " + json.dumps(report["headroom"]))
    return "\n".join(lines)


def _cell(one: dict[str, Any]) -> str:
    if not one["questions"]:
        return "-"
    always, fit = ("/".join(f"{value:.0f}" for value in one[name]) for name in ("always", "fit"))
    left = f"{one['head_tail'][0]:.0f}  {one['bm25'][0]:.0f}  {always}  {fit}"
    return f"{left} ({one['refused']:.0f}) n{one['questions']}"


def plot(report: dict[str, Any], budgets: Sequence[str], path: Path) -> None:
    """A bar chart as SVG: evidence kept (mean, per cent) by budget and method."""
    left, top, high, step, bar = 46, 40, 220, 140, 28
    width = left + step * len(budgets) + 20
    asked = ", ".join(str(report["overall"][name]["questions"]) for name in budgets)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top + high + 70}">',
        '<g font-family="sans-serif" font-size="12">',
        "<title>Evidence kept by size of the fitted prompt</title>",
        f'<rect width="{width}" height="{top + high + 70}" fill="#ffffff"/>',
        f'<text x="{left}" y="20" font-size="14">Evidence kept, % (mean; n = {asked})</text>',
    ]
    for mark in (0, 25, 50, 75, 100):
        y = top + high - high * mark / 100
        parts.append(
            f'<path d="M{left} {y:.0f}H{width - 10}" stroke="#e3e6ea"/>'
            f'<text x="{left - 8}" y="{y + 4:.0f}" text-anchor="end">{mark}</text>'
        )
    for column, name in enumerate(budgets):
        for row, method in enumerate(METHODS):
            value = report["overall"][name][method][0]
            x, size = left + 12 + column * step + row * bar, high * value / 100
            parts.append(
                f'<rect x="{x}" y="{top + high - size:.1f}" width="{bar - 4}" '
                f'height="{size:.1f}" fill="{COLOURS[method]}"/>'
                f'<text x="{x + bar / 2 - 2}" y="{top + high - size - 4:.1f}" font-size="10" '
                f'text-anchor="middle">{value:.0f}</text>'
            )
        middle = left + 12 + column * step + 2 * bar
        parts.append(
            f'<text x="{middle}" y="{top + high + 18}" text-anchor="middle">{escape(name)}</text>'
        )
    for row, method in enumerate(METHODS):
        x = left + row * 130
        parts.append(
            f'<rect x="{x}" y="{top + high + 38}" width="12" height="12" '
            f'fill="{COLOURS[method]}"/><text x="{x + 18}" y="{top + high + 48}">'
            f"{NAMES[method]}</text>"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</g>", "</svg>"]) + "\n", encoding="utf-8")

"""Curves of quality against cost as an SVG, a panel a slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDE, HIGH, EDGE, POINTS = 260, 200, 40, 120
COLOURS = ("#1f6feb", "#8b949e", "#d29922", "#8957e5")


def drawing(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """An SVG: in each panel one curve a label, from no strong calls to all of them."""
    width, height = len(panels) * (WIDE + EDGE) + EDGE, HIGH + 3 * EDGE
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
            ' font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    labels: list[str] = []
    for number, (name, curves) in enumerate(panels.items()):
        left = EDGE + number * (WIDE + EDGE)
        parts += _frame(name, left)
        for place, (label, curve) in enumerate(curves.items()):
            if label not in labels:
                labels.append(label)
            parts.append(_line(curve, left, COLOURS[place % len(COLOURS)]))
    for place, label in enumerate(labels):
        left = EDGE + place * 150
        parts.append(
            f'<text x="{left}" y="{height - 12}" fill="{COLOURS[place % len(COLOURS)]}">'
            f"{escape(label)}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])


def _frame(name: str, left: int) -> list[str]:
    return [
        f'<text x="{left}" y="{EDGE - 12}" fill="black">{escape(name)}</text>',
        f'<rect x="{left}" y="{EDGE}" width="{WIDE}" height="{HIGH}" fill="none" stroke="#ccc"/>',
        (
            f'<line x1="{left}" y1="{EDGE + HIGH}" x2="{left + WIDE}" y2="{EDGE}" stroke="#ccc"'
            ' stroke-dasharray="4"/>'
        ),
        (
            f'<text x="{left}" y="{EDGE + HIGH + 18}" fill="#555">strong calls 0 to 100%;'
            " gap recovered 0 to 100%</text>"
        ),
    ]


def _line(curve: Sequence[float], left: int, colour: str) -> str:
    last = len(curve) - 1
    shares = [step / POINTS for step in range(POINTS + 1)]
    points = " ".join(
        f"{left + share * WIDE:.1f},"
        f"{EDGE + HIGH - min(1.15, max(-0.1, curve[round(share * last)])) * HIGH:.1f}"
        for share in shares
    )
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'

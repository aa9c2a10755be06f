"""Charts as SVG text: pure functions of figures, no script, no font, nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 720
_LABEL_CHARS = 26


@dataclass(frozen=True, slots=True)
class Pair:
    """Two amounts of one label: as it was, and under the policy; ``shown`` are their texts."""

    label: str
    was: int
    policy: int
    shown: tuple[str, str]


def bars(pairs: Sequence[Pair], title: str) -> str:
    """Two horizontal bars a label, the longest as wide as the chart allows."""
    left, room, step = 190, WIDTH - 190 - 110, 50
    most = max((max(pair.was, pair.policy, 1) for pair in pairs), default=1)
    parts = [_open(step * len(pairs) + 8, title)]
    for number, pair in enumerate(pairs):
        top = step * number + 6
        name = pair.label if len(pair.label) <= _LABEL_CHARS else pair.label[:25] + "…"
        parts.append(
            f'<text x="{left - 10}" y="{top + 22}" text-anchor="end" class="name">'
            f"{escape(name)}</text>"
        )
        for row, (kind, value) in enumerate((("was", pair.was), ("pol", pair.policy))):
            width = max(1.0, room * max(value, 0) / most)
            y = top + row * 19
            parts.append(
                f'<rect x="{left}" y="{y}" width="{width:.1f}" height="16" rx="2" '
                f'class="{kind}"><title>{escape(pair.label)}: {escape(pair.shown[row])} USD'
                f"</title></rect>"
                f'<text x="{left + width + 6:.1f}" y="{y + 13}" class="fig">'
                f"{escape(pair.shown[row])}</text>"
            )
    return "".join([*parts, "</svg>"])


def columns(pairs: Sequence[Pair], title: str, top_text: str) -> str:
    """Two columns a label over time; labels only where they fit."""
    height, left, bottom = 210, 64, 24
    room = WIDTH - left - 8
    most = max((max(pair.was, pair.policy, 1) for pair in pairs), default=1)
    step = room / max(1, len(pairs))
    wide = max(0.8, min(26.0, step * 0.4))
    every = max(1, -(-len(pairs) * 76 // room))
    parts = [_open(height + bottom, title)]
    for share, text in ((1.0, top_text), (0.0, "0")):
        y = 12 + (height - 12) * (1 - share)
        parts.append(
            f'<line x1="{left}" x2="{WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
            f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end" class="fig">'
            f"{escape(text)}</text>"
        )
    for number, pair in enumerate(pairs):
        middle = left + step * (number + 0.5)
        for side, kind, value in ((-wide, "was", pair.was), (0.0, "pol", pair.policy)):
            tall = (height - 12) * max(value, 0) / most
            shown = pair.shown[0 if kind == "was" else 1]
            parts.append(
                f'<rect x="{middle + side:.1f}" y="{height - tall:.1f}" width="{wide:.1f}" '
                f'height="{tall:.1f}" class="{kind}"><title>{escape(pair.label)}: '
                f"{escape(shown)} USD</title></rect>"
            )
        if number % every == 0:
            parts.append(
                f'<text x="{middle:.1f}" y="{height + 16}" text-anchor="middle" class="fig">'
                f"{escape(pair.label)}</text>"
            )
    return "".join([*parts, "</svg>"])


def _open(height: int, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title>"
    )

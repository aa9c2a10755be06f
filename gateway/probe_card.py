"""What a probe found, as a card file for weir.yaml and as a curve."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from math import log2
from typing import Any

from ruamel.yaml import YAML

from billing.money import usd
from gateway.probe_run import Setup
from router.probe import Point, Reach

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 760, 400, 56, 40, 150, 46
_COLOURS = {"literal": "#1b6ca8", "semantic": "#c2571a", "multi": "#3d8b40"}


@dataclass(frozen=True, slots=True)
class Found:
    """A probe's result with what it took."""

    setup: Setup
    reaches: tuple[Reach, ...]
    on: date
    questions: int
    spent_nano: int | None


def card(found: Found) -> dict[str, Any]:
    """The card as plain data; ``effective`` is what routing and fitting read."""
    setup = found.setup
    return {
        "model": setup.model,
        "source": "weir probe",
        "date": found.on,
        "confidence": "probed" if all(r.finished for r in found.reaches) else "unfinished",
        "effective": {reach.kind.value: _length(reach) for reach in found.reaches},
        "how": {
            "rule": (
                f"longest prompt whose accuracy keeps {setup.over.keep:.0%} of that at "
                f"{setup.over.shortest:,} tokens, by the lower bound of a one-sided 95% interval"
            ),
            "shortest": setup.over.shortest,
            "longest": setup.over.longest,
            "questions": found.questions,
            "seed": setup.seed,
            "cost_usd": None if found.spent_nano is None else usd(found.spent_nano),
        },
    }


def _length(reach: Reach) -> dict[str, Any]:
    first, middle, last = (None if d is None else round(d, 3) for d in reach.depths)
    return {
        "tokens": reach.tokens if reach.tokens or reach.finished else None,  # None: not known yet
        "at_least": reach.at_least,
        "finished": reach.finished,
        "right_at": {"start": first, "middle": middle, "end": last},
        "points": [
            {
                "tokens": p.tokens, "right": p.right, "asked": p.asked,
                "low": round(p.low, 3), "high": round(p.high, 3),
            }
            for p in reach.points
        ],
    }  # fmt: skip


def card_yaml(found: Found) -> str:
    """The card as YAML, with how to use it at its top."""
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.width = 100
    out = io.StringIO()
    yaml.dump(card(found), out)
    return (
        f"# Effective context of {found.setup.model}, measured by `weir probe`.\n"
        "# In weir.yaml, relative to it:  models: { NAME: { effective_context: THIS_FILE } }\n"
        + out.getvalue()
    )


def summary(card_data: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(kind, length, how often right at start, middle and end), for a person."""
    rows = []
    for kind, reach in card_data["effective"].items():
        known = f"{reach['tokens']:,}" if reach["tokens"] else "below the shortest length"
        tokens = "not known yet" if reach["tokens"] is None else known
        sign = "at least " if reach["at_least"] else ""
        depths = [reach["right_at"][place] for place in ("start", "middle", "end")]
        shown = " / ".join("-" if depth is None else f"{depth:.0%}" for depth in depths)
        unfinished = "" if reach["finished"] or not reach["tokens"] else " (unfinished)"
        rows.append((kind, sign + tokens + unfinished, shown))
    return rows


def curve_svg(found: Found) -> str:
    """Accuracy by prompt length (log scale), intervals as bars, the reach as a dashed line."""
    low = log2(found.setup.over.shortest)
    span = max(1e-9, log2(found.setup.over.longest) - low)
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(tokens: int) -> float:
        return _LEFT + wide * (log2(max(1, tokens)) - low) / span

    def y(share: float) -> float:
        return _TOP + high * (1 - share)

    title = f"Effective context of {escape(found.setup.model)}"
    head = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" font-family="sans-serif" '
        f'font-size="12" xmlns="http://www.w3.org/2000/svg"><title>{title}</title>'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>'
        f'<text x="{_LEFT}" y="22" font-size="15" fill="#222">{title}: right answers by prompt '
        "length, tokens</text>"
    )
    parts = [head]
    parts += [
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(share):.1f}" y2="{y(share):.1f}" '
        f'stroke="#ddd"/><text x="{_LEFT - 8}" y="{y(share) + 4:.1f}" text-anchor="end" '
        f'fill="#555">{share:.0%}</text>'
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    parts += [
        f'<text x="{x(tokens):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle" '
        f'fill="#555">{_short(tokens)}</text>'
        for tokens in found.setup.over.doublings()
    ]
    for reach in found.reaches:
        parts += _line(reach, [(p, x(p.tokens)) for p in reach.points], y)
        colour = _COLOURS[reach.kind.value]
        if reach.tokens and not reach.at_least:
            at = x(reach.tokens)
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{y(0):.1f}" '
                f'stroke="{colour}" stroke-dasharray="4 4"/>'
            )
    return "".join([*parts, *_legend(found), "</svg>\n"])


def _legend(found: Found) -> Iterator[str]:
    """Each kind with its length, and what bars and lines are."""
    left = _WIDTH - _RIGHT + 12
    for row, reach in enumerate(found.reaches):
        yield (
            f'<text x="{left}" y="{_TOP + 14 + 22 * row}" fill="{_COLOURS[reach.kind.value]}">'
            f"{reach.kind.value} {_told(reach, found.setup.over.shortest)}</text>"
        )
    below = _TOP + 22 + 22 * len(found.reaches)
    for row, words in enumerate(("dashed: effective length", "bars: 90% intervals")):
        yield (f'<text x="{left}" y="{below + 16 * row}" font-size="11" fill="#777">{words}</text>')


def _told(reach: Reach, shortest: int) -> str:
    """The length for the picture's legend."""
    if not reach.tokens:
        return f"below {_short(shortest)}" if reach.finished else "?"
    more = "" if reach.finished else " so far"
    return ("≥ " if reach.at_least else "") + f"{reach.tokens:,}{more}"


def _line(reach: Reach, placed: Sequence[tuple[Point, float]], y: Any) -> list[str]:
    colour = _COLOURS[reach.kind.value]
    path = " ".join(f"{at:.1f},{y(p.accuracy):.1f}" for p, at in placed)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for p, at in placed:
        told = f"{reach.kind.value}, {p.tokens:,} tokens: {p.right} of {p.asked} right"
        parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(p.low):.1f}" y2="{y(p.high):.1f}" '
            f'stroke="{colour}" stroke-opacity="0.35" stroke-width="3"/>'
            f'<circle cx="{at:.1f}" cy="{y(p.accuracy):.1f}" r="3.5" fill="{colour}">'
            f"<title>{escape(told)}</title></circle>"
        )
    return parts


def _short(tokens: int) -> str:
    return f"{tokens // 1024}K" if tokens % 1024 == 0 else f"{tokens:,}"

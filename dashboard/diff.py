"""A cut prompt as it can be read: what was kept, what was dropped, what was summarised. Pure.

Where the policy keeps bodies the text itself is shown, dropped parts struck through; long
parts that were kept are folded. Without a body there are places, sizes and hashes, which are
shown as a strip of each message in proportion.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from billing.originals import whole

Cut = Mapping[str, Any]
_FOLD, _EDGE = 700, 240
_MOST_CUT = 900
_SUMMARISED = "compress"
KINDS = {"kept": "kept", "cut": "dropped", "short": "summarised"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one text: ``kept``, ``cut`` (dropped) or ``short`` (summarised)."""

    kind: str
    text: str
    said: str = ""


@dataclass(frozen=True, slots=True)
class Strip:
    """One text that was cut, by its place; ``pieces`` in order, or None where no body is kept."""

    path: tuple[str | int, ...]
    cuts: tuple[Cut, ...]
    pieces: tuple[Piece, ...] | None

    @property
    def title(self) -> str:
        """Where it stands: ``messages 1``."""
        named = [str(step) for step in self.path if step not in ("content", "text")]
        return " ".join(named) or "prompt"


def strips(cuts: Sequence[Cut], body: Any | None) -> list[Strip]:
    """Every text that was cut, in the order of the request.

    Args:
        body: the request as it came, or None where it is not kept.
    """
    found: dict[tuple[str | int, ...], list[Cut]] = {}
    for cut in cuts:
        found.setdefault(tuple(cut.get("path") or ("message", cut.get("message", 0))), []).append(
            cut
        )
    made = []
    for path, own in found.items():
        ordered = tuple(sorted(own, key=lambda cut: int(cut.get("start") or 0)))
        text = None if body is None else whole(body, path)
        pieces = None if text is None else tuple(_pieces(text, ordered))
        made.append(Strip(path, ordered, pieces))
    return made


def legend() -> str:
    """What each mark of a text stands for."""
    return (
        '<div class="weir-diff-legend"><span>kept</span> <del>dropped</del> '
        "<mark>summarised or rewritten</mark></div>"
    )


def said(cut: Cut) -> str:
    """One cut in words: size, way, relevance."""
    word = KINDS["short" if cut.get("way") == _SUMMARISED else "cut"]
    text = f"{word}: {int(cut.get('tokens') or 0):,} tokens, {cut.get('way', '')}"
    score = cut.get("score")
    return text if score is None else f"{text}, relevance {float(score):.2f}"


def as_html(strip: Strip) -> str:
    """The text with what was cut marked; ``<del>`` and ``<mark>``, so that it can be heard."""
    parts = [_piece(piece) for piece in strip.pieces or ()]
    return f'<div class="weir-diff" tabindex="0">{"".join(parts)}</div>'


def as_bar(strip: Strip) -> str:
    """Where the cuts lie, in proportion to what is known of the text, without any of it."""
    end = max((int(cut.get("end") or 0) for cut in strip.cuts), default=0) or 1
    marks = "".join(
        f'<i class="weir-{_kind(cut)}" style="left:{_share(cut.get("start"), end)};width:'
        f'max(2px,{_share(int(cut.get("end") or 0) - int(cut.get("start") or 0), end)})" '
        f'title="{html.escape(said(cut))}"></i>'
        for cut in strip.cuts
    )
    spoken = html.escape("; ".join(said(cut) for cut in strip.cuts[:40]))
    return f'<div class="weir-strip" role="img" aria-label="{spoken}">{marks}</div>'


def _pieces(text: str, cuts: Sequence[Cut]) -> Iterator[Piece]:
    at = 0
    for cut in cuts:
        start, end = int(cut.get("start") or 0), int(cut.get("end") or 0)
        if start > at:
            yield Piece("kept", text[at:start])
        yield Piece(_kind(cut), text[max(start, at) : end], said(cut))
        at = max(at, end)
    if at < len(text):
        yield Piece("kept", text[at:])


def _piece(piece: Piece) -> str:
    if piece.kind == "kept":
        return f"<span>{_folded(piece.text, _FOLD)}</span>"
    tag = "mark" if piece.kind == "short" else "del"
    told = html.escape(piece.said)
    return f'<{tag} title="{told}">{_folded(piece.text, _MOST_CUT)}</{tag}>'


def _folded(text: str, most: int) -> str:
    if len(text) <= most:
        return html.escape(text)
    left = len(text) - 2 * _EDGE
    fold = f'<b class="weir-fold">\u2026 {left:,} characters more \u2026</b>'
    return f"{html.escape(text[:_EDGE])}{fold}{html.escape(text[-_EDGE:])}"


def _kind(cut: Cut) -> str:
    return "short" if cut.get("way") == _SUMMARISED else "cut"


def _share(part: Any, whole_: int) -> str:
    return f"{int(part or 0) * 100 / whole_:.3f}%"

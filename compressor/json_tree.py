"""JSON text as pieces that can be left out while it stays valid JSON.

Positions come from the standard decoder itself, so what it accepts is what is cut.
A run of left-out items becomes one string item, of members one member whose key says so;
both are data to the reader, and the text around them is kept byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
_OPENING = re.compile(r"^[ \t]*[{\[]", re.MULTILINE)
TRIED = 3
MOST = 0.6
MAX_DEPTH = 40
SHOWN_KEYS = 6


@dataclass(frozen=True, slots=True)
class Node:
    """One item or member: its text is ``start`` to ``end``, key included.

    ``children`` is () for a piece that is kept or left out as one. ``named`` is True for
    the member of an object; ``title`` are the keys above it.
    """

    start: int
    end: int
    title: str
    named: bool
    children: tuple[Node, ...] = field(default=())


def parse(text: str, piece_chars: int) -> Node | None:
    """The tree of ``text``, opened down to pieces of at most about ``piece_chars``.

    None when the text is not one JSON array or object.
    """
    start = _skip(text, 0)
    if text[start : start + 1] not in ("{", "["):
        return None
    try:
        _, end = _DECODER.raw_decode(text, start)
        if text[end:].strip():
            return None
        return _open(text, Node(start, end, "", named=False), start, piece_chars)
    except (ValueError, RecursionError):
        return None


def embedded(text: str) -> tuple[int, int] | None:
    """Where JSON stands that makes up most of a text which is not JSON itself, or None.

    Only places at the start of a line are tried, the first few of them.
    """
    for found in islice(_OPENING.finditer(text), TRIED):
        start = found.end() - 1
        if len(text) - start < MOST * len(text):
            return None
        try:
            _, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if end - start >= MOST * len(text):
            outside = text[:start].strip() or text[end:].strip()
            return (start, end) if outside else None
    return None


def leaves(node: Node) -> Iterator[Node]:
    """The pieces of a tree, in order."""
    if not node.children:
        yield node
    for child in node.children:
        yield from leaves(child)


def _open(text: str, node: Node, value: int, piece_chars: int, depth: int = 0) -> Node:
    """``node`` with children where its value at ``value`` is a large container."""
    if node.end - value <= piece_chars or depth > MAX_DEPTH or text[value] not in "{[":
        return node
    members = (
        _members(text, value, node.title) if text[value] == "{" else _items(text, value, node.title)
    )
    children = tuple(_open(text, child, at, piece_chars, depth + 1) for child, at in members)
    return Node(node.start, node.end, node.title, node.named, children)


def _items(text: str, start: int, title: str) -> Iterator[tuple[Node, int]]:
    at = _skip(text, start + 1)
    while text[at] != "]":
        _, end = _DECODER.raw_decode(text, at)
        yield Node(at, end, title, named=False), at
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _members(text: str, start: int, title: str) -> Iterator[tuple[Node, int]]:
    at = _skip(text, start + 1)
    while text[at] != "}":
        key, after = _DECODER.raw_decode(text, at)
        value = _skip(text, _skip(text, after) + 1)
        _, end = _DECODER.raw_decode(text, value)
        name = f"{title} / {key}" if title else key
        yield Node(at, end, name[-160:], named=True), value
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


@dataclass(frozen=True, slots=True)
class Gap:
    """Characters ``start`` to ``end`` replaced by ``mark``."""

    start: int
    end: int
    mark: str


def gaps(text: str, root: Node, kept: frozenset[int]) -> list[Gap]:
    """What to replace so that only the leaves numbered in ``kept`` stay, in order.

    A few members left out beside kept ones keep their keys, so a record still shows what
    it has; many become one mark.
    """
    out: list[Gap] = []
    _walk(text, root, 0, kept, out)
    return out


def _walk(text: str, node: Node, first: int, kept: frozenset[int], out: list[Gap]) -> None:
    """Gaps below ``node``, whose leaves are numbered from ``first``."""
    run: list[Node] = []
    number = first
    for child in node.children:
        size = _leaf_count(child)
        if any(leaf in kept for leaf in range(number, number + size)):
            _close(text, run, out)
            if child.children:
                _walk(text, child, number, kept, out)
        else:
            run.append(child)
        number += size
    _close(text, run, out)


def _close(text: str, run: list[Node], out: list[Gap]) -> None:
    """One gap for the members or items of ``run``, which is emptied."""
    if not run:
        return
    many = len(run)
    if not run[0].named:
        mark = f'"[... {many} {"items" if many > 1 else "item"} omitted ...]"'
    elif many <= SHOWN_KEYS:
        mark = ", ".join(_emptied(text, node) for node in run)
    else:
        mark = f'"... {many} keys omitted ({run[0].start})": null'
    out.append(Gap(run[0].start, run[-1].end, mark))
    run.clear()


def _emptied(text: str, node: Node) -> str:
    """The member's key with its value left out, or the member itself where that is shorter."""
    _, end = _DECODER.raw_decode(text, node.start)
    short = f'{text[node.start : end]}: "[... omitted ...]"'
    return short if len(short) < node.end - node.start else text[node.start : node.end]


def _leaf_count(node: Node) -> int:
    return sum(map(_leaf_count, node.children)) if node.children else 1

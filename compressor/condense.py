"""Smaller JSON that is still JSON: long lists and long strings are cut, marked, nothing else.

The rule: keys, numbers, booleans, nulls and every string short enough to be an id stay
as they were sent, digit for digit; so a condensed record never says something new.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import orjson

ID_CHARS = 80  # a string up to this length is never cut
LADDER = (
    # items kept of a list, characters kept of a string: mildest first
    (64, 2000), (32, 1000), (16, 500), (12, 300), (8, 200), (5, 140), (3, 100), (2, 80), (1, 80),
)  # fmt: skip
MARK = "…"


def parse_json(text: str) -> Any | None:
    """The value of ``text`` if it is one JSON object or list, numbers kept as written.

    None for anything else, also where a key stands twice (one of them would be lost).
    """
    stripped = text.strip()
    if stripped[:1] + stripped[-1:] not in ("{}", "[]"):
        return None
    try:
        return json.loads(
            stripped,
            parse_int=_as_written,
            parse_float=_as_written,
            parse_constant=_refuse,
            object_pairs_hook=_unrepeated,
        )
    except (ValueError, RecursionError):
        return None


def is_json(text: str) -> bool:
    """Whether ``text`` is one JSON object or list, however loosely: then it must stay one."""
    stripped = text.strip()
    if stripped[:1] + stripped[-1:] not in ("{}", "[]"):
        return False
    try:
        json.loads(stripped)
    except (ValueError, RecursionError):
        return False
    return True


def condense_json(value: Any, limit: int, count: Callable[[str], int]) -> str | None:
    """The mildest cut of ``value`` of at most ``limit`` tokens, else the hardest one.

    Args:
        value: from ``parse_json``.
        count: tokens of a text.
    Returns:
        Compact JSON; None where it cannot be written (lone surrogates, too deep).
    """
    smallest: str | None = None
    for items, chars in LADDER:
        try:
            smallest = orjson.dumps(_cut(value, items, chars)).decode()
        except (orjson.JSONEncodeError, RecursionError):
            return None
        if count(smallest) <= limit:
            return smallest
    return smallest


def _cut(value: Any, items: int, chars: int) -> Any:
    if isinstance(value, dict):
        return {key: _cut(inner, items, chars) for key, inner in value.items()}
    if isinstance(value, list):
        kept = [_cut(inner, items, chars) for inner in value[:items]]
        return kept if len(value) <= items else [*kept, f"{MARK} {len(value) - items} more"]
    if isinstance(value, str) and len(value) > max(chars, ID_CHARS):
        head = value[: chars * 2 // 3].rsplit(None, 1)[0]
        tail = value[len(value) - chars // 3 :].split(None, 1)[-1]
        return f"{head} {MARK} {tail}"
    return value


def _as_written(number: str) -> orjson.Fragment:
    return orjson.Fragment(number)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _unrepeated(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    listed = list(pairs)
    value = dict(listed)
    if len(value) != len(listed):
        raise ValueError("a key stands twice")
    return value

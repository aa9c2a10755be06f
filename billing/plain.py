"""Values as JSON and a database can hold them."""

from __future__ import annotations

from collections.abc import Mapping

MOST = (1 << 63) - 1
"""The largest integer that a database column holds."""


def plain(value: object) -> object:
    """What orjson does not know by itself: read-only mappings, sets; else as text."""
    if isinstance(value, Mapping):
        return dict(value.items())
    if isinstance(value, frozenset | set):
        return sorted(value, key=str)
    return str(value)


def scrub(value: object) -> object:
    """The same value with nothing in it that JSON or a database cannot hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {str(scrub(str(key))): scrub(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [scrub(held) for held in value]
    if isinstance(value, int) and abs(value) > MOST:
        return str(value)
    return value if isinstance(value, int | float | None) else scrub(str(value))

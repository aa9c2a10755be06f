"""Data files that this package ships."""

from __future__ import annotations

from importlib import resources


def bundled_text(name: str) -> bytes:
    """A file of ``billing/data``, as bytes."""
    return resources.files("billing").joinpath("data", name).read_bytes()

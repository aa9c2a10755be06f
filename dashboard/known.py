"""What the gateway said of models and prices when it started the dashboard (WEIR_FACTS)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

KINDS = ("literal", "semantic", "multi")


@dataclass(frozen=True, slots=True)
class Card:
    """One declared model. Lengths in tokens, None where nothing is known; ``rates`` in USD
    per million tokens (or per call), as exact decimal text, empty without a price.
    """

    model: str
    tier: str
    upstream: str
    served_as: str
    window: int | None
    lengths: Mapping[str, int | None]
    measured: Mapping[str, Mapping[str, str | None]]
    rates: Mapping[str, str]
    free: bool
    curves: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """By kind of reading, points of a probe: tokens, right, asked, low, high."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about prices to look at (``look``), or only to know."""

    kind: str
    subject: str
    text: str
    look: bool


@dataclass(frozen=True, slots=True)
class Known:
    """All that was said, and the hashes of what it was said from."""

    made: str
    cards: tuple[Card, ...]
    findings: tuple[Finding, ...]
    hashes: Mapping[str, str]


def known() -> Known | None:
    """What was said, or None where the dashboard was started without it."""
    text = os.environ.get("WEIR_FACTS")
    return parse(text) if text else None


def parse(text: str) -> Known:
    """The facts from their JSON. Raises ValueError, KeyError where they are not whole."""
    said = orjson.loads(text)
    cards = tuple(_card(one) for one in said["models"])
    findings = tuple(Finding(**one) for one in said["findings"])
    return Known(said["made"], cards, findings, said["hashes"])


def _card(one: Mapping[str, Any]) -> Card:
    same = {name: one[name] for name in Card.__slots__ if name in one}
    return Card(**same, lengths={kind: one[kind] for kind in KINDS})

"""An operator's own effective lengths: typed in, or as `weir probe` wrote them in a card file."""

from __future__ import annotations

import datetime as dt
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

LENGTHS = ("literal", "semantic", "multi")
PROBE = "weir probe"  # the source of a card that was measured


class EffectiveLengths(BaseModel):
    """Tokens up to which a model reads well, by kind of reading; None: the catalog's stands.

    0 means that it does not even read 1,024 tokens well.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    literal: int | None = Field(default=None, ge=0)
    semantic: int | None = Field(default=None, ge=0)
    multi: int | None = Field(default=None, ge=0)
    source: str = "the operator"
    date: dt.date | None = None

    @model_validator(mode="after")
    def _says_something(self) -> EffectiveLengths:
        if all(getattr(self, name) is None for name in LENGTHS):
            raise ValueError("name at least one of literal, semantic, multi")
        return self

    @property
    def longest(self) -> int:
        """The longest length named."""
        return max(getattr(self, name) or 0 for name in LENGTHS)


def from_card(card: Any) -> EffectiveLengths:
    """The lengths in a card file's mapping, written by a probe or by hand.

    Raises:
        ValueError: no mapping, an unknown kind, a length that is none.
    """
    if not isinstance(card, dict) or not isinstance(card.get("effective"), dict):
        raise ValueError("a card has a mapping `effective:` with literal, semantic or multi")
    lengths: dict[str, object] = {}
    for name, found in card["effective"].items():
        if name not in LENGTHS:
            raise ValueError(f"unknown kind {name!r}; known: {', '.join(LENGTHS)}")
        lengths[name] = found.get("tokens") if isinstance(found, dict) else found
    source = str(card.get("source", "a card file"))
    return EffectiveLengths.model_validate({**lengths, "source": source, "date": card.get("date")})

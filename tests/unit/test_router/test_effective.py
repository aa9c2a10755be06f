"""An operator's lengths: by hand or out of a card file."""

from __future__ import annotations

import pytest

from router.effective import EffectiveLengths, from_card


def test_a_card_written_by_hand_needs_only_numbers() -> None:
    """Lengths may be bare; what a probe adds is read over."""
    by_hand = from_card({"effective": {"literal": 9_000, "semantic": {"tokens": 2_000, "x": 1}}})
    assert (by_hand.literal, by_hand.semantic, by_hand.multi) == (9_000, 2_000, None)
    assert (by_hand.longest, by_hand.source) == (9_000, "a card file")


@pytest.mark.parametrize(
    "card",
    [None, {}, {"effective": {}}, {"effective": {"literal": -1}}, {"effective": {"x": 1}}],
    ids=["nothing", "empty", "no-length", "negative", "unknown"],
)
def test_a_card_that_says_nothing_is_refused(card: object) -> None:
    """An empty card would silently mean the catalog's figures."""
    with pytest.raises(ValueError, match=r"literal|effective"):
        from_card(card)


def test_at_least_one_length_is_named() -> None:
    """An empty mapping is a mistake."""
    with pytest.raises(ValueError, match="name at least one"):
        EffectiveLengths()

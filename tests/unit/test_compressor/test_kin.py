"""Near words from the packaged table."""

from __future__ import annotations

from compressor.kin import packaged_vectors


def test_related_words_are_near() -> None:
    """The table knows that insulin has to do with diabetes, and timber has not."""
    (near,) = packaged_vectors().akin(["diabetes"])
    assert near["insulin"] > 0.2
    assert "timber" not in near


def test_a_word_is_nearest_to_itself() -> None:
    """A word of the table is its own nearest, at nearness 1."""
    (near,) = packaged_vectors().akin(["violin"])
    assert max(near, key=lambda word: near[word]) == "violin"
    assert near["violin"] > 0.99


def test_an_unknown_word_is_put_together() -> None:
    """A word that the table lacks gets a place from its pieces; nonsense marks get none."""
    pieces, marks, empty = packaged_vectors().akin(["beekeepers", "#!", ""])
    assert pieces
    assert marks == {}
    assert empty == {}

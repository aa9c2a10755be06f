"""Words of chunks as arrays."""

from __future__ import annotations

from compressor.index import BLOCK_WORDS, Index


def test_every_word_knows_its_chunk_and_spelling() -> None:
    """Words stand in order, each with the number of its spelling and of its chunk."""
    index = Index(["Alpha beta", "beta", ""], ["", "", ""])
    assert list(index.vocabulary) == ["Alpha", "beta"]
    assert index.words.tolist() == [0, 1, 1]
    assert index.owner.tolist() == [0, 0, 1]
    assert index.lengths.tolist() == [2, 1, 0]


def test_a_title_is_kept_once() -> None:
    """Chunks under one title share it, and its words count as title words."""
    index = Index(["one", "two", "three"], ["a b", "a b", "c"])
    assert index.title_count == 2
    assert index.title_of.tolist() == [0, 0, 1]
    assert index.head_owner.tolist() == [0, 0, 1]


def test_spellings_that_differ_in_case_are_counted_together() -> None:
    """The count of a word ignores capitals; titles do not add to it."""
    index = Index(["Sea sea SEA", "land"], ["sea", "sea"])
    assert index.times[index.lowered["sea"]] == 3
    assert index.times[index.lowered["land"]] == 1


def test_blocks_never_cross_a_chunk() -> None:
    """Each chunk is divided by itself; an empty one has no block."""
    index = Index(["w " * (BLOCK_WORDS + 1), "", "w"], [""] * 3)
    starts, owner = index.blocks()
    assert starts.tolist() == [0, BLOCK_WORDS, BLOCK_WORDS + 1]
    assert owner.tolist() == [0, 0, 2]

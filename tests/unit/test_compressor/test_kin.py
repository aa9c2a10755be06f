"""Near words from the packaged table."""

from __future__ import annotations

import numpy as np

from compressor.index import Index
from compressor.kin import kin_scores, packaged_vectors

CHUNKS = [
    "The harbour master keeps the tide tables.",
    "She kept a bottle of insulin in the fridge.",
    "Nothing much happened on the long afternoon.",
]


def test_related_words_are_near() -> None:
    """The table knows that insulin has to do with diabetes, and timber has not."""
    near = packaged_vectors().akin("diabetes")
    assert near["insulin"] > 0.4
    assert near.get("timber", 0.0) < 0.2


def test_a_word_is_nearest_to_itself() -> None:
    """A word of the table is its own nearest, at nearness 1."""
    near = packaged_vectors().akin("violin")
    assert max(near, key=lambda word: near[word]) == "violin"
    assert near["violin"] > 0.99


def test_an_unknown_word_has_no_kin() -> None:
    """A word that the table lacks has no near words, and no row."""
    assert packaged_vectors().akin("zzqxw") == {}
    assert packaged_vectors().rows(["zzqxw", "the"]).tolist()[0] == -1


def test_a_chunk_is_found_by_meaning_alone() -> None:
    """ "Diabetes" finds "insulin" though no chunk has a word of the question."""
    index = Index(CHUNKS, [""] * 3)
    scores, most = kin_scores(index, "Who suffers from diabetes?", packaged_vectors())
    assert int(np.argmax(scores)) == 1
    assert 0 < scores.max() <= most


def test_words_must_stand_together() -> None:
    """Two near words in one place are worth more than the same two far apart."""
    filler = "and so it went on and on through the whole of that long grey day " * 4
    chunks = ["the violin and the conservatory " + filler, "the violin " + filler + "conservatory"]
    scores, _ = kin_scores(Index(chunks, ["", ""]), "Who studies music?", packaged_vectors())
    apart, _ = kin_scores(
        Index(chunks, ["", ""]), "Which violin conservatory was it?", packaged_vectors()
    )
    assert apart[0] > apart[1]
    assert scores.shape == (2,)


def test_nothing_asked_scores_nothing() -> None:
    """Without chunks, or with stop words alone, every score is 0."""
    assert kin_scores(Index([], []), "diabetes", packaged_vectors())[0].shape == (0,)
    scores, most = kin_scores(Index(CHUNKS, [""] * 3), "what was it", packaged_vectors())
    assert not scores.any()
    assert most == 0.0

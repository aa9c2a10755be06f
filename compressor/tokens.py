"""Counting tokens, offline and with a model family's own encoding.

A counter is loaded once and shared. Text of special tokens ("<|endoftext|>") counts as the
ordinary text that a provider reads in a message; a lone surrogate, which no encoding
knows, counts as U+FFFD. Nothing is ever downloaded: the BPE files are those packaged
with a dependency, and are used only if their SHA-256 is the one tiktoken publishes.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import threading
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import Any, Protocol, TypeVar

from compressor.errors import UnknownEncoding

FILES = {
    # encoding -> (file name: SHA-1 of the publisher's URL, SHA-256 of the contents)
    "o200k_base": (
        "fb374d419588a4632f3f557e76b4b70aebbca790",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "o200k_harmony": (
        "fb374d419588a4632f3f557e76b4b70aebbca790",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "cl100k_base": (
        "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
    "p50k_base": (
        "ec7223a39ce59f226a68acc30dc1af2788490e15",
        "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
    ),
}
FAST_ENCODINGS = frozenset({"o200k_base", "o200k_harmony", "cl100k_base"})
INLINE_CHARS = 64  # a text this short is its own key; a longer one is known by its hash
ALONE_CHARS = 32_768  # a shorter text is counted by itself: a batch costs 30 us whatever is in it
SLICE_CHARS = 100_000  # beyond it a pathological run may exhaust tiktoken's regex stack
CACHE_ENTRIES = 65_536

T = TypeVar("T")


class TokenCounter(Protocol):
    """Counts tokens; safe to share between threads.

    ``name`` is the encoding ("o200k_base", "o200k_base*1.20"); ``exact`` is True when the
    counts are those of the model's own tokenizer.
    """

    name: str
    exact: bool

    def count(self, text: str) -> int:
        """Tokens of ``text``, >= 0."""

    def count_many(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, in order."""


_Key = bytes | str | tuple[bytes, str]
"""What a count or another result is kept under: a short text itself, or its hash."""


def sound(text: str) -> str:
    """``text`` with each lone surrogate replaced by U+FFFD; the same object if it has none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class ToktokCounter:
    """Counts through toktok, whose counts equal tiktoken's (a test holds it to that)."""

    exact = True

    def __init__(self, encoding: str) -> None:
        self.name = encoding
        toktok = importlib.import_module("toktok")
        self._batch: Callable[..., list[int]] = toktok.batch_count
        self._batch(["warm"], encoding, threads=1)  # loads the tables now, not in a request
        # One text at a time, without the cost of setting up a batch, where this release has it.
        load = getattr(toktok, "_encoding", None)
        self._one: Callable[[str], int] | None = getattr(load and load(encoding), "count", None)

    def count(self, text: str) -> int:
        """Tokens of ``text``."""
        return self.count_many((text,))[0]

    def count_many(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, in order; many or large ones in one call without the lock."""
        if not texts:
            return []
        one = self._one
        try:
            if one is not None and sum(map(len, texts)) < ALONE_CHARS:
                return [one(text) for text in texts]
            return list(self._batch(texts, self.name, threads=1))
        except UnicodeEncodeError:
            return list(self._batch([sound(text) for text in texts], self.name, threads=1))


class TiktokenCounter:
    """Counts through tiktoken, from the packaged BPE files."""

    exact = True

    def __init__(self, encoding: str) -> None:
        self.name = encoding
        self._encoding = _tiktoken_encoding(encoding)

    def count(self, text: str) -> int:
        """Tokens of ``text``.

        A text on which the regex of the encoding gives up (a run of some 500,000 blanks)
        is counted in slices of 100,000 characters, at most one token too many a slice.
        """
        text = sound(text)
        try:
            return self._length(text)
        except ValueError:
            slices = range(0, len(text), SLICE_CHARS)
            return sum(self._length(text[at : at + SLICE_CHARS]) for at in slices)

    def count_many(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, in order."""
        return [self.count(text) for text in texts]

    def _length(self, text: str) -> int:
        # not encode_ordinary: where its regex gives up it panics instead of raising
        return len(self._encoding.encode(text, disallowed_special=()))


class ScaledCounter:
    """Estimates a family without a public tokenizer: ``ceil(base * ratio)``, never exact."""

    exact = False

    def __init__(self, base: TokenCounter, ratio: float) -> None:
        self.name = f"{base.name}*{ratio:.2f}"
        self._base, self._ratio = base, ratio

    def count(self, text: str) -> int:
        """Estimated tokens of ``text``."""
        return ceil(self._base.count(text) * self._ratio)

    def count_many(self, texts: Sequence[str]) -> list[int]:
        """Estimated tokens of each text, in order."""
        return [ceil(count * self._ratio) for count in self._base.count_many(texts)]


class CachedCounter:
    """A counter that remembers counts by content hash: old turns cost a hash, not a count.

    Holds at most ``entries`` counts, in two generations: when the young one is full it
    becomes the old one, and what the old one still held is forgotten. Safe between threads.
    """

    def __init__(self, base: TokenCounter, entries: int = CACHE_ENTRIES) -> None:
        self.name, self.exact = base.name, base.exact
        self._base = base
        self._half = max(1, entries // 2)
        self._young: dict[_Key, Any] = {}
        self._old: dict[_Key, Any] = {}
        self._lock = threading.Lock()
        self._last: tuple[str, bytes] = ("", b"")

    def __len__(self) -> int:
        """How many results are held."""
        return len(self._young) + len(self._old)

    def count(self, text: str) -> int:
        """Tokens of ``text``."""
        return self.count_many((text,))[0]

    def count_many(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, in order; the unknown ones are counted in one call."""
        counts: list[int] = [0] * len(texts)
        missing: list[tuple[int, _Key]] = []
        for at, text in enumerate(texts):
            key: _Key = self._name(text) if len(text) > INLINE_CHARS else text
            known = self._get(key)
            if known is None:
                missing.append((at, key))
            else:
                counts[at] = known
        if missing:
            fresh = self._base.count_many([texts[at] for at, _ in missing])
            for (at, key), count in zip(missing, fresh, strict=True):
                counts[at] = count
                self._put(key, count)
        return counts

    def remember(self, text: str, kind: str, compute: Callable[[str], T]) -> T:
        """``compute(text)``, kept by the hash of ``kind`` and ``text`` beside the counts.

        For what else is derived from a text and must not be derived again each turn.
        ``compute`` must be a pure function whose result is never None.
        """
        key = (self._name(text), kind)
        known: T | None = self._get(key)
        if known is None:
            known = compute(text)
            self._put(key, known)
        return known

    def _name(self, text: str) -> bytes:
        """128 bits that stand for a text; the newest one is not hashed again.

        A request counts its last turn, splits it and looks it up: one hash of half a megabyte
        (0.4 ms) instead of three. The very object is compared, never its content.
        """
        last, name = self._last
        if last is not text:
            name = _key(text)
            self._last = (text, name)
        return name

    def _get(self, key: _Key) -> Any:
        known = self._young.get(key)
        if known is None:
            known = self._old.get(key)
            if known is not None:
                self._put(key, known)
        return known

    def _put(self, key: _Key, value: object) -> None:
        with self._lock:
            if len(self._young) >= self._half:
                self._old, self._young = self._young, {}
            self._young[key] = value


def load_counter(encoding: str, *, ratio: float = 1.0) -> TokenCounter:
    """A cached counter for ``encoding``, loaded from packaged files only.

    Args:
        encoding: o200k_base, o200k_harmony, cl100k_base or p50k_base.
        ratio: tokens of the real family a token of ``encoding``; 1.0 when it is its own.
    Raises:
        UnknownEncoding: no such encoding, or its file is missing or altered.
    """
    if encoding not in FILES:
        known = ", ".join(sorted(FILES))
        raise UnknownEncoding(f"unknown encoding {encoding!r}; known: {known}")
    if not ratio > 0:
        raise UnknownEncoding(f"ratio must be above 0, not {ratio!r}")
    base: TokenCounter
    if encoding in FAST_ENCODINGS and importlib.util.find_spec("toktok") is not None:
        base = ToktokCounter(encoding)
    else:
        base = TiktokenCounter(encoding)
    return CachedCounter(base if ratio == 1.0 else ScaledCounter(base, ratio))


def _key(text: str) -> bytes:
    """128 bits that stand for ``text`` (lone surrogates included)."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _packaged_folder() -> Path:
    """Where litellm keeps its BPE files; litellm itself is not imported."""
    spec = importlib.util.find_spec("litellm")
    if spec is None or spec.origin is None:
        raise UnknownEncoding("no BPE files here: they come with the litellm package")
    return Path(spec.origin).parent / "litellm_core_utils" / "tokenizers"


def _tiktoken_encoding(encoding: str) -> Any:
    """tiktoken's Encoding, built from the packaged file once its hash has been checked."""
    name, expected = FILES[encoding]
    folder = _packaged_folder()
    try:
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    except OSError as error:
        raise UnknownEncoding(f"the BPE file of {encoding} is missing: {error}") from error
    if digest != expected:
        raise UnknownEncoding(f"the BPE file of {encoding} is not the published one: {folder}")
    public = importlib.import_module("tiktoken_ext.openai_public")
    core = importlib.import_module("tiktoken")
    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)  # read during the next call only
    try:
        return core.Encoding(**getattr(public, encoding)())
    finally:
        if before is None:
            del os.environ["TIKTOKEN_CACHE_DIR"]
        else:
            os.environ["TIKTOKEN_CACHE_DIR"] = before

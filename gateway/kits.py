"""What a fit may use, as the configuration asks for it.

Nothing heavy is imported by asking for a kit. An embedder is loaded in the background
after the start; until it is there, ranking is lexical.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import cached_property
from pathlib import Path

from compressor.abstractive import Judge
from compressor.embedder import load_embedder
from compressor.embedder_remote import RemoteEmbedder, Server
from compressor.errors import CompressorError
from compressor.kin import packaged_vectors
from compressor.kit import Embedder, Kit, Summarizer
from compressor.memory import MemoryStore
from compressor.shelf import Shelves
from compressor.summarize import ExtractiveSummarizer
from compressor.tokens import load_counter
from gateway.own_calls import metered
from gateway.settings import Settings
from gateway.snapshot import Snapshot

log = logging.getLogger("weir")
# Device files that a GPU's driver makes: seen without importing torch.
_GPU_FILES = ("/dev/nvidia0", "/dev/kfd")


class Kits:
    """One a process: models are loaded once and shared, memories are apart for each team."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = MemoryStore(time.monotonic)
        self._shelves = Shelves()
        self._embedder: Embedder | None = None
        self._ranker: Embedder | None = remote_embedder(settings)

    def kit_for(self, snapshot: Snapshot, team: str, model: str) -> Kit:
        """The kit of one request; a summariser that costs money waits for a meter."""
        kit = Kit(
            counter=snapshot.gauge(model).counter,
            embedder=self._embedder,
            ranker=self._ranker,
            summarizer=self._summarizer,
            memory=self._store.for_team(team),
            model_inline=self._inline,
            shelves=self._shelves.for_team(team),
        )
        return metered(kit, None)

    async def warm(self) -> None:
        """Load what fits rank with; an embedder that cannot be had is said, and done without."""
        if self._settings.fit.allow:
            await asyncio.to_thread(packaged_vectors)  # else the first fit would wait for it
        name = self._settings.fit.embedder
        if not isinstance(name, str) or name == "none" or (name == "auto" and not _has_gpu()):
            return
        try:
            self._embedder = await asyncio.to_thread(_loaded, name)
        except CompressorError as error:
            log.warning("ranking stays lexical: %s", error)

    @cached_property
    def _inline(self) -> bool:
        """Whether a request may wait for the summariser: not for a model on a CPU."""
        section = self._settings.fit.summarizer
        if section.backend != "torch":
            return True
        return section.device not in {"auto", "cpu"} or (section.device == "auto" and _has_gpu())

    @cached_property
    def _summarizer(self) -> Summarizer:
        section = self._settings.fit.summarizer
        if section.backend == "torch":
            from compressor.summarizer_torch import TorchSettings, TorchSummarizer

            return TorchSummarizer(TorchSettings(section.model or "", section.device), _judge())
        if section.backend == "openai":
            from compressor.summarizer_openai import Endpoint, OpenAISummarizer

            upstream = self._settings.upstreams[section.upstream or ""]
            return OpenAISummarizer(
                Endpoint(upstream.base_url or "", section.model or "", upstream.api_key or ""),
                _judge(),
            )
        return ExtractiveSummarizer(self._embedder)


def _judge() -> Judge:
    """Whether a model's summary may be used, measured in real tokens; else an extract is."""
    counter = load_counter("o200k_base")
    return Judge(ExtractiveSummarizer(None, counter), counter)


def _has_gpu() -> bool:
    return any(Path(name).exists() for name in _GPU_FILES)


def remote_embedder(settings: Settings) -> RemoteEmbedder | None:
    """The server that embeds, where one is named; nothing is asked yet."""
    section = settings.fit.embedder
    if isinstance(section, str):
        return None
    upstream = settings.upstreams[section.upstream]
    return RemoteEmbedder(
        Server(
            upstream.base_url or "",
            section.backend,
            section.model or "",
            upstream.api_key or "",
            deadline_s=section.timeout_s,
        )
    )


def _loaded(name: str) -> Embedder:
    """An embedder that has embedded once, so that no request waits for its import."""
    embedder = load_embedder(None if name in {"auto", "packaged"} else name)
    embedder.embed(["ready"])
    return embedder

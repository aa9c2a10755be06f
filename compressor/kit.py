"""The outside things a fit may use, as protocols: the core itself does no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from compressor.record import record
from compressor.shelf import TeamShelves
from compressor.tokens import TokenCounter

Vectors = npt.NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into vectors, ``(n_texts, dim) float32, L2-normalised``."""

    name: str

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One vector a text, in order."""


class Summarizer(Protocol):
    """Makes short texts of long ones; never inside the event loop."""

    name: str

    def summarize(self, texts: Sequence[str], max_tokens: int, question: str) -> list[str]:
        """One summary a text, in order, each of at most ``max_tokens`` tokens.

        ``question`` may be "" (a memory that any later question may need).
        """


@record(frozen=True, slots=True)
class Ended:
    """How a summariser's call ended: its HTTP status (0: none came), and what it reported.

    ``usage`` is the report as it came, or None; ``billed``: the call may cost something.
    """

    status: int
    usage: Mapping[str, object] | None
    billed: bool
    provider_id: str | None = None


class Meter(Protocol):
    """Asked before a summariser spends money, and told what was spent; from any thread."""

    def before(self, prompt_tokens: int, output_tokens: int) -> str | None:
        """The name of a call that may be made now, of at most so many tokens; None: it may not."""

    def after(self, call: str, ended: Ended) -> None:
        """A call that ``before`` allowed has ended."""


class Memory(Protocol):
    """Summaries kept by content hash, apart for each team."""

    def get(self, key: str) -> str | None:
        """The text under ``key``, or None."""

    def put(self, key: str, text: str) -> None:
        """Remember ``text`` under ``key``."""


@record(frozen=True, slots=True)
class Kit:
    """What a fit works with; only the counter is always there.

    ``model_inline``: the summariser is fast enough (a GPU, a remote endpoint) to be asked
    inside a request; else its memories are made after a response, and extracts until then.
    ``session`` names the conversation, "" where nobody knows it: what a fit drops is kept for
    its later turns. ``ranker`` embeds for ranking alone, and may be away: a memory must not hang
    on it. ``shelves`` keep what has been read of conversations: time, nothing else.
    """

    counter: TokenCounter
    embedder: Embedder | None = None
    ranker: Embedder | None = None
    summarizer: Summarizer | None = None
    memory: Memory | None = None
    model_inline: bool = True
    session: str = ""
    shelves: TeamShelves | None = None

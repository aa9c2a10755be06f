"""The inside of a helper process: it is told a conversation and what to do with it.

It knows no settings and no keys, opens no file and no connection, and ends when the process
that started it does. It asks back for a team's memories, which stay where they are.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import signal
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from compressor.compress import precompute
from compressor.conversation import Conversation
from compressor.fit import fit
from compressor.kit import Kit
from compressor.measure import Measurement, measure
from compressor.media import MediaRule
from compressor.recipe import Edit, Fitted, Recipe
from compressor.scan import Finding, scan
from compressor.shelf import Shelves
from compressor.summarize import ExtractiveSummarizer
from compressor.tokens import TokenCounter, load_counter
from gateway.wire import body as bodies

NICENESS = 5  # who waits for a small request goes first
_HEAD = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Tools:
    """What of a kit goes with the work; the rest is asked for."""

    tokenizer: str
    ratio: float
    session: str
    remembers: bool
    team: str | None


def _most_kb() -> int:
    """The most memory of this process alone; rusage would count what started it, too."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def put(link: socket.socket, message: object) -> None:
    """Send one message."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    link.sendall(_HEAD.pack(len(data)))
    link.sendall(data)


def take(link: socket.socket) -> Any:
    """The next message; raises EOFError where the other side is gone."""
    size = _HEAD.unpack(_exactly(link, _HEAD.size))[0]
    return pickle.loads(_exactly(link, size))  # noqa: S301 - of our own child or parent


def _exactly(link: socket.socket, size: int) -> bytearray:
    found = bytearray(size)
    view, at = memoryview(found), 0
    while at < size:
        read = link.recv_into(view[at:])
        if not read:
            raise EOFError
        at += read
    return found


@lru_cache(maxsize=16)
def _counter(tokenizer: str, ratio: float) -> TokenCounter:
    return load_counter(tokenizer, ratio=ratio)


class _Asked:
    """A team's memory, asked for over the link."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def get(self, key: str) -> str | None:
        """The text under ``key``, or None."""
        put(self._link, ("get", key))
        found: str | None = take(self._link)
        return found

    def put(self, key: str, text: str) -> None:
        """Remember ``text`` under ``key``."""
        put(self._link, ("put", key, text))


class Child:
    """What can be asked of a helper; each method is one request."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._conversation = Conversation(())
        self._shelves = Shelves()

    def open(self, conversation: Conversation) -> None:
        """What follows is about this conversation."""
        self._conversation = conversation

    def measure(self, tokenizer: str, ratio: float, media: MediaRule) -> Measurement:
        """Its size."""
        return measure(self._conversation, _counter(tokenizer, ratio), media)

    def fit(self, measurement: Measurement, recipe: Recipe, tools: Tools) -> Fitted:
        """It made smaller."""
        return fit(self._conversation, measurement, recipe, self._kit(tools))

    def scan(self) -> tuple[Finding, ...]:
        """What is hidden in it."""
        return scan(self._conversation)

    def precompute(self, measurement: Measurement, recipe: Recipe, tools: Tools) -> None:
        """The memories that its next turn will need."""
        precompute(self._conversation, measurement, recipe, self._kit(tools))

    def edited(self, raw: bytes, edits: tuple[Edit, ...], values: Mapping[str, Any]) -> bytes:
        """A body with texts and values replaced."""
        return bodies.with_edits(raw, edits, values)

    def _kit(self, tools: Tools) -> Kit:
        memory = _Asked(self._link) if tools.remembers else None
        return Kit(
            counter=_counter(tools.tokenizer, tools.ratio),
            summarizer=ExtractiveSummarizer(None),
            memory=memory,
            session=tools.session,
            shelves=self._shelves.for_team(tools.team) if tools.team is not None else None,
        )


def main(descriptor: int) -> None:
    """Serve the parent until it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's business
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    with socket.socket(fileno=descriptor) as link, contextlib.suppress(OSError, EOFError):
        child = Child(link)
        while True:
            name, arguments = take(link)
            try:
                done = getattr(child, name)(*arguments)
            except (OSError, EOFError):
                raise
            except Exception as error:  # noqa: BLE001 - whatever it was, the parent goes on
                put(link, ("failed", f"{type(error).__name__}"))
            else:
                put(link, ("done", done, _most_kb()))

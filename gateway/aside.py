"""Big bodies are worked on aside, in processes of their own, so that nobody waits for them.

A thread that ranks a million tokens holds the interpreter for tens of milliseconds in single
calls, and the event loop, and so everybody else, waits. A helper process has an interpreter of
its own, and a lower priority. It gets the texts, does the pure work (count, fit, scan, write
the edited body) and asks back for what must stay here: the team's memories.

The rule: a helper may die at any moment. Then the prompt is counted here and goes whole; the
next request gets a new helper. A helper never outlives the process that started it.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from compressor.compress import precompute
from compressor.conversation import Conversation
from compressor.fit import fit
from compressor.kit import Kit
from compressor.measure import Measurement, measure
from compressor.recipe import Edit, Fitted, Recipe, Way
from compressor.scan import Finding, scan
from compressor.summarize import ExtractiveSummarizer
from gateway.aside_child import Tools, put, take
from gateway.snapshot import Gauge
from gateway.wire import body as bodies

log = logging.getLogger("weir")

ASIDE_BYTES = 128 * 1024  # beyond it a body's work leaves this process
PATIENCE_S = 120.0  # far more than any time limit of a fit: who is silent for longer hangs
MOST_RESIDENT_KB = 700 * 1024  # a helper that holds more than this after its work is replaced
LOST = "helper_lost"
_START = """
import sys
sys.path[:] = {path!r}
from gateway.aside_child import main
main({fd})
"""


class Craft(Protocol):
    """The heavy work on one conversation, wherever it is done."""

    def measure(self, conversation: Conversation, gauge: Gauge) -> Measurement:
        """See ``compressor.measure``."""

    def fit(
        self, conversation: Conversation, measurement: Measurement, recipe: Recipe, kit: Kit
    ) -> Fitted:
        """See ``compressor.fit``."""

    def scan(self, conversation: Conversation) -> tuple[Finding, ...]:
        """See ``compressor.scan``."""

    def edited(self, raw: bytes, edits: Sequence[Edit], values: Mapping[str, Any]) -> bytes:
        """See ``wire.body.with_edits``."""


class Here:
    """The work done by the thread that asks for it."""

    def measure(self, conversation: Conversation, gauge: Gauge) -> Measurement:
        """See ``compressor.measure``."""
        return measure(conversation, gauge.counter, gauge.media)

    def fit(
        self, conversation: Conversation, measurement: Measurement, recipe: Recipe, kit: Kit
    ) -> Fitted:
        """See ``compressor.fit``."""
        return fit(conversation, measurement, recipe, kit)

    def scan(self, conversation: Conversation) -> tuple[Finding, ...]:
        """See ``compressor.scan``."""
        return scan(conversation)

    def edited(self, raw: bytes, edits: Sequence[Edit], values: Mapping[str, Any]) -> bytes:
        """See ``wire.body.with_edits``."""
        return bodies.with_edits(raw, edits, values)


HERE = Here()


class Lost(Exception):
    """The helper died, hangs, or failed at what it was asked."""


class Helper:
    """One helper process; used by one thread at a time."""

    def __init__(self) -> None:
        self._link, theirs = socket.socketpair()
        self._link.settimeout(PATIENCE_S)
        with theirs:
            code = _START.format(path=sys.path, fd=theirs.fileno())
            self.process = subprocess.Popen(  # noqa: S603 - this very interpreter
                [sys.executable, "-c", code], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
        self.alive = True
        self.worn = False
        self.session = ""

    def ask(self, name: str, kit: Kit | None, *arguments: object) -> Any:
        """What the helper's ``name`` gives; meanwhile it may use the kit's memory.

        Raises:
            Lost: it gives nothing; ``alive`` says whether it can be asked again.
        """
        memory = kit.memory if kit is not None else None
        try:
            put(self._link, (name, arguments))
            while True:
                kind, *said = take(self._link)
                if kind == "done":
                    self.worn = said[1] > MOST_RESIDENT_KB
                    return said[0]
                if kind == "failed":
                    log.error("a helper failed at %s: %s", name, said[0])
                    raise Lost(name)
                if kind == "get":
                    put(self._link, memory.get(*said) if memory is not None else None)
                elif memory is not None:
                    memory.put(*said)
        except (OSError, EOFError, pickle.PickleError) as error:
            self.end()
            raise Lost(f"{name}: {type(error).__name__}") from None

    def end(self) -> None:
        """Stop it now; whatever it was doing is lost."""
        self.alive = False
        self._link.close()
        self.process.kill()
        self.process.wait()


class Helpers:
    """A few helper processes, started when first needed; safe between threads."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._idle: list[Helper] = []
        self._busy: set[Helper] = set()
        self._state = threading.Condition()
        self._closed = False

    @contextlib.contextmanager
    def craft(self, conversation: Conversation, gauge: Gauge, session: str = "") -> Iterator[There]:
        """The work on one conversation, by a helper that nobody else uses meanwhile.

        The one that knows the session goes first: what it remembers of it is still there.
        """
        helper = self._taken(session)
        try:
            yield There(helper, conversation, gauge)
        finally:
            self._back(helper)

    def close(self) -> None:
        """End all; a thread that still waits for one is told that it is lost."""
        with self._state:
            self._closed = True
            for helper in (*self._idle, *self._busy):
                helper.process.kill()
            for helper in self._idle:
                helper.end()
            self._idle.clear()
            self._state.notify_all()

    def _taken(self, session: str) -> Helper | None:
        """A free helper; None where none can be started or all has ended."""
        with self._state:
            self._state.wait_for(lambda: self._idle or len(self._busy) < self.most or self._closed)
            if self._closed:
                return None
            same = [helper for helper in self._idle if helper.session == session]
            try:
                if self._idle:
                    helper = (same or self._idle)[0]
                    self._idle.remove(helper)
                else:
                    helper = Helper()
            except OSError as error:
                log.warning("no helper process could be started: %s", error)
                return None
            helper.session = session
            self._busy.add(helper)
            return helper

    def _back(self, helper: Helper | None) -> None:
        if helper is None:
            return
        with self._state:
            self._busy.discard(helper)
            if helper.alive and not helper.worn and not self._closed:
                self._idle.append(helper)
            else:
                helper.end()
            self._state.notify()


@dataclass(slots=True)
class There:
    """The work on one conversation by a helper, or here where it cannot."""

    helper: Helper | None
    conversation: Conversation
    gauge: Gauge
    _opened: bool = field(default=False)

    def measure(self, conversation: Conversation, gauge: Gauge) -> Measurement:
        """See ``compressor.measure``."""
        try:
            wanted = (gauge.tokenizer, gauge.ratio, gauge.media)
            found: Measurement = self._ask(conversation, "measure", None, *wanted)
        except Lost:
            return HERE.measure(conversation, gauge)
        return found

    def fit(
        self, conversation: Conversation, measurement: Measurement, recipe: Recipe, kit: Kit
    ) -> Fitted:
        """See ``compressor.fit``; a helper lost meanwhile is a refusal."""
        tools = self._tools(kit)
        if tools is None:
            return HERE.fit(conversation, measurement, recipe, kit)
        try:
            found: Fitted = self._ask(conversation, "fit", kit, measurement, recipe, tools)
        except Lost:
            return Fitted(Way.WHOLE, (), (), measurement.prompt_tokens, refused=LOST)
        return found

    def scan(self, conversation: Conversation) -> tuple[Finding, ...]:
        """See ``compressor.scan``."""
        try:
            found: tuple[Finding, ...] = self._ask(conversation, "scan", None)
        except Lost:
            return HERE.scan(conversation)
        return found

    def edited(self, raw: bytes, edits: Sequence[Edit], values: Mapping[str, Any]) -> bytes:
        """See ``wire.body.with_edits``."""
        try:
            if self.helper is None or not self.helper.alive:
                raise Lost("edited")
            written: bytes = self.helper.ask("edited", None, raw, tuple(edits), dict(values))
        except Lost:
            return HERE.edited(raw, edits, values)
        return written

    def precompute(
        self, conversation: Conversation, measurement: Measurement, recipe: Recipe, kit: Kit
    ) -> None:
        """See ``compressor.precompute``; what a lost helper did not make is made later."""
        tools = self._tools(kit)
        if tools is None:
            precompute(conversation, measurement, recipe, kit)
            return
        with contextlib.suppress(Lost):
            self._ask(conversation, "precompute", kit, measurement, recipe, tools)

    def _tools(self, kit: Kit) -> Tools | None:
        """What a helper needs of a kit; None where the kit's models live in this process."""
        known = kit.summarizer is None or type(kit.summarizer) is ExtractiveSummarizer
        if kit.embedder or kit.ranker or not known or kit.counter is not self.gauge.counter:
            return None
        gauge, remembers = self.gauge, kit.memory is not None
        team = kit.shelves.team if kit.shelves is not None else None
        return Tools(gauge.tokenizer, gauge.ratio, kit.session, remembers, team)

    def _ask(self, conversation: Conversation, name: str, kit: Kit | None, *more: object) -> Any:
        """The answer about a conversation, which is sent once. Raises Lost."""
        helper = self.helper
        if helper is None or not helper.alive or conversation is not self.conversation:
            raise Lost(name)
        if not self._opened:
            helper.ask("open", None, conversation)
            self._opened = True
        return helper.ask(name, kit, *more)

"""Memories made after a response, before a next turn needs them.

One thread of low priority in a process; when too much waits, the oldest is left out, for a
memory not made ahead is only made later. Nothing here costs money: a summariser that bills
its calls is never asked ahead of a request that pays for them. A big conversation is worked on
by a helper process, as it was when it came.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from compressor.compress import precompute
from compressor.conversation import Conversation
from compressor.kit import Kit
from compressor.measure import Measurement
from compressor.recipe import Recipe, Way
from compressor.summarizer_openai import OpenAISummarizer
from gateway.aside import ASIDE_BYTES, Helpers
from gateway.errors import place
from gateway.exchange import Exchange, Parties
from gateway.snapshot import Gauge

log = logging.getLogger("weir")
MOST_WAITING = 64
NICENESS = 10


@dataclass(frozen=True, slots=True)
class _Job:
    conversation: Conversation
    measurement: Measurement
    recipe: Recipe
    kit: Kit
    gauge: Gauge
    big: bool


class Stopped(Exception):
    """The process ends; what is made is kept, the rest is not needed."""


class Ahead:
    """The thread and what waits for it, the newest turn of a conversation in place of older."""

    def __init__(self, helpers: Helpers | None = None) -> None:
        self._helpers = helpers
        self._waiting: OrderedDict[str, _Job] = OrderedDict()
        self._state = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._busy = False
        self.done = 0

    def after(self, ex: Exchange, kit_for: Callable[[], Kit], gauge: Gauge) -> None:
        """Remember what the conversation of a served request will need; never waits."""
        parties = Parties.of(ex)
        recipe = _recipe(ex)
        if recipe is None or ex.arm == "observe":
            return
        kit = kit_for()
        if isinstance(kit.summarizer, OpenAISummarizer):
            return
        request = parties.request
        big = len(request.raw) > ASIDE_BYTES
        job = _Job(request.conversation, parties.prepared.measurement, recipe, kit, gauge, big)
        with self._state:
            if self._stopping:
                return
            self._waiting.pop(ex.session_key, None)
            self._waiting[ex.session_key] = job
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popitem(last=False)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="weir-ahead", daemon=True)
                self._thread.start()
            self._state.notify_all()

    def idle(self, timeout_s: float) -> bool:
        """Wait until nothing is left to do; False where that takes longer."""
        with self._state:
            return self._state.wait_for(lambda: not self._waiting and not self._busy, timeout_s)

    def close(self) -> None:
        """Let go of what waits, and end at the next piece of work."""
        with self._state:
            self._stopping = True
            self._waiting.clear()
            self._state.notify_all()

    def _run(self) -> None:
        with contextlib.suppress(AttributeError, OSError):  # not every system has it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while True:
            with self._state:
                self._state.wait_for(lambda: self._waiting or self._stopping)
                if self._stopping:
                    return
                _, job = self._waiting.popitem(last=False)
                self._busy = True
            try:
                self._make(job)
            except Stopped:
                return
            except Exception as error:  # noqa: BLE001 - a memory not made ahead is made later
                log.error("memories could not be made ahead: %s", place(error))
            finally:
                with self._state:
                    self._busy = False
                    self.done += 1
                    self._state.notify_all()

    def _make(self, job: _Job) -> None:
        """The memories of one conversation."""
        if not job.big or self._helpers is None:
            precompute(job.conversation, job.measurement, job.recipe, job.kit, self._check)
            return
        with self._helpers.craft(job.conversation, job.gauge, job.kit.session) as craft:
            craft.precompute(job.conversation, job.measurement, job.recipe, job.kit)

    def _check(self) -> None:
        if self._stopping:
            raise Stopped


def _recipe(ex: Exchange) -> Recipe | None:
    """What a compression of this conversation aims at; None where policy or need allow none."""
    plan = Parties.of(ex).prepared.plan
    found = (c.recipe for c in plan.candidates if c.way is Way.COMPRESS)
    return next((recipe for recipe in found if recipe is not None), None)

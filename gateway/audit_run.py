"""The run of an audit: files in, rows.csv out, by a pool of processes, in constant memory.

Batches are judged in parallel and written in the order of the logs. An interrupt stops the
reading; what was judged by then is reported as a part.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Self, TextIO

from gateway.audit_judge import Judge
from gateway.audit_policy import judged, key_for
from gateway.audit_read import Batch, batches
from gateway.audit_rows import Judged, header, judge_batch
from gateway.offline import Offline
from gateway.settings import parse

_BAD_LISTED = 200
_AHEAD = 2  # batches waiting for each worker: enough to keep it busy, few enough to hold


@dataclass(frozen=True, slots=True)
class Task:
    """What every worker needs: the policy's text, whose rules, and how to judge."""

    policy: str
    source: str
    key: str | None
    kind: str | None
    fit: bool
    now_ms: int


@dataclass(slots=True)
class Read:
    """What has been read: ``bad`` lists (log, line, why) of at most 200 of ``bad_count``."""

    rows: int = 0
    others: int = 0
    bad_count: int = 0
    bad: list[tuple[str, int, str]] = field(default_factory=list)
    partial: bool = False

    def add(self, done: Judged) -> None:
        """One batch more."""
        self.rows += done.rows
        self.others += done.others
        self.bad_count += done.bad_count
        room = _BAD_LISTED - len(self.bad)
        self.bad.extend((done.log, line, why) for line, why in done.bad[:room])


class _Worker:
    """The judge of one process of the pool, made when it starts: it is too large to be sent."""

    judge: Judge
    task: Task

    @classmethod
    def start(cls, task: Task) -> None:
        """Called once in each process; an interrupt is the parent's business."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        cls.judge, cls.task = judge_of(task), task

    @classmethod
    def work(cls, batch: Batch) -> Judged:
        """One batch."""
        return judge_batch(cls.judge, cls.task.kind, batch)


def judge_of(task: Task) -> Judge:
    """The judge that a task describes."""
    settings = parse(task.policy, task.source, Offline(os.environ))
    return Judge(judged(settings), key_for(settings, task.key), task.now_ms, fit=task.fit)


def run(
    logs: Iterable[tuple[Path, str]],
    task: Task,
    out: TextIO,
    workers: int,
    step: Callable[[Judged], None] = lambda _: None,
    limit: int | None = None,
) -> Read:
    """Judge every record of the logs and write its line to ``out``.

    Args:
        logs: paths with the names that rows.csv shows.
        workers: processes; 1 works in this one.
        limit: stop after about so many records (whole batches are kept exact).

    Raises:
        OSError: a log cannot be read.
    """
    found = Read()
    out.write(header())
    source = _limited(_all(logs), limit)
    with ExitStack() as stack:
        interrupt = stack.enter_context(_Interrupt())
        if workers == 1:
            judge = judge_of(task)
            results: Iterator[Judged] = (judge_batch(judge, task.kind, b) for b in source)
        else:
            pool = ProcessPoolExecutor(
                workers, get_context("spawn"), initializer=_Worker.start, initargs=(task,)
            )
            stack.callback(pool.shutdown, wait=False, cancel_futures=True)
            results = _pooled(pool, source, workers * _AHEAD)
        try:
            for done in results:
                out.write(done.text)
                found.add(done)
                step(done)
                if interrupt.came:
                    break
        except KeyboardInterrupt:
            interrupt.came = True
        found.partial = interrupt.came
    return found


class _Interrupt:
    """Ctrl-C, remembered: one that arrives within a callback of the pool's would be lost."""

    def __init__(self) -> None:
        self.came = False
        self._main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        if self._main:  # only there can signals be handled
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, *_: object) -> None:
        self.came = True
        raise KeyboardInterrupt


def _pooled(pool: Executor, source: Iterator[Batch], ahead: int) -> Iterator[Judged]:
    """Results in order, with never more than ``ahead`` batches on their way."""
    waiting: deque[Future[Judged]] = deque()
    for batch in source:
        waiting.append(pool.submit(_Worker.work, batch))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _all(logs: Iterable[tuple[Path, str]]) -> Iterator[Batch]:
    for path, name in logs:
        yield from batches(path, name)


def _limited(source: Iterator[Batch], limit: int | None) -> Iterator[Batch]:
    """The first ``limit`` records."""
    left = limit
    for batch in source:
        if left is None:
            yield batch
            continue
        yield Batch(batch.log, batch.records[:left], batch.read_bytes, batch.bad)
        left -= len(batch.records)
        if left <= 0:
            return

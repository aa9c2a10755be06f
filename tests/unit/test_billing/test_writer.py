"""The writer thread beside a thread that appends without pause."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from billing.schema import database_path
from billing.store import Group, Store
from billing.writer import Writer


class Unlucky(deque[Any]):
    """A queue that is appended to in the middle of every second walk over it."""

    walks = 0

    def __iter__(self) -> Iterator[Any]:
        self.walks += 1
        if len(self) and self.walks % 2:
            raise RuntimeError("deque mutated during iteration")
        return super().__iter__()


def test_the_writer_lives_through_an_append_at_any_moment(tmp_path: Path) -> None:
    """Every record is posted once, in order, even when one comes while the queue is read."""
    path = database_path(f"sqlite:///{tmp_path}/weir.db")
    posted: list[int] = []
    writer = Writer(path, Store(path, power_safe=False), 1, 1 << 30)
    queue = writer._queue = Unlucky()

    def posting(number: int) -> Callable[[Group], None]:
        return lambda _: posted.append(number)

    for number in range(500):
        writer.append(b"{}", posting(number))
        if number % 100 == 0:
            writer.flush(10)
    writer.flush(10)
    writer.close()
    assert posted == list(range(500))
    assert queue.walks >= 2

"""The thread that brings the journal into the database, in groups.

``append`` is the hot half: journal first, then a queue. A posting leaves the queue only
once its group is committed, so a failing database is retried and nothing is skipped. Old
journal files go when the database has them on disk.

``append_late`` takes what must not be refused, since it says what has been done already: a
settlement that a full disk turns away waits in memory, before the queue, until there is room.
Its hold is in the journal all the while, so a process that dies meanwhile leaves an orphan.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from billing.errors import LedgerUnavailable
from billing.journal import Journal, Position, journal_path
from billing.receipt import Receipt
from billing.record import record
from billing.roller import Roller
from billing.store_rows import Group, Tables

_LOG = logging.getLogger(__name__)
_GROUP_WAIT_S = 0.1
"""How long rows gather. A group costs some thirty pages of indexes whatever is in it: at a few
hundred requests a second, five times the wait is a quarter less CPU a row. Who must see the
tables at once flushes, which ends the wait."""
_RETRY_WAIT_S = 0.5
_IDLE_WAIT_S = 1.0
_MAX_GROUP = 2_000
_YIELD_EVERY = 8
_MAX_BACKLOG = 100_000

Posting = Callable[[Group], None]


@record(frozen=True, slots=True)
class _Waiting:
    """A record that the journal has not taken yet."""

    body: bytes
    posting: Posting


class Writer:
    """Journal, queue and writer thread of one database.

    Every method may be called by any thread.
    """

    def __init__(self, database: Path, store: Tables, number: int, rotate_bytes: int) -> None:
        self._database = database
        self._store = store
        self._roller = Roller(store)
        self._rotate_bytes = rotate_bytes
        self._journal = Journal(database, number)
        self._queue: deque[tuple[Position, Posting]] = deque()
        self._waiting: deque[_Waiting] = deque()
        self._files = threading.Lock()
        self._fresh: dict[str, Receipt] = {}
        self._old: deque[int] = deque()
        self._work = threading.Event()
        self._hurry = threading.Event()
        self._flushing = 0
        self._state = threading.Condition()
        self._stopping = False
        self._refused = False
        self.trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    def append(self, body: bytes, posting: Posting) -> None:
        """A record is durable against the death of this process, and will be in the tables.

        Raises:
            LedgerUnavailable: the journal cannot take it, or the database is far behind.
        """
        if len(self._queue) >= _MAX_BACKLOG:
            raise LedgerUnavailable(self.trouble or "the ledger's writer is too slow")
        with self._files:
            self._catch_up()
            self._put(body, posting)

    def append_late(self, body: bytes, posting: Posting, receipt: Receipt | None = None) -> None:
        """As ``append``, but kept in memory where the journal cannot take it yet."""
        if receipt is not None:
            with self._state:
                self._fresh[receipt.request_id] = receipt
        with self._files:
            try:
                self._catch_up()
                self._put(body, posting)
            except LedgerUnavailable as error:
                if not self._waiting:
                    _LOG.error("%s; what is settled meanwhile is kept in memory", error)
                self._waiting.append(_Waiting(body, posting))
        self._wake()

    def refusal(self) -> str | None:
        """Why the journal takes nothing, or None; tried anew once it has refused a record."""
        with self._files:
            if self._refused:
                try:
                    self._journal.probe()
                    self._catch_up()
                except LedgerUnavailable as error:
                    return str(error)
                self._refused = False
        return None

    def _put(self, body: bytes, posting: Posting) -> None:
        """A record is in the journal and the queue. The caller has ``_files``."""
        try:
            if self._journal.size >= self._rotate_bytes:
                self._rotate()
            position = self._journal.append(body)
        except LedgerUnavailable:
            self._refused = True
            raise
        self._refused = False
        self._queue.append((position, posting))
        self._wake()

    def _catch_up(self) -> None:
        """What waited is in the journal, in its order. The caller has ``_files``."""
        if not self._waiting:
            return
        while self._waiting:
            first = self._waiting[0]
            self._put(first.body, first.posting)
            self._waiting.popleft()
        _LOG.warning("the journal is written again; nothing that was settled is missing")

    def _wake(self) -> None:
        if not self._work.is_set():
            self._work.set()

    def fresh(self) -> dict[str, Receipt]:
        """Receipts that may not be in the tables yet."""
        with self._state:
            return dict(self._fresh)

    def find(self, request_id: str) -> Receipt | None:
        """A receipt that may not be in the tables yet, or None."""
        return self._fresh.get(request_id)

    def flush(self, timeout_s: float) -> None:
        """Everything appended so far is in the tables. Raises LedgerUnavailable."""
        with self._state:
            self._flushing += 1
            self._hurry.set()
            self._work.set()
            try:
                if not self._state.wait_for(lambda: not (self._queue or self._waiting), timeout_s):
                    raise LedgerUnavailable(self.trouble or "the ledger's writer is too slow")
            finally:
                self._flushing -= 1

    def close(self) -> None:
        """The thread has ended after one last try; what it could not write is in the journal."""
        self._stopping = True
        self._hurry.set()
        self._work.set()
        self._thread.join()
        self._journal.close()
        if self._waiting:
            _LOG.error("%d settlements found no room; their holds are charged", len(self._waiting))
        if not self._queue:
            self._drop(self._journal.number)

    def _rotate(self) -> None:
        following = Journal(self._database, self._journal.number + 1)
        self._journal.close()
        self._old.append(self._journal.number)
        self._journal = following

    def _run(self) -> None:
        while True:
            if self._waiting and not self._retried():
                if self._stopping and not self._queue:
                    return
                time.sleep(_RETRY_WAIT_S)
            if not self._queue:
                if self._stopping:
                    return
                if self._waiting or self._roller.turn(idle=True):
                    continue
                self._work.clear()
                if not self._queue and not self._stopping:
                    self._work.wait(_IDLE_WAIT_S)
                self._gather()
            elif self._write_group() > 0:
                self._gather()
            elif self._stopping:
                return
            else:
                time.sleep(_RETRY_WAIT_S)

    def _gather(self) -> None:
        """Wait for a group to come together, unless somebody waits for the tables."""
        if self._stopping or self._flushing or len(self._queue) >= _MAX_GROUP:
            return
        self._hurry.wait(_GROUP_WAIT_S)
        self._hurry.clear()

    def _retried(self) -> bool:
        """Whether what waited is in the journal now."""
        with self._files:
            try:
                self._catch_up()
            except LedgerUnavailable:
                return False
        return True

    def _write_group(self) -> int:
        """As many postings as one group takes are in the tables; how many, 0 on failure."""
        taken = self._front()
        if not taken:
            return 0
        group = Group(position=taken[-1][0])
        try:
            for number, (_, posting) in enumerate(taken):
                posting(group)
                if number % _YIELD_EVERY == 0:
                    time.sleep(0)  # lets a waiting request have the interpreter
            self._store.write(group)
        except LedgerUnavailable as error:
            if self.trouble is None:
                _LOG.error("%s; the journal goes on, retrying", error)
            self.trouble = str(error)
            return 0
        self._done(taken[-1][0], len(taken), [str(row[0]) for row in group.receipts])
        self._roller.posted(len(group.receipts))
        self._roller.turn(idle=False)
        return len(taken)

    def _front(self) -> list[tuple[Position, Posting]]:
        """The oldest postings, still in the queue; another thread appends all the while."""
        while True:
            try:
                return list(islice(self._queue, _MAX_GROUP))
            except RuntimeError:  # appended to between its first item and its last
                continue

    def _done(self, position: Position, count: int, posted: list[str]) -> None:
        if self.trouble is not None:
            _LOG.warning("the ledger is written again")
            self.trouble = None
        with self._state:
            for request_id in posted:
                self._fresh.pop(request_id, None)
            for _ in range(count):
                self._queue.popleft()
            if not self._queue:
                self._state.notify_all()
        while self._old and self._old[0] < position.number:
            self._drop(self._old.popleft())

    def _drop(self, number: int) -> None:
        """An old journal file is gone, now that the database has it on disk."""
        try:
            self._store.checkpoint()
            journal_path(self._database, number).unlink(missing_ok=True)
        except (LedgerUnavailable, OSError) as error:
            _LOG.warning("journal %d stays until the next start: %s", number, error)

"""Whose files and batches lie at a provider, and what each batch may cost.

A provider knows one account, ours; which team uploaded a file or started a batch is known here
alone. Of a batch its hold is kept, too, as it must be made again after a restart, and for each
row the most that it can cost: what a provider does not report is charged at that.

How to use it: every method may block, so call it from a thread. Times are UTC epoch ms.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from billing.beside import Beside
from billing.recovery import HoldRequest, hold_body, request_of

OPEN, SETTLED = "open", "settled"
SETTLING_MS = 600_000
"""Who took a batch to settle it and did not within this time is gone."""
_TABLES = (
    """CREATE TABLE IF NOT EXISTS stored_files
        (upstream TEXT NOT NULL, id TEXT NOT NULL, team TEXT NOT NULL, at_ms BIGINT NOT NULL,
         shown {blob} NOT NULL, PRIMARY KEY (upstream, id))""",
    """CREATE TABLE IF NOT EXISTS stored_batches
        (upstream TEXT NOT NULL, id TEXT NOT NULL, team TEXT NOT NULL, wire TEXT NOT NULL,
         at_ms BIGINT NOT NULL, state TEXT NOT NULL, keeper TEXT NOT NULL,
         until_ms BIGINT NOT NULL, settling_ms BIGINT NOT NULL, hold {blob} NOT NULL,
         costs {blob} NOT NULL, shown {blob} NOT NULL, PRIMARY KEY (upstream, id))""",
    "CREATE INDEX IF NOT EXISTS ix_stored_batches_state ON stored_batches (state)",
)
_FILES = "SELECT upstream, id, team, at_ms, shown FROM stored_files"
_BATCHES = (
    "SELECT upstream, id, team, wire, at_ms, state, keeper, hold, costs, shown FROM stored_batches"
)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a team; ``shown`` is the provider's own description of it, as JSON."""

    upstream: str
    id: str
    team: str
    at_ms: int
    shown: bytes


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most that one row of a batch can cost, and the declared model that it asks for."""

    model: str
    amount_nano: int


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch of a team.

    ``wire`` is what its rows are written in, ``costs`` each row's ceiling by the digest of its
    custom id, in the order of the rows, ``shown`` the provider's last word on it, as JSON.
    """

    upstream: str
    id: str
    team: str
    wire: str
    at_ms: int
    hold: HoldRequest
    costs: Mapping[str, Ceiling]
    shown: bytes
    state: str = OPEN
    keeper: str = ""


class BatchStore:
    """The files and batches of one ledger's teams. Safe to use from any thread."""

    def __init__(self, url: str) -> None:
        self._beside = Beside(url, "batches", _TABLES)

    @property
    def begun(self) -> bool:
        """Whether anything can be in it."""
        return self._beside.begun

    def add_file(self, file: StoredFile) -> None:
        """It is the team's; what is known stays with whom it was known."""
        self._beside.change(
            "INSERT INTO stored_files VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            file.upstream,
            file.id,
            file.team,
            file.at_ms,
            file.shown,
        )

    def file(self, file_id: str, team: str) -> StoredFile | None:
        """A team's own file, or None."""
        found = self._files("WHERE id = ? AND team = ?", file_id, team)
        return found[0] if found else None

    def files(self, team: str, upstreams: Sequence[str]) -> list[StoredFile]:
        """A team's files at some upstreams, the newest first."""
        found = self._files("WHERE team = ? ORDER BY at_ms DESC, id DESC", team)
        return [file for file in found if file.upstream in upstreams]

    def forget_file(self, file: StoredFile) -> None:
        """It is nobody's any more."""
        self._beside.change(
            "DELETE FROM stored_files WHERE upstream = ? AND id = ?", file.upstream, file.id
        )

    def add_batch(self, batch: StoredBatch, until_ms: int) -> None:
        """It is the team's; ``batch.keeper`` holds for it until then, and longer if it says so."""
        costs = [[name, one.model, one.amount_nano] for name, one in batch.costs.items()]
        self._beside.change(
            "INSERT INTO stored_batches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            batch.upstream,
            batch.id,
            batch.team,
            batch.wire,
            batch.at_ms,
            batch.state,
            batch.keeper,
            until_ms,
            0,
            hold_body(batch.hold, batch.hold.amount_nano, batch.hold.at_ms),
            zlib.compress(orjson.dumps(costs), 1),
            batch.shown,
        )

    def batch(self, batch_id: str, team: str) -> StoredBatch | None:
        """A team's own batch, or None."""
        found = self._batches("WHERE id = ? AND team = ?", batch_id, team)
        return found[0] if found else None

    def batches(self, team: str, upstreams: Sequence[str]) -> list[StoredBatch]:
        """A team's batches at some upstreams, the newest first."""
        found = self._batches("WHERE team = ? ORDER BY at_ms DESC, id DESC", team)
        return [batch for batch in found if batch.upstream in upstreams]

    def forget_batch(self, batch: StoredBatch) -> None:
        """It is nobody's any more."""
        self._beside.change(
            "DELETE FROM stored_batches WHERE upstream = ? AND id = ?", batch.upstream, batch.id
        )

    def show(self, batch: StoredBatch, shown: bytes) -> None:
        """The provider's last word on a batch."""
        self._beside.change(
            "UPDATE stored_batches SET shown = ? WHERE upstream = ? AND id = ?",
            shown,
            batch.upstream,
            batch.id,
        )

    def kept_by(self, keeper: str) -> list[StoredBatch]:
        """The batches that a process holds for, the settled ones, too."""
        return self._batches("WHERE keeper = ?", keeper)

    def keep_on(self, keeper: str, until_ms: int) -> None:
        """What a process keeps it keeps until then."""
        self._beside.change(
            "UPDATE stored_batches SET until_ms = ? WHERE keeper = ?", until_ms, keeper
        )

    def take_over(self, keeper: str, before_ms: int, until_ms: int) -> list[StoredBatch]:
        """Open batches whose keeper was not heard of since ``before_ms`` are now this one's."""
        taken = []
        left = "WHERE state = ? AND until_ms < ? AND keeper <> ?"
        for batch in self._batches(left, OPEN, before_ms, keeper):
            mine = self._beside.change(
                "UPDATE stored_batches SET keeper = ?, until_ms = ? "
                "WHERE upstream = ? AND id = ? AND keeper = ? AND until_ms < ?",
                keeper,
                until_ms,
                batch.upstream,
                batch.id,
                batch.keeper,
                before_ms,
            )
            if mine:
                taken.append(batch)
        return taken

    def hand_back(self, batch: StoredBatch) -> None:
        """Whoever looks next takes it over."""
        self._beside.change(
            "UPDATE stored_batches SET keeper = '', until_ms = 0 WHERE upstream = ? AND id = ?",
            batch.upstream,
            batch.id,
        )

    def let_go(self, batch: StoredBatch) -> None:
        """Nobody holds for it."""
        self._beside.change(
            "UPDATE stored_batches SET keeper = '' WHERE upstream = ? AND id = ?",
            batch.upstream,
            batch.id,
        )

    def claim(self, batch: StoredBatch, now_ms: int) -> bool:
        """Whether the caller, and nobody else, is to settle an open batch now."""
        return bool(
            self._beside.change(
                "UPDATE stored_batches SET settling_ms = ? "
                "WHERE upstream = ? AND id = ? AND state = ? AND settling_ms < ?",
                now_ms,
                batch.upstream,
                batch.id,
                OPEN,
                now_ms - SETTLING_MS,
            )
        )

    def restart(self) -> None:
        """Nobody settles anything: this process is alone and has just begun."""
        self._beside.change("UPDATE stored_batches SET settling_ms = 0 WHERE state = ?", OPEN)

    def unclaim(self, batch: StoredBatch, state: str = OPEN) -> None:
        """It was settled, or may be tried again."""
        self._beside.change(
            "UPDATE stored_batches SET settling_ms = 0, state = ? WHERE upstream = ? AND id = ?",
            state,
            batch.upstream,
            batch.id,
        )

    def close(self) -> None:
        """The connection is closed."""
        self._beside.close()

    def _files(self, where: str, *values: object) -> list[StoredFile]:
        rows = self._beside.rows(f"{_FILES} {where}", *values)
        return [StoredFile(at, name, team, ms, bytes(said)) for at, name, team, ms, said in rows]

    def _batches(self, where: str, *values: object) -> list[StoredBatch]:
        return [_read(row) for row in self._beside.rows(f"{_BATCHES} {where}", *values)]


def digest(custom_id: str) -> str:
    """What a row's custom id is known by here: clients may put anything into one."""
    return hashlib.blake2b(custom_id.encode("utf-8", "replace"), digest_size=12).hexdigest()


def _read(row: tuple[Any, ...]) -> StoredBatch:
    upstream, name, team, wire, at_ms, state, keeper, hold, costs, shown = row
    ceilings = orjson.loads(zlib.decompress(bytes(costs)))
    return StoredBatch(
        upstream=upstream,
        id=name,
        team=team,
        wire=wire,
        at_ms=at_ms,
        hold=request_of(orjson.loads(bytes(hold))),
        costs={name: Ceiling(model, amount) for name, model, amount in ceilings},
        shown=bytes(shown),
        state=state,
        keeper=keeper,
    )

"""What happens on open: the journal is replayed, and a dead process's holds are charged."""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import IO, Any

import orjson

from billing.errors import LedgerUnavailable
from billing.journal import Damage, Position, Record, journal_files, read
from billing.plain import scrub
from billing.receipt import Receipt, from_fields, held_line, to_fields
from billing.record import record
from billing.store_rows import Group, OpenHold, Tables

_LOG = logging.getLogger(__name__)
_GROUP = 5_000
_LOCK_STEP_S = 0.05


@record(frozen=True, slots=True)
class HoldRequest:
    """What is to be reserved: the worst case of one request.

    ``path`` are node ids from the organisation to the key; ``at_ms`` the instant it was
    received, UTC epoch; ``model`` and ``upstream`` where it is sent. The rest is what a receipt
    says of the request should this process not live to write one.
    """

    request_id: str
    path: tuple[str, ...]
    user: str | None
    amount_nano: int
    at_ms: int
    model: str
    upstream: str
    session: str | None = None
    session_key: str | None = None
    task: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    arm: str = "routed"
    requested_model: str | None = None
    kept: bool = False
    """Its end is known elsewhere and may be days away (a batch): neither the sweep nor a restart
    charges it; whoever keeps it holds it again."""

    @property
    def team(self) -> str:
        """The team on the path."""
        return self.path[1]


def hold_body(request: HoldRequest, amount_nano: int, at_ms: int) -> bytes:
    """A hold's journal record; ``at_ms`` is the instant its windows were chosen by."""
    said = {
        "k": "hold",
        "id": request.request_id,
        "path": request.path,
        "user": request.user,
        "amount": amount_nano,
        "at": at_ms,
        "model": request.model,
        "upstream": request.upstream,
        "session": request.session,
        "session_key": request.session_key,
        "task": request.task,
        "tags": request.tags,
        "arm": request.arm,
        "requested": request.requested_model,
    }
    if request.kept:
        said["kept"] = True
    try:
        return orjson.dumps(said)
    except TypeError:  # half a surrogate pair in a client's own text
        return orjson.dumps(scrub(said))


def settle_body(fields: bytes, at_ms: int, held_nano: int) -> bytes:
    """A settlement's journal record around a receipt's own JSON."""
    return b'{"k":"settle","at":%d,"held":%d,"r":%b}' % (at_ms, held_nano, fields)


def release_body(request_id: str, why: str) -> bytes:
    """A release's journal record."""
    return orjson.dumps({"k": "release", "id": request_id, "why": why})


def lock_database(path: Path, wait_s: float = 0.0) -> IO[bytes]:
    """This process alone writes the database while the file returned is open.

    Args:
        wait_s: how long to wait for a process that is just ending or only catching up.

    Raises:
        LedgerUnavailable: another process does.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(f"{path.name}.lock").open("ab")
    except OSError as error:
        raise LedgerUnavailable(f"cannot use the database {path}: {error}") from error
    for _ in range(int(wait_s / _LOCK_STEP_S) + 1):
        if _locked(file):
            return file
        time.sleep(_LOCK_STEP_S)
    file.close()
    raise LedgerUnavailable(
        f"another process is writing the database {path}: stop it, or name another database"
    )


def _locked(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def recover(database: Path, store: Tables) -> int:
    """The journal is in the tables and its files are gone; the number the next one may have.

    Holds still open belonged to a process that died: each is charged in full as an
    ``orphan`` receipt.

    Raises:
        LedgerUnavailable: a file cannot be read, or the database cannot be written.
    """
    start = store.position()
    files = journal_files(database)
    damaged = _replay(database, store, start)
    following = max([start.number, *(number for number, _ in files)]) + 1
    group = Group(position=Position(following, 0))
    open_still = [(held, request_of(orjson.loads(held.body))) for held in store.holds()]
    left = [(held, request) for held, request in open_still if not request.kept]
    for held, request in left:
        receipt = orphan(request, held.amount_nano, held.at_ms, "orphan")
        fields = to_fields(receipt)[1]
        group.post(receipt, held.at_ms, held.amount_nano, fields)
    store.write(group)
    if left:
        _LOG.warning("charged %d holds of a process that died, as orphans", len(left))
    store.checkpoint()
    for _, path in files:
        if path in damaged:
            path.rename(path.with_name(f"{path.name}.damaged"))
        else:
            path.unlink()
    return following


def _replay(database: Path, store: Tables, start: Position) -> set[Path]:
    """Everything after a position is in the tables; the files that hold damage."""
    group, count = Group(), 0
    damaged: set[Path] = set()
    for item in read(database, start):
        match item:
            case Damage(path=path, offset=offset):
                _LOG.error("journal %s is damaged at byte %d; it is kept aside", path, offset)
                damaged.add(path)
            case Record(body=body, after=after):
                _apply(group, body)
                group.position = after
                count += 1
        if count >= _GROUP:
            store.write(group)
            group, count = Group(), 0
    store.write(group)
    return damaged


def _apply(group: Group, body: dict[str, Any]) -> None:
    match body["k"]:
        case "hold":
            request = request_of(body)
            raw = orjson.dumps(body)
            group.hold(
                OpenHold(request.request_id, request.at_ms, request.amount_nano, request.team, raw)
            )
        case "release":
            group.close(body["id"])
        case "settle":
            fields = orjson.dumps(body["r"])
            group.post(from_fields(body["r"]), body["at"], body["held"], fields)
        case kind:
            raise LedgerUnavailable(
                f"the journal has a record of kind {kind!r}, written by a newer version: upgrade"
            )


def request_of(body: Mapping[str, Any]) -> HoldRequest:
    """What a hold's journal record says was to be reserved."""
    return HoldRequest(
        body["id"],
        tuple(body["path"]),
        body["user"],
        body["amount"],
        body["at"],
        body["model"],
        body["upstream"],
        session=body.get("session"),
        session_key=body.get("session_key"),
        task=body.get("task"),
        tags=body.get("tags") or {},
        arm=body.get("arm", "routed"),
        requested_model=body.get("requested"),
        kept=body.get("kept", False),
    )


def orphan(request: HoldRequest, amount_nano: int, at_ms: int, state: str) -> Receipt:
    """A receipt that charges a hold in full, since what was metered is not known."""
    line = held_line(request.request_id, amount_nano, "", state)
    return Receipt(
        request_id=request.request_id,
        at_ms=at_ms,
        team=request.team,
        project=request.path[2].split("/", 1)[1] if len(request.path) > 3 else None,
        key=request.path[-1].rsplit("/", 1)[-1],
        user=request.user,
        session=request.session,
        session_key=request.session_key,
        task=request.task,
        tags=request.tags,
        requested_model=request.requested_model or request.model,
        served_model=request.model,
        tier="",
        upstream=request.upstream,
        action="pass",
        arm=request.arm,
        reasons=({"code": state},),
        candidates=(),
        original_prompt_tokens=0,
        sent_prompt_tokens=0,
        cached_tokens=0,
        completion_tokens=0,
        reasoning_tokens=0,
        effective_tokens=0,
        billed_tokens=0,
        cost_nano=amount_nano,
        gateway_cost_nano=0,
        baseline_nano=None,
        baseline_model=request.requested_model or request.model,
        waste_nano=0,
        usage_source="estimated",
        lines=(line,) if amount_nano else (),
        attempts=(),
        overhead_ms=0.0,
        status=0,
        policy_hash="",
        prices_hash="",
        catalog_hash="",
        state=state,
    )

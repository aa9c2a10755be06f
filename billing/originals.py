"""Kept bodies, read only: the original of a request and what each cut of it left out.

``bodies`` keeps them and has a writer's connection; this opens none, makes no file, and
changes nothing, so that whoever only looks can use it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import quote

import orjson

from billing.bodies import Kept, unpacked
from billing.errors import LedgerUnavailable
from billing.schema import database_path, is_postgresql

_QUERY = (
    "SELECT at_ms, expires_ms, packed FROM kept_bodies "
    "WHERE request_id = ? AND team = ? AND expires_ms > ?"
)


def find(url: str, request_id: str, team: str, now_ms: int) -> Kept | None:
    """A team's own, or None where it was never kept or its time is over.

    Raises:
        LedgerUnavailable: the store does not answer.
    """
    rows = _of_server if is_postgresql(url) else _of_file
    found = rows(url, (request_id, team, now_ms))
    if not found:
        return None
    at_ms, expires_ms, packed = found[0]
    return Kept(request_id, team, int(at_ms), int(expires_ms), *unpacked(bytes(packed)))


def texts(kept: Kept, cuts: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """What each cut left out or rewrote; None where the kept body has no such text.

    Raises:
        orjson.JSONDecodeError: the kept body is no JSON.
    """
    body = orjson.loads(kept.received)
    return [_text(body, cut) for cut in cuts]


def whole(body: Any, path: Sequence[str | int]) -> str | None:
    """The text at a place of a request's body, or None where there is none."""
    found = body
    try:
        for step in path:
            found = found[step]
    except (KeyError, IndexError, TypeError):
        return None
    return found if isinstance(found, str) else None


def _text(body: Any, cut: Mapping[str, Any]) -> str | None:
    try:
        found = whole(body, cut["path"])
        if found is None:
            return None
        piece = found[cut["start"] : cut["end"]]
        digest = hashlib.sha256(piece.encode("utf-8", "surrogatepass")).hexdigest()
    except (KeyError, TypeError, AttributeError):
        return None
    return piece if digest == str(cut["sha256"]).removeprefix("sha256:") else None


def _of_file(url: str, values: tuple[str, str, int]) -> list[Any]:
    ledger = database_path(url)
    path = ledger.with_name(f"{ledger.name}.bodies")
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
            return db.execute(_QUERY, values).fetchall()
    except sqlite3.Error as error:
        raise LedgerUnavailable(f"cannot read kept bodies: {error}") from error


def _of_server(url: str, values: tuple[str, str, int]) -> list[Any]:
    from billing.postgres import Link

    link: Link = Link(url, "-c statement_timeout=10000")
    try:
        if not link.rows("SELECT to_regclass('kept_bodies')")[0][0]:
            return []
        return link.rows(_QUERY.replace("?", "%s"), *values)
    finally:
        link.close()

"""The first result of each idempotency key, in the ledger's database: claimed, kept, found.

A claim is made before the request is sent and is the same for all processes. What is kept
is opaque here: it is sealed by whoever keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass

from billing.desk import Desk


@dataclass(frozen=True, slots=True)
class Claim:
    """One use of a key: whose, which, for which body, by which process and request."""

    owner: str
    name: str
    body_hash: bytes
    request_id: str
    process: str
    at_ms: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Row:
    """What stands there of an earlier use; ``status`` None: it has no result (yet)."""

    body_hash: bytes
    request_id: str
    process: str
    at_ms: int
    status: int | None
    sealed: bytes | None


class Kept:
    """The table of one database. Safe to use from any thread."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def claim(self, claim: Claim) -> Row | None:
        """None: the key is free and now claimed, durably. Else what stands there.

        Raises:
            LedgerUnavailable: the database cannot take it; the request must not be sent.
        """
        self._desk.change(
            "DELETE FROM replies WHERE owner = ? AND name = ? AND expires_ms <= ?",
            claim.owner,
            claim.name,
            claim.at_ms,
        )
        claimed = self._desk.change(
            "INSERT INTO replies (owner, name, body_hash, request_id, process, at_ms, expires_ms) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            claim.owner,
            claim.name,
            claim.body_hash,
            claim.request_id,
            claim.process,
            claim.at_ms,
            claim.expires_ms,
        )
        if claimed:
            return None
        rows = self._desk.rows(
            "SELECT body_hash, request_id, process, at_ms, status, sealed FROM replies "
            "WHERE owner = ? AND name = ?",
            claim.owner,
            claim.name,
        )
        # Gone between the two: whoever had it gave it up. The caller may try again.
        return Row(*rows[0]) if rows else Row(claim.body_hash, "", claim.process, 0, None, None)

    def keep(self, claim: Claim, status: int, sealed: bytes | None) -> None:
        """The result of a claim is there for all. Raises LedgerUnavailable."""
        self._desk.change(
            "UPDATE replies SET status = ?, sealed = ? WHERE owner = ? AND name = ? "
            "AND request_id = ?",
            status,
            sealed,
            claim.owner,
            claim.name,
            claim.request_id,
        )

    def give_up(self, claim: Claim) -> None:
        """The key is free again: nothing was billed. Raises LedgerUnavailable."""
        self._desk.change(
            "DELETE FROM replies WHERE owner = ? AND name = ? AND request_id = ?",
            claim.owner,
            claim.name,
            claim.request_id,
        )

    def purge(self, at_ms: int) -> int:
        """Expired rows are gone; how many. Raises LedgerUnavailable."""
        return self._desk.change("DELETE FROM replies WHERE expires_ms <= ?", at_ms)

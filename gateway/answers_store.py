"""Where kept answers lie: sealed, under names that only the client's own secret gives."""

from __future__ import annotations

import hashlib
import hmac
import os
import zlib
from dataclasses import dataclass
from functools import lru_cache

import orjson

from billing.beside import Beside
from billing.receipt import Receipt, from_fields, to_fields
from gateway.idempotency import Reply

_PURPOSE = b"tokenweir kept answer v1"
_NONCE_BYTES = 12
_SWEEP_EVERY = 64
_TABLES = (
    """CREATE TABLE IF NOT EXISTS kept_answers
        (owner TEXT NOT NULL, name TEXT NOT NULL, at_ms BIGINT NOT NULL,
         expires_ms BIGINT NOT NULL, size BIGINT NOT NULL, sealed {blob} NOT NULL,
         PRIMARY KEY (owner, name))""",
    "CREATE INDEX IF NOT EXISTS ix_kept_answers_expires ON kept_answers (expires_ms)",
)


@dataclass(frozen=True, slots=True)
class Name:
    """What an answer is found by, and the key that opens it."""

    owner: str
    digest: str
    key: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """An answer as it can be sent again, and the receipt of the request that made it."""

    reply: Reply
    receipt: Receipt


class Answers:
    """The kept answers of one ledger. Every method but ``close`` may block.

    Args:
        url: the ledger's database.
    """

    def __init__(self, url: str) -> None:
        self._beside = Beside(url, "answers", _TABLES)
        self._kept = 0

    def find(self, name: Name, now_ms: int) -> Found | None:
        """What is kept under a name, or None. Raises LedgerUnavailable."""
        query = "SELECT sealed FROM kept_answers WHERE owner = ? AND name = ? AND expires_ms > ?"
        rows = self._beside.rows(query, name.owner, name.digest, now_ms)
        return _opened(bytes(rows[0][0]), name) if rows else None

    def keep(self, name: Name, found: Found, span_ms: tuple[int, int], most: int) -> None:
        """It is kept from one instant to another, the store below ``most`` bytes.

        Raises:
            LedgerUnavailable: the store cannot take it.
        """
        sealed = _sealed(found, name)
        self._beside.change(
            "INSERT INTO kept_answers VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (owner, name) "
            "DO UPDATE SET at_ms = excluded.at_ms, expires_ms = excluded.expires_ms, "
            "size = excluded.size, sealed = excluded.sealed",
            name.owner,
            name.digest,
            span_ms[0],
            span_ms[1],
            len(sealed),
            sealed,
        )
        self._kept += 1
        if self._kept % _SWEEP_EVERY == 1:
            self.sweep(span_ms[0], most)

    def sweep(self, now_ms: int, most: int) -> None:
        """What is past its time is gone, and the oldest of what is too much."""
        self._beside.change("DELETE FROM kept_answers WHERE expires_ms <= ?", now_ms)
        while True:
            total = "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM kept_answers"
            count, size = self._beside.rows(total)[0]
            if int(size) <= most:
                return
            self._beside.change(
                "DELETE FROM kept_answers WHERE at_ms <= (SELECT MAX(at_ms) FROM "
                "(SELECT at_ms FROM kept_answers ORDER BY at_ms LIMIT ?) AS oldest)",
                max(1, int(count) // 10),
            )

    def close(self) -> None:
        """The store is closed."""
        self._beside.close()


def named(owner: str, secret: str, whole: bytes) -> Name:
    """The name of a request, ``whole`` being all that an answer depends on."""
    seal, name = _keys(secret, owner)
    return Name(owner, hmac.new(name, whole, hashlib.sha256).hexdigest(), seal)


@lru_cache(maxsize=1024)
def _keys(secret: str, owner: str) -> tuple[bytes, bytes]:
    """The key that seals and the key that names, from the client's secret alone."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    made = HKDF(SHA256(), 64, salt=owner.encode(), info=_PURPOSE).derive(secret.encode())
    return made[:32], made[32:]


def _sealed(found: Found, name: Name) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    headers = [[k.decode("latin-1"), v.decode("latin-1")] for k, v in found.reply.headers]
    fields = orjson.Fragment(to_fields(found.receipt)[1])
    head = orjson.dumps({"headers": headers, "receipt": fields})
    plain = zlib.compress(len(head).to_bytes(4, "big") + head + found.reply.body, 1)
    nonce = os.urandom(_NONCE_BYTES)
    sealed: bytes = AESGCM(name.key).encrypt(nonce, plain, name.digest.encode())
    return nonce + sealed


def _opened(sealed: bytes, name: Name) -> Found | None:
    """What ``_sealed`` was given; None: it was changed, or is of an older version."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce, data = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        plain = zlib.decompress(AESGCM(name.key).decrypt(nonce, data, name.digest.encode()))
        length = int.from_bytes(plain[:4], "big")
        head = orjson.loads(plain[4 : 4 + length])
        headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in head["headers"]]
        return Found(Reply(200, headers, plain[4 + length :]), from_fields(head["receipt"]))
    except (InvalidTag, ValueError, zlib.error, KeyError, TypeError):
        return None

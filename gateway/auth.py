"""Secret -> caller. Keys are known by their SHA-256 alone; a secret is never kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime

from billing.accounts import Accounts, VirtualKey
from gateway.errors import KeyDisabled, NotAuthenticated

PREFIX = "weir-"


def new_secret() -> str:
    """A fresh key of 256 random bits; shown once."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(secret: str) -> str:
    """``sha256:<hex>`` as the policy file holds it. 256 random bits need no slow hash."""
    return "sha256:" + hashlib.sha256(secret.encode()).hexdigest()


def identify(secret: str | None, accounts: Accounts, at_ms: int) -> VirtualKey:
    """The virtual key a secret belongs to.

    Raises:
        NotAuthenticated: none was sent, or nobody issued it.
        KeyDisabled: it was revoked, or its time has passed.
    """
    if not secret:
        raise NotAuthenticated(
            "no API key: send `Authorization: Bearer weir-...` (or `x-api-key`); "
            "`weir keys new NAME` makes one"
        )
    digest = hash_of(secret)
    key = accounts.key(digest.removeprefix("sha256:"))
    # Looked up by hash only; the comparison in constant time guards against a store that
    # matches loosely.
    if key is None or not hmac.compare_digest(key.sha256, digest[7:]):
        raise NotAuthenticated("this API key is not known here; it may have been removed")
    # Most keys neither end nor are revoked: the calendar is asked only for those that may.
    if key.revoked or (key.expires is not None and not key.usable(_instant(at_ms))):
        raise KeyDisabled(
            f"the API key {key.name!r} is revoked or has expired; `weir keys new` makes another"
        )
    return key


def _instant(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)

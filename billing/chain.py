"""The hash chain over receipts: each one's hash covers the one before it.

Whoever notes the last hash down (in a ticket, a mail, a commit) can later prove that
nothing posted until then was changed, taken out or put in between.
"""

from __future__ import annotations

import hashlib

START = hashlib.sha256(b"tokenweir ledger").digest()
"""What the first receipt is linked to."""


def link(before: bytes, posted_ms: int, hold_nano: int, body: bytes) -> bytes:
    """The hash of a posting that follows the one with hash ``before``; 32 bytes."""
    return hashlib.sha256(b"%b%d:%d:%b" % (before, posted_ms, hold_nano, body)).digest()

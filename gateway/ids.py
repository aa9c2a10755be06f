"""Request and attempt ids: ULIDs, sortable by time, ours alone."""

from __future__ import annotations

import base64
import os

# A ULID is written in Crockford's base 32, which leaves out I, L, O and U.
_CROCKFORD = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"
)


def new_id(at_ms: int) -> str:
    """A ULID of this instant; 80 bits of it are random."""
    # Four more bytes in front make whole groups of five; their six characters are dropped.
    padded = b"\0\0\0\0" + at_ms.to_bytes(6, "big") + os.urandom(10)
    return base64.b32encode(padded).translate(_CROCKFORD)[6:].decode()

"""An audit's texts come from the kept body, and only where they are what was cut."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from billing.bodies import Kept
from billing.originals import texts

TEXT = "Grüße aus der Mitte. Not this. Und das Ende."
BODY = json.dumps({"messages": [{"role": "user", "content": TEXT}]}).encode()


def cut(start: int, end: int, text: str, *path: object) -> dict[str, Any]:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {
        "path": path or ("messages", 0, "content"),
        "start": start,
        "end": end,
        "sha256": digest,
    }


def test_what_a_cut_left_out_comes_back() -> None:
    """Place and hash agree: the very text; a wrong hash or place gives nothing."""
    kept = Kept("r", "t", 0, 1, BODY)
    wanted = TEXT[21:30]
    cuts = [
        cut(21, 30, wanted),
        cut(20, 30, wanted),
        cut(21, 30, wanted, "messages", 4, "content"),
        cut(21, 30, wanted, "messages", "content"),
    ]
    assert texts(kept, cuts) == [wanted, None, None, None]

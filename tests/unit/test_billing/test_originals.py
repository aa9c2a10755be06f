"""Kept bodies read by whoever only looks: the same as their writer gives, and nothing made."""

from __future__ import annotations

import hashlib
from pathlib import Path

import orjson
import pytest

from billing.bodies import Bodies, Kept
from billing.errors import LedgerUnavailable
from billing.originals import find, texts, whole

_BODY = {"messages": [{"role": "user", "content": "keep this, drop that"}]}
_KEPT = Kept("R1", "support", 1000, 9000, orjson.dumps(_BODY), b"{}", b"yes")


def cut(start: int, end: int, text: str) -> dict[str, object]:
    """A cut of the one message, with the hash of a text."""
    path = ["messages", 0, "content"]
    return {"path": path, "start": start, "end": end,
            "sha256": hashlib.sha256(text.encode()).hexdigest()}  # fmt: skip


def test_what_was_kept_is_found_by_its_team_alone_and_while_it_lasts(tmp_path: Path) -> None:
    """All three bodies, for the team that sent them, until their time is over."""
    url = f"sqlite:///{tmp_path / 'weir.db'}"
    bodies = Bodies(url, lambda: 1000)
    bodies.keep(_KEPT)
    bodies.close()
    assert find(url, "R1", "support", 8999) == _KEPT
    assert find(url, "R1", "search", 8999) is None
    assert find(url, "R1", "support", 9000) is None


def test_where_nothing_was_kept_no_file_is_made(tmp_path: Path) -> None:
    """Looking changes nothing on the disk."""
    assert find(f"sqlite:///{tmp_path / 'weir.db'}", "R1", "support", 0) is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_none_of_ours_is_said(tmp_path: Path) -> None:
    """A damaged store is an error that a page can show."""
    (tmp_path / "weir.db.bodies").write_bytes(b"not a database, but long enough to be read" * 9)
    with pytest.raises(LedgerUnavailable):
        find(f"sqlite:///{tmp_path / 'weir.db'}", "R1", "support", 0)


def test_a_cut_gives_its_text_back_only_where_the_hash_is_the_same() -> None:
    """Another text at the place, and a place that is none, give None."""
    good, other = cut(11, 20, "drop that"), cut(0, 4, "drop")
    nowhere = {**good, "path": ["messages", 7, "content"]}
    assert texts(_KEPT, [good, other, nowhere]) == ["drop that", None, None]
    assert whole(_BODY, ["messages", 0]) is None

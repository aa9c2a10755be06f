"""Records: dataclasses that are frozen for the type checker."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

from compressor.record import record


@record(frozen=True, slots=True)
class _Point:
    x: int
    y: int = 2


def test_records_compare_and_hash_by_their_fields() -> None:
    """Two records with equal fields are equal and have one hash, as frozen dataclasses do."""
    assert _Point(1) == _Point(1, 2)
    assert len({_Point(1), _Point(1, 2), _Point(2)}) == 2


def test_records_are_dataclasses() -> None:
    """``replace``, ``fields`` and ``asdict`` work, and there is no room for other attributes."""
    assert replace(_Point(1), y=3) == _Point(1, 3)
    assert [one.name for one in fields(_Point)] == ["x", "y"]
    assert asdict(_Point(1)) == {"x": 1, "y": 2}
    assert not hasattr(_Point(1), "__dict__")

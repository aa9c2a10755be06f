"""Whether a smaller model keeps the quality, on the lower bound."""

from __future__ import annotations

import pytest

from router.quality import bounds


def test_bounds_hold_the_share_and_narrow_with_labels() -> None:
    """Wilson's bounds contain the share, stay within 0 and 1, and close in on it."""
    for share in (0.0, 0.3, 0.9, 1.0):
        lower, upper = bounds(30, share)
        assert 0 <= lower <= share + 1e-9
        assert share - 1e-9 <= upper <= 1
        tighter = bounds(3_000, share)
        assert tighter[1] - tighter[0] < upper - lower


@pytest.mark.parametrize(("count", "share", "lower"), [(30, 1.0, 0.917), (100, 0.9, 0.838)])
def test_bounds_are_wilsons(count: float, share: float, lower: float) -> None:
    """The one-sided 95% bound has its textbook value."""
    assert bounds(count, share)[0] == pytest.approx(lower, abs=0.002)

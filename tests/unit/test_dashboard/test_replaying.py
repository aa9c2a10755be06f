"""Past traffic under an edited policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashboard.replaying import CannotReplay, edited, replay
from dashboard.views._replay import in_words, sums_of

_POLICY = "holdout: 5%\nfit:\n  allow: [trim]\n  target: 8000\n"
_SUM = {"requests": 2, "paid_usd": "1", "would_pay_usd": "1.5", "difference_usd": "0.5"}


def test_sections_are_written_over_key_by_key() -> None:
    """What is not named stays; a list is replaced whole."""
    made = edited(_POLICY, "fit: {allow: [lossless]}")
    assert made == {"holdout": "5%", "fit": {"allow": ["lossless"], "target": 8000}}


@pytest.mark.parametrize("over", ["", "- 1", "just words", "a: [", "1"])
def test_what_is_no_section_is_refused_in_words(over: str) -> None:
    """Nothing is run then."""
    with pytest.raises(CannotReplay):
        edited(_POLICY, over)


def test_the_outcome_is_said_in_a_sentence_and_a_table() -> None:
    """Paid, predicted and how many would be served the same way; the largest change first."""
    said = {"replayed": 2, "total": _SUM, "same_plan": 1}
    assert in_words(said) == (
        "2 requests that cost $1.00 would have cost $1.50 under the edited policy, 50.0% more. "
        "1 of them would have been served the same way."
    )
    assert "No request" in in_words({**said, "replayed": 0})
    small = {**_SUM, "difference_usd": "-0.1"}
    names = [one["name"] for one in sums_of({"a": small, "b": _SUM}).records]
    assert names == ["b", "a"]


@pytest.mark.slow
def test_a_policy_that_the_gateway_refuses_is_explained(house: Any, tmp_path: Path) -> None:
    """The real command is run; what it says is told, and no copy of the policy stays."""
    config = tmp_path / "weir.yaml"
    config.write_text(_POLICY, encoding="utf-8")
    with pytest.raises(CannotReplay) as refused:
        replay(str(config), house.url, "nonsense: 1", "7d")
    assert "upstreams: this key is required" in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["weir.yaml"]

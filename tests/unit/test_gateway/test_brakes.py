"""What a ladder asks of one request, as far as it needs no process."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.budget import Window, WindowFigures
from billing.errors import BudgetExhausted, BudgetFigures, Throttled
from gateway.brakes import as_rate, passes, refusal
from gateway.errors import render

AT = int(datetime(2026, 11, 30, 23, 0, tzinfo=UTC).timestamp() * 1000)
FIGURES = WindowFigures(
    "support", "support/month", Window(0, AT), 9, 1, 10, "2026-12-01T01:00+01:00"
)


@given(st.text(min_size=1, max_size=40), st.integers(0, 100), st.integers(0, 100))
def test_the_share_that_passes_is_a_function_of_the_id(name: str, less: int, more: int) -> None:
    """The same id gives the same answer; who passes a harder throttle passes a milder one."""
    less, more = sorted((less, more))
    assert passes(name, less) == passes(name, less)
    assert passes(name, more) or not passes(name, less)
    assert passes(name, 100)
    assert not passes(name, 0)


@pytest.mark.parametrize("percent", [10, 50, 90])
def test_about_as_many_pass_as_it_says(percent: int) -> None:
    """Of ten thousand ids the share is met to two points."""
    passed = sum(passes(f"request-{n}", percent) for n in range(10_000))
    assert abs(passed - percent * 100) < 200


def test_reject_is_a_402_or_for_old_clients_a_429_that_says_until_when() -> None:
    """Both name the budget; the 429 waits until it resets, whatever zone that is told in."""
    hard = refusal(FIGURES, "budget", AT)
    assert isinstance(hard, BudgetExhausted)
    assert hard.figures.budget == "support/month"
    rate = refusal(FIGURES, "rate", AT)
    assert isinstance(rate, Throttled)
    assert "support/month" in str(rate)
    assert rate.retry_after_s == 3600
    answer = render(rate, "chat", "r")
    assert (answer.status, dict(answer.headers)[b"retry-after"]) == (429, b"3600")


def test_a_reset_that_is_over_is_waited_for_a_second() -> None:
    """Retry-After is never zero or negative, and a budget without a reset has a short one."""
    past = BudgetExhausted("x", BudgetFigures("b", 0, 0, 0, "2026-11-01T00:00+00:00"))
    assert as_rate(past, AT).retry_after_s == 1
    assert 0 < as_rate(BudgetExhausted("x", BudgetFigures("b", 0, 0, 0, "")), AT).retry_after_s < 60

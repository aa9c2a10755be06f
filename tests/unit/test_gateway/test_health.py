"""When an endpoint rests, for how long, and what a provider's wait means."""

from __future__ import annotations

import pytest

from gateway.upstream.health import EJECT_S, FAILURES, LONGEST_S, REFUSED_S, Health, retry_after_s
from gateway.upstream.overflow import overflowed
from gateway.upstream.retry import FLOOR, LONGEST_WAIT_S, RetryBudget, wait_s


def test_failures_in_a_row_take_it_out_and_longer_each_time() -> None:
    """Five failures rest it; one more on its return rests it twice as long, up to a limit."""
    health, now = Health(), 0.0
    for _ in range(FAILURES - 1):
        health.bad(now)
    assert health.ready("m", now)
    health.bad(now)
    assert not health.ready("m", now + EJECT_S - 1)
    assert health.ready("m", now + EJECT_S)
    health.bad(now + EJECT_S)
    assert not health.ready("m", now + 2 * EJECT_S)
    for _ in range(20):
        health.bad(now)
    assert health.until == now + LONGEST_S


def test_an_answer_clears_the_record() -> None:
    """Failures that are not in a row do not add up."""
    health = Health()
    for _ in range(10):
        for _ in range(FAILURES - 1):
            health.bad(0.0)
        health.good("m")
    assert health.ready("m", 0.0)


def test_a_limit_rests_one_model_for_as_long_as_it_says() -> None:
    """Another model of the same endpoint goes on."""
    health = Health()
    health.limited("m", 0.0, 17.0)
    assert not health.ready("m", 16.9)
    assert health.ready("m", 17.0)
    assert health.ready("other", 0.0)
    assert health.back_at("m") == 17.0
    health.refused(0.0)
    assert not health.ready("other", REFUSED_S - 1)


@pytest.mark.parametrize(
    ("told", "ms", "seconds"),
    [("17", None, 17.0), ("2", "150", 0.15), (None, None, None), ("-3", None, None),
     ("Wed, 21 Oct 2026 07:28:00 GMT", None, None), ("nan", None, None), ("1e400", None, None)],
    ids=["seconds", "milliseconds", "none", "negative", "date", "nan", "infinite"],
)  # fmt: skip
def test_a_wait_is_seconds_or_unknown(
    told: str | None, ms: str | None, seconds: float | None
) -> None:
    """Absurd figures are no figures."""
    assert retry_after_s(told, ms) == seconds


def test_waits_are_bounded_and_long_ones_are_not_waited_for() -> None:
    """The provider's own short wait is kept, a long one refused, ours grows within its bound."""
    assert wait_s(1, 2.0) == 2.0
    assert wait_s(1, LONGEST_WAIT_S + 1) is None
    for number in range(1, 12):
        wait = wait_s(number, None)
        assert wait is not None
        assert 0 <= wait <= LONGEST_WAIT_S


def test_retries_are_a_share_of_what_is_in_flight() -> None:
    """A few are always possible; beyond that a fifth."""
    budget = RetryBudget()
    assert sum(budget.take(0) for _ in range(50)) == FLOOR
    assert sum(budget.take(200) for _ in range(50)) == 40 - FLOOR
    budget.give()
    assert budget.take(200)


@pytest.mark.parametrize(
    ("body", "long"),
    [
        (b'{"error":{"code":"context_length_exceeded"}}', True),
        (b"This model's maximum context length is 8192 tokens.", True),
        (b'{"type":"error","error":{"message":"prompt is too long: 210000 > 200000"}}', True),
        (b"The input token count (1200000) exceeds the maximum number of tokens allowed", True),
        (b"input length and `max_tokens` exceed context limit: 190000 + 21333 > 200000", True),
        (b"the request exceeds the available context size", True),
        (b"Invalid value for 'temperature'", False),
        (b'{"error":{"message":"max_tokens is too large"}}', False),
    ],
    ids=["openai", "openai-text", "anthropic", "google", "anthropic-output", "llama", "other",
         "output"],
)  # fmt: skip
def test_each_providers_words_for_too_long_are_known(body: bytes, long: bool) -> None:
    """A prompt beyond the window is told from any other refusal."""
    assert overflowed(body) is long

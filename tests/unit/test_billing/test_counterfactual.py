"""Tokenmaxxed: the request whole, to the model it asked for, with that model's cache."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing.counterfactual import Original, tokenmaxxed, usage_of
from billing.money import usd, usd_cents
from billing.prices import PriceBook
from billing.shadow_cache import CacheRule, CacheSplit, Prefix, ShadowCache

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
BOOK = PriceBook.bundled()
FABLE = BOOK.price("anthropic", "claude-fable-5-2", AT)
SOL = BOOK.price("openai", "gpt-6.1-sol", AT)
RULE = CacheRule(ttl_ms=300_000, minimum_tokens=1024, write="cache_write_5m")


def test_the_worked_session_is_4_78_not_48_96() -> None:
    """40 turns of 150,000 tokens, 98% of each seen before: the shadow cache makes it $4.78."""
    cache, total = ShadowCache(), 0
    for turn in range(40):
        prompt = [Prefix(b"shared", 147_000), Prefix(f"turn{turn}".encode(), 150_000)]
        split = cache.replay(("key", "claude-fable-5-2"), prompt, RULE, turn * 30_000)
        found = tokenmaxxed(Original(150_000, 600, split), FABLE, 1_000_000)
        assert found.cost_nano is not None
        total += found.cost_nano
    assert usd_cents(total) == "4.78"


def test_the_cliff_counts() -> None:
    """300,000 tokens whole are over the step: $1.2150."""
    found = tokenmaxxed(Original(300_000, 1_000), SOL, 1_050_000)
    assert found.cost_nano is not None
    assert usd(found.cost_nano) == "1.215"


def test_beyond_the_window_is_infeasible() -> None:
    """A prompt that does not fit has no counterfactual, rather than a made-up one."""
    found = tokenmaxxed(Original(1_050_001, 10), SOL, 1_050_000)
    assert (found.cost_nano, found.why) == (None, "window")
    assert tokenmaxxed(Original(1_050_000, 10), SOL, 1_050_000).cost_nano is not None
    assert tokenmaxxed(Original(9_000_000, 10), SOL, None).cost_nano is not None


def test_without_a_price_there_is_none() -> None:
    """A component that the book cannot price leaves the request out, not at zero."""
    found = tokenmaxxed(Original(10, 10, tool_calls={"robot": 1}), SOL, None)
    assert (found.cost_nano, found.why) == (None, "unpriced")


def test_the_other_tokenizer_and_its_retries() -> None:
    """Output is turned into the asked-for model's tokens; its reasoning and retries count."""
    plain = Original(1000, 200, token_ratio=Decimal("1.3"), reasoning_tokens=50)
    assert usage_of(plain).completion_tokens == 310
    once = tokenmaxxed(plain, SOL, None).cost_nano
    retried = tokenmaxxed(
        Original(
            1000, 200, token_ratio=Decimal("1.3"), reasoning_tokens=50, retry_rate=Decimal("0.02")
        ),
        SOL,
        None,
    ).cost_nano
    assert (once, retried) == (5_100_000, 5_202_000)


@pytest.mark.parametrize(
    "write", ["cache_write_5m", "cache_write_30m", "cache_write_1h", "cache_write_12h"]
)
def test_writes_are_billed_as_what_they_are(write: str) -> None:
    """Each lifetime of cache writes stands in its own bucket."""
    usage = usage_of(Original(100, 1, CacheSplit(60, 30, 10, write)))  # type: ignore[arg-type]
    assert getattr(usage, f"{write}_tokens") == 30
    assert (usage.prompt_tokens, usage.cache_read_tokens, usage.input_tokens) == (100, 60, 10)


def test_a_split_of_another_prompt_is_refused() -> None:
    """The cache's split has to be of this very prompt."""
    with pytest.raises(ValueError, match="not of this prompt"):
        usage_of(Original(100, 1, CacheSplit(60, 30, 11, "cache_write_5m")))

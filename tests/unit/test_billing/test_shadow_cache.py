"""The shadow cache: what a provider would have kept of the original prompts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from billing.shadow_cache import CacheRule, CacheSplit, Prefix, ShadowCache

OWNER = ("account", "model")
RULE = CacheRule(ttl_ms=300_000, minimum_tokens=1024, write="cache_write_5m")


def prompt(*tokens: int, story: str = "a") -> list[Prefix]:
    """A conversation whose messages end at these token counts."""
    return [Prefix(f"{story}{count}".encode(), count) for count in tokens]


def test_a_growing_conversation_reads_what_it_wrote() -> None:
    """The first turn writes all of it, the next reads that and writes the rest."""
    cache = ShadowCache()
    assert cache.replay(OWNER, prompt(2000), RULE, 0) == CacheSplit(0, 2000, 0, RULE.write)
    second = cache.replay(OWNER, prompt(2000, 2500), RULE, 1000)
    assert second == CacheSplit(2000, 500, 0, RULE.write)


def test_a_use_keeps_it_warm_and_time_lets_it_go() -> None:
    """The lifetime counts from the last use; at its end the prefix is cold."""
    cache = ShadowCache()
    cache.replay(OWNER, prompt(2000), RULE, 0)
    assert cache.replay(OWNER, prompt(2000), RULE, 299_999).read == 2000
    assert cache.replay(OWNER, prompt(2000), RULE, 599_998).read == 2000
    assert cache.replay(OWNER, prompt(2000), RULE, 899_998).read == 0


def test_a_changed_beginning_reads_nothing() -> None:
    """Another first message is another prefix."""
    cache = ShadowCache()
    cache.replay(OWNER, prompt(2000, 3000), RULE, 0)
    assert cache.replay(OWNER, prompt(2000, 3000, story="b"), RULE, 1).read == 0


def test_accounts_and_models_do_not_share() -> None:
    """A prefix is warm only for its own account and model."""
    cache = ShadowCache()
    cache.replay(OWNER, prompt(2000), RULE, 0)
    for other in (("account", "other"), ("other", "model")):
        assert cache.replay(other, prompt(2000), RULE, 1).read == 0


def test_short_prompts_and_odd_ends_are_not_cached() -> None:
    """Below the minimum nothing is kept; above it, whole blocks only."""
    blocks = CacheRule(ttl_ms=1000, minimum_tokens=1024, block_tokens=128)
    cache = ShadowCache()
    cache.replay(OWNER, prompt(1000), blocks, 0)
    assert cache.replay(OWNER, prompt(1000), blocks, 1) == CacheSplit(0, 0, 1000)
    cache.replay(OWNER, prompt(1300), blocks, 2)
    assert cache.replay(OWNER, prompt(1300), blocks, 3) == CacheSplit(1280, 0, 20)


def test_an_empty_prompt_costs_nothing() -> None:
    """No prefix, no tokens."""
    assert ShadowCache().replay(OWNER, [], RULE, 0) == CacheSplit(0, 0, 0)


def test_it_is_bounded() -> None:
    """The least recently used prefix goes first."""
    cache = ShadowCache(limit=3)
    for story in "abcd":
        cache.replay(OWNER, prompt(2000, story=story), RULE, 0)
    assert len(cache) == 3
    assert cache.replay(OWNER, prompt(2000, story="a"), RULE, 1).read == 0
    assert cache.replay(OWNER, prompt(2000, story="d"), RULE, 1).read == 2000


turns = st.lists(
    st.tuples(st.sampled_from("ab"), st.lists(st.integers(1, 9000), min_size=1, max_size=4)),
    max_size=8,
)


@given(turns, st.sampled_from([RULE, CacheRule(60_000, 1024, 128)]), st.integers(0, 90_000))
def test_the_split_is_always_the_prompt(
    story: list[tuple[str, list[int]]], rule: CacheRule, step: int
) -> None:
    """Read, written and fresh are never negative and sum to the prompt."""
    cache = ShadowCache(limit=20)
    for turn, (name, sizes) in enumerate(story):
        messages = prompt(*sorted(sizes), story=name)
        split = cache.replay(OWNER, messages, rule, turn * step)
        assert min(split.read, split.written, split.fresh) >= 0
        assert split.read + split.written + split.fresh == messages[-1].tokens
        assert split.written == 0 or rule.write

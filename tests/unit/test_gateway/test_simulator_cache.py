"""The simulated prompt cache."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.conversation import Conversation, Message, Part, PartKind
from compressor.tokens import TokenCounter
from gateway.simulator_cache import CacheUse, PromptCache, whole_blocks

ME = ("key", "model")


class Letters:
    """A token a character: prefixes can be counted by eye."""

    name = "letters"
    exact = True

    def count(self, text: str) -> int:
        """Characters of ``text``."""
        return len(text)

    def count_many(self, texts: list[str]) -> list[int]:
        """Characters of each."""
        return [len(text) for text in texts]


def talk(*texts: str) -> Conversation:
    """A conversation of user messages."""
    return Conversation(tuple(Message("user", (Part(PartKind.TEXT, text),)) for text in texts))


@pytest.fixture
def cache() -> PromptCache:
    counter: TokenCounter = Letters()  # type: ignore[assignment]
    return PromptCache(counter, ttl_s=300.0)


@pytest.mark.parametrize(
    ("tokens", "reported"), [(0, 0), (1023, 0), (1024, 1024), (1151, 1024), (1152, 1152)]
)
def test_cached_tokens_are_whole_blocks_from_1024_up(tokens: int, reported: int) -> None:
    """Nothing under 1,024, then steps of 128."""
    assert whole_blocks(tokens) == reported


@settings(max_examples=60)
@given(common=st.integers(0, 6000), ours=st.integers(0, 3000), theirs=st.integers(0, 3000))
def test_never_more_is_read_than_two_prompts_share(common: int, ours: int, theirs: int) -> None:
    """The read part is a whole number of blocks and lies inside the shared prefix."""
    counter: TokenCounter = Letters()  # type: ignore[assignment]
    cache = PromptCache(counter)
    cache.automatic(ME, talk("c" * common + "o" * ours), 1024 + common + ours, 0.0)
    use = cache.automatic(ME, talk("c" * common + "t" * theirs), 1024 + common + theirs, 1.0)
    frame = len("\n\n<user>\n")
    shared = common + frame + (min(ours, theirs) == 0) * 64
    assert use.read % 128 == 0
    assert use.read <= shared
    assert use.written == 0


def test_each_use_keeps_a_prefix_warm_for_another_while(cache: PromptCache) -> None:
    """The time to live counts from the last use, not from the first."""
    prompt = talk("x" * 4000)
    for now, warm in ((0.0, False), (299.0, True), (598.0, True), (899.0, False)):
        assert (cache.automatic(ME, prompt, 4000, now).read > 0) is warm


def test_a_changed_beginning_reads_nothing(cache: PromptCache) -> None:
    """A prefix cache helps only from the first token on."""
    cache.automatic(ME, talk("a" + "x" * 4000), 4001, 0.0)
    assert cache.automatic(ME, talk("b" + "x" * 4000), 4001, 1.0) == CacheUse()


def test_marks_write_what_stands_before_them_and_later_read_it(cache: PromptCache) -> None:
    """A second prompt with a later mark reads the first's and writes the rest."""
    first = cache.explicit(ME, talk("x" * 2000, "q1"), [0], 0.0)
    second = cache.explicit(ME, talk("x" * 2000, "q1", "y" * 500), [2], 1.0)
    assert first.read == 0
    assert second.read == first.written > 2000
    assert 500 < second.written < 540


@pytest.mark.parametrize("marks", [[], [0]])
def test_short_or_unmarked_prompts_are_not_kept(cache: PromptCache, marks: list[int]) -> None:
    """Without a mark, or under 1,024 tokens, nothing is written."""
    size = 500 if marks else 5000
    for now in (0.0, 1.0):
        assert cache.explicit(ME, talk("x" * size), marks, now) == CacheUse()

"""The tokenmaxxed baseline's prefixes and cache rules."""

from __future__ import annotations

from billing.shadow_cache import CacheRule, ShadowCache
from compressor.conversation import Conversation, Message, Part, PartKind
from compressor.measure import measure
from compressor.media import media_rule
from compressor.tokens import load_counter
from gateway.baseline import AUTOMATIC_BLOCK, cache_rule, prefixes
from router.catalog import bundled_catalog

DOCUMENT = "\n".join(
    f"Paragraph {n} says that item {n * 7919} costs {n} euros." for n in range(900)
)
RULE = CacheRule(300_000, 1024, AUTOMATIC_BLOCK)


def talk(*texts: str, mark: bool = False) -> Conversation:
    roles = ("user", "assistant")
    return Conversation(
        tuple(
            Message(roles[n % 2], (Part(PartKind.TEXT, text, ("m", n), cache_mark=mark),))
            for n, text in enumerate(texts)
        )
    )


def split_of(conversation: Conversation, minimum: int = 1024):
    counter = load_counter("o200k_base")
    return prefixes(
        conversation, measure(conversation, counter, media_rule("openai_tiles")), minimum
    )


def test_the_last_prefix_is_the_whole_prompt_and_sizes_only_grow() -> None:
    """Prefixes go from short to long and end with every token of the prompt."""
    conversation = talk(DOCUMENT, "fine", "and now?")
    found = split_of(conversation)
    sizes = [prefix.tokens for prefix in found]
    whole = measure(
        conversation, load_counter("o200k_base"), media_rule("openai_tiles")
    ).prompt_tokens
    assert sizes == sorted(sizes)
    assert sizes[-1] == whole
    assert len({prefix.digest for prefix in found}) == len(found)


def test_the_same_document_with_another_question_is_warm_up_to_the_question() -> None:
    """A provider's cache matches inside a message, so the shadow cache does, too."""
    shadow = ShadowCache()
    first = split_of(talk(DOCUMENT + "\n\nWhat does item 7919 cost?"))
    second = split_of(talk(DOCUMENT + "\n\nWhich paragraph names 15838, and why?"))
    assert shadow.replay(("key", "model"), first, RULE, 0).read == 0
    warm = shadow.replay(("key", "model"), second, RULE, 1_000)
    assert second[-1].tokens - 1_200 < warm.read < second[-1].tokens
    assert warm.read % AUTOMATIC_BLOCK == 0


def test_a_changed_beginning_leaves_nothing_warm() -> None:
    """Only a common prefix is warm."""
    shadow = ShadowCache()
    shadow.replay(("key", "model"), split_of(talk(DOCUMENT)), RULE, 0)
    other = split_of(talk("X" + DOCUMENT))
    assert shadow.replay(("key", "model"), other, RULE, 1_000).read == 0


def test_a_prompt_below_the_minimum_is_one_prefix() -> None:
    """What no provider caches is not hashed."""
    assert len(split_of(talk("Hello"))) == 1


def test_anthropic_caches_only_what_the_client_marked() -> None:
    """Without a cache mark its baseline reads and writes no cache."""
    card = bundled_catalog().lookup("claude-sonnet-5-5")
    assert cache_rule(card, "anthropic", talk("hi")) is None
    marked = cache_rule(card, "anthropic", talk("hi", mark=True))
    assert marked is not None
    assert marked.write == "cache_write_5m"

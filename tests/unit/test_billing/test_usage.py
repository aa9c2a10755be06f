"""Usage: disjoint buckets that sum to the provider's totals, or an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import UsageInvalid
from billing.usage import (
    MAX_TOKENS,
    Usage,
    chat_usage,
    embeddings_usage,
    estimated,
    messages_usage,
    or_fallback,
    responses_usage,
)

counts = st.integers(0, 2_000_000)
Adapter = Callable[[Mapping[str, object]], Usage]
ADAPTERS: list[Adapter] = [chat_usage, responses_usage, messages_usage, embeddings_usage]


def leaves(usage: Usage) -> list[int]:
    return [
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_5m_tokens,
        usage.cache_write_30m_tokens,
        usage.cache_write_1h_tokens,
        usage.cache_write_12h_tokens,
        usage.input_audio_tokens,
        usage.input_image_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.output_audio_tokens,
        usage.output_image_tokens,
    ]


@given(counts, counts, counts, counts, counts, counts)
def test_chat_buckets_partition_the_totals(
    fresh: int, cached: int, written: int, audio: int, spoken: int, reasoning: int
) -> None:
    """Input leaves sum to prompt_tokens, output leaves to completion_tokens, all >= 0."""
    prompt, completion = fresh + cached + written + audio, spoken + reasoning
    usage = chat_usage(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {
                "cached_tokens": cached,
                "cache_write_tokens": written,
                "audio_tokens": audio,
            },
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }
    )
    assert (usage.prompt_tokens, usage.completion_tokens) == (prompt, completion)
    assert (usage.input_tokens, usage.cache_read_tokens) == (fresh, cached)
    assert min(leaves(usage)) >= 0
    assert usage.billed_tokens == prompt + completion
    assert usage.unknown == ()


@given(counts, counts, counts, counts, counts)
def test_messages_exclude_cached_tokens_from_input(
    fresh: int, read: int, five: int, hour: int, output: int
) -> None:
    """Anthropic's input_tokens are fresh ones only, so the prompt is their sum with the cache's."""
    usage = messages_usage(
        {
            "input_tokens": fresh,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": five + hour,
            "cache_creation": {
                "ephemeral_5m_input_tokens": five,
                "ephemeral_1h_input_tokens": hour,
            },
            "output_tokens": output,
        }
    )
    assert usage.prompt_tokens == fresh + read + five + hour
    assert (usage.input_tokens, usage.cache_read_tokens) == (fresh, read)
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (five, hour)
    assert usage.completion_tokens == output


@given(counts, counts)
def test_exclusive_reports_are_not_charged_twice(fresh: int, cached: int) -> None:
    """The same request under both conventions gives the same buckets."""
    inside = chat_usage(
        {"prompt_tokens": fresh + cached, "prompt_tokens_details": {"cached_tokens": cached}}
    )
    outside = chat_usage(
        {"prompt_tokens": fresh, "prompt_tokens_details": {"cached_tokens": cached}},
        convention="exclusive",
    )
    assert leaves(inside) == leaves(outside)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
KEYS = [
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "prompt_tokens_details",
    "output_tokens",
    "input_tokens",
    "completion_tokens_details",
    "input_tokens_details",
    "output_tokens_details",
    "cache_creation",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "server_tool_use",
    "cached_tokens",
]


@given(st.dictionaries(st.sampled_from(KEYS), json_values))
def test_an_absurd_report_is_refused_or_whole(raw: dict[str, Any]) -> None:
    """Any JSON either raises UsageInvalid or gives counts that are never negative."""
    for adapter in ADAPTERS:
        try:
            usage = adapter(raw)
        except UsageInvalid:
            continue
        assert min(leaves(usage)) >= 0
        assert min(usage.tool_calls.values(), default=0) >= 0


@pytest.mark.parametrize("bad", [-1, "12", 10**30, True, 1.5, MAX_TOKENS + 1, [], {}])
def test_an_absurd_count_never_passes(bad: object) -> None:
    """A negative, textual or astronomic count raises and, through or_fallback, is estimated."""
    raw = {"prompt_tokens": bad, "completion_tokens": 1}
    with pytest.raises(UsageInvalid, match="prompt_tokens"):
        chat_usage(raw)
    usage = or_fallback(chat_usage, raw, estimated(100, 7))
    assert (usage.prompt_tokens, usage.completion_tokens, usage.source) == (100, 7, "estimated")
    assert usage.raw == raw
    assert usage.unknown[0].startswith("invalid: ")


@pytest.mark.parametrize("raw", [None, [], "x", 3])
def test_no_report_is_an_estimate(raw: object) -> None:
    """A usage that is no object at all is estimated and flagged, without an exception."""
    usage = or_fallback(chat_usage, raw, estimated(10, 2))
    assert (usage.source, usage.unknown) == ("estimated", ("usage",))


def test_parts_larger_than_the_whole_are_refused() -> None:
    """More cached tokens than prompt tokens cannot be split."""
    with pytest.raises(UsageInvalid, match="parts of prompt tokens"):
        chat_usage({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}})
    with pytest.raises(UsageInvalid, match="parts of completion tokens"):
        chat_usage({"completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 2}})
    with pytest.raises(UsageInvalid, match="cache_creation sums"):
        messages_usage(
            {
                "cache_creation_input_tokens": 5,
                "cache_creation": {"ephemeral_5m_input_tokens": 4},
            }
        )


def test_cached_audio_keeps_the_dearer_bucket() -> None:
    """Tokens reported as cached and as audio stand once, as audio."""
    usage = chat_usage(
        {
            "prompt_tokens": 1000,
            "prompt_tokens_details": {"cached_tokens": 512, "audio_tokens": 900},
        }
    )
    assert (usage.input_tokens, usage.cache_read_tokens, usage.input_audio_tokens) == (0, 100, 900)


def test_reasoning_outside_the_completion_is_added() -> None:
    """Where the report's own total says so, reasoning comes on top (xAI)."""
    usage = chat_usage(
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "completion_tokens_details": {"reasoning_tokens": 94},
        }
    )
    assert (usage.output_tokens, usage.reasoning_tokens, usage.completion_tokens) == (9, 94, 103)
    assert usage.unknown == ()


def test_unknown_keys_are_listed_not_dropped() -> None:
    """A key with a value that no bucket took is named."""
    usage = chat_usage({"prompt_tokens": 1, "new_thing": 3, "prompt_tokens_details": {"odd": 1}})
    assert usage.unknown == ("new_thing", "prompt_tokens_details.odd")
    assert usage.raw is not None


def test_a_total_that_does_not_add_up_is_flagged() -> None:
    """The buckets follow the parts; the strange total is listed as unknown."""
    usage = chat_usage({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 99})
    assert usage.billed_tokens == 15
    assert usage.unknown == ("total_tokens",)


def test_server_tools_are_counted_by_call() -> None:
    """Searches are billed by the call and stand apart from tokens."""
    usage = messages_usage(
        {
            "input_tokens": 1,
            "output_tokens": 1,
            "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 0},
        }
    )
    assert usage.tool_calls == {"web_search": 3}


def test_an_estimate_is_never_negative() -> None:
    """Estimated counts below zero are zero."""
    assert estimated(-5, -1).billed_tokens == 0


@given(counts, counts, counts, counts, counts)
def test_the_other_convention_partitions_too(
    fresh: int, read: int, written: int, hour: int, image: int
) -> None:
    """A chat report that excludes caches, a messages report that includes them: same leaves."""
    chat = chat_usage(
        {
            "prompt_tokens": fresh + image,
            "completion_tokens": 1,
            "prompt_tokens_details": {
                "cached_tokens": read,
                "cache_write_tokens": written,
                "image_tokens": image,
            },
        },
        convention="exclusive",
    )
    assert chat.prompt_tokens == fresh + image + read + written
    assert (chat.input_tokens, chat.input_image_tokens) == (fresh, image)
    assert (chat.cache_read_tokens, chat.cache_write_30m_tokens) == (read, written)
    messages = messages_usage(
        {
            "input_tokens": fresh + read + written + hour,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": written + hour,
            "cache_creation": {
                "ephemeral_5m_input_tokens": written,
                "ephemeral_1h_input_tokens": hour,
            },
            "output_tokens": 1,
        },
        convention="inclusive",
    )
    assert messages.input_tokens == fresh
    assert messages.prompt_tokens == fresh + read + written + hour
    assert (messages.cache_write_5m_tokens, messages.cache_write_1h_tokens) == (written, hour)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), counts)
def test_the_usual_report_reads_as_any_other(
    fresh: int, cached: int, spoken: int, reasoned: int, total: int
) -> None:
    """The short way through a plain report gives the buckets that the long way gives."""
    report = {
        "prompt_tokens": fresh + cached,
        "completion_tokens": spoken + reasoned,
        "total_tokens": total if total % 2 else fresh + cached + spoken + reasoned,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoned, "audio_tokens": None},
    }
    long = chat_usage({**report, "prompt_cache_miss_tokens": None})
    assert replace(chat_usage(report), raw=None) == replace(long, raw=None)

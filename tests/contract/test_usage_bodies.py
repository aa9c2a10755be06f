"""Usage bodies as providers send them, turned into buckets."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from billing.usage import Usage, chat_usage, embeddings_usage, messages_usage, responses_usage

CHAT: list[tuple[str, Mapping[str, object], dict[str, int]]] = [
    (
        "openai chat",
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 128,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 10,
                "rejected_prediction_tokens": 4,
            },
        },
        {
            "input_tokens": 86,
            "cache_read_tokens": 1920,
            "output_tokens": 172,
            "reasoning_tokens": 128,
        },
    ),
    (
        "deepseek",
        {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_cache_hit_tokens": 64,
            "prompt_cache_miss_tokens": 36,
        },
        {"input_tokens": 36, "cache_read_tokens": 64, "output_tokens": 20},
    ),
    (
        "litellm for anthropic",
        {
            "prompt_tokens": 5000,
            "completion_tokens": 100,
            "total_tokens": 5100,
            "prompt_tokens_details": {
                "cached_tokens": 3000,
                "cache_creation_tokens": 1500,
                "cache_write_tokens": 1500,
                "cache_creation_token_details": {
                    "ephemeral_5m_input_tokens": 1000,
                    "ephemeral_1h_input_tokens": 500,
                },
            },
            "cache_creation_input_tokens": 1500,
            "cache_read_input_tokens": 3000,
        },
        {
            "input_tokens": 500,
            "cache_read_tokens": 3000,
            "cache_write_5m_tokens": 1000,
            "cache_write_1h_tokens": 500,
            "output_tokens": 100,
        },
    ),
    (
        "vllm without details",
        {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
        {"input_tokens": 7, "output_tokens": 2},
    ),
    (
        "nulls",
        {
            "prompt_tokens": 7,
            "completion_tokens": 2,
            "prompt_tokens_details": None,
            "completion_tokens_details": {"reasoning_tokens": None},
        },
        {"input_tokens": 7, "output_tokens": 2},
    ),
]


def buckets(usage: Usage) -> dict[str, int]:
    names = [name for name in usage.__slots__ if name.endswith("_tokens")]
    return {name: getattr(usage, name) for name in names if getattr(usage, name)}


@pytest.mark.parametrize(("name", "raw", "expected"), CHAT, ids=[case[0] for case in CHAT])
def test_chat_bodies(name: str, raw: Mapping[str, object], expected: dict[str, int]) -> None:
    """Each provider's chat-shaped usage lands in the right buckets, nothing left over."""
    usage = chat_usage(raw)
    assert buckets(usage) == expected
    assert usage.unknown == ()


def test_responses_body() -> None:
    """OpenAI's responses usage: cached and written tokens stand inside the input count."""
    usage = responses_usage(
        {
            "input_tokens": 4000,
            "input_tokens_details": {"cached_tokens": 2048, "cache_write_tokens": 1024},
            "output_tokens": 700,
            "output_tokens_details": {"reasoning_tokens": 512},
            "total_tokens": 4700,
        }
    )
    assert buckets(usage) == {
        "input_tokens": 928,
        "cache_read_tokens": 2048,
        "cache_write_30m_tokens": 1024,
        "output_tokens": 188,
        "reasoning_tokens": 512,
    }
    assert usage.unknown == ()


def test_messages_body() -> None:
    """Anthropic's messages usage: cached tokens stand outside input_tokens."""
    usage = messages_usage(
        {
            "input_tokens": 12,
            "cache_creation_input_tokens": 2048,
            "cache_read_input_tokens": 30000,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 2048,
                "ephemeral_1h_input_tokens": 0,
            },
            "output_tokens": 503,
            "output_tokens_details": {"thinking_tokens": 200},
            "service_tier": "standard",
            "inference_geo": "global",
            "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
        }
    )
    assert buckets(usage) == {
        "input_tokens": 12,
        "cache_read_tokens": 30000,
        "cache_write_5m_tokens": 2048,
        "output_tokens": 303,
        "reasoning_tokens": 200,
    }
    assert usage.tool_calls == {"web_search": 1}
    assert usage.unknown == ()


def test_embeddings_body() -> None:
    """Embeddings meter input only."""
    usage = embeddings_usage({"prompt_tokens": 8, "total_tokens": 8})
    assert buckets(usage) == {"input_tokens": 8}
    assert usage.unknown == ()

"""Gemini's own usage, through litellm's translation, as disjoint buckets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from billing.usage import chat_usage
from gateway.upstream.translated import load_litellm

pytestmark = pytest.mark.slow


def modality(**counts: int) -> list[dict[str, object]]:
    """Counts as Gemini lists them."""
    return [{"modality": name, "tokenCount": count} for name, count in counts.items()]


CASES: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "cached and thinking": (
        {
            "promptTokenCount": 10_000,
            "cachedContentTokenCount": 8_000,
            "candidatesTokenCount": 120,
            "thoughtsTokenCount": 340,
            "totalTokenCount": 10_460,
            "promptTokensDetails": modality(TEXT=9_000, IMAGE=1_000),
            "cacheTokensDetails": modality(TEXT=8_000),
        },
        {
            "input": 1_000,
            "cache_read": 8_000,
            "input_image": 1_000,
            "output": 120,
            "reasoning": 340,
        },
    ),
    "audio": (
        {
            "promptTokenCount": 500,
            "candidatesTokenCount": 20,
            "totalTokenCount": 520,
            "promptTokensDetails": modality(TEXT=100, AUDIO=400),
        },
        {"input": 100, "input_audio": 400, "output": 20},
    ),
    "tools of its own": (
        {
            "promptTokenCount": 500,
            "toolUsePromptTokenCount": 70,
            "candidatesTokenCount": 20,
            "thoughtsTokenCount": 5,
            "totalTokenCount": 595,
        },
        {"input": 570, "output": 20, "reasoning": 5},
    ),
    "a picture made": (
        {
            "promptTokenCount": 500,
            "candidatesTokenCount": 1_320,
            "totalTokenCount": 1_820,
            "candidatesTokensDetails": modality(TEXT=30, IMAGE=1_290),
        },
        {"input": 500, "output": 30, "output_image": 1_290},
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_every_token_of_gemini_stands_in_one_bucket(name: str) -> None:
    """The buckets sum to Gemini's own total, and no key is a surprise."""
    load_litellm()
    from litellm.llms.vertex_ai.gemini import vertex_and_google_ai_studio_gemini as gemini

    reported, expected = CASES[name]
    translated: Any = gemini.VertexGeminiConfig._calculate_usage(
        {"usageMetadata": reported, "candidates": []}  # type: ignore[typeddict-item, typeddict-unknown-key]  # a part of it
    )
    usage = chat_usage(json.loads(translated.model_dump_json()))
    found = {
        key.removesuffix("_tokens"): getattr(usage, key)
        for key in usage.__slots__
        if key.endswith("_tokens") and getattr(usage, key)
    }
    assert found == expected
    assert usage.billed_tokens == reported["totalTokenCount"]
    assert usage.unknown == ()

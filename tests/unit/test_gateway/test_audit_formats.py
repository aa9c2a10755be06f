"""Readers of logs: every tool's own field names, and what must never be guessed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.audit_formats import detect, parse
from gateway.audit_row import AuditRow, BadRecordError, count, dollars, instant, label

BODY = {"model": "gpt-6.1-sol", "messages": [{"role": "user", "content": "Hello there"}]}
USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 50,
    "total_tokens": 1050,
    "prompt_tokens_details": {"cached_tokens": 600},
    "completion_tokens_details": {"reasoning_tokens": 20},
}
LITELLM = {
    "request_id": "chatcmpl-1",
    "call_type": "acompletion",
    "api_key": "88dc28d0f030",
    "spend": 0.0123,
    "prompt_tokens": 1000,
    "completion_tokens": 50,
    "startTime": "2026-10-20 08:00:00.123000",
    "model": "anthropic/claude-sonnet-5-5",
    "model_group": "sonnet",
    "custom_llm_provider": "anthropic",
    "metadata": json.dumps(
        {
            "user_api_key_team_alias": "claims",
            "additional_usage_values": {"cache_read_input_tokens": 400},
        }
    ),
    "cache_hit": "None",
    "messages": {},
    "proxy_server_request": "{}",
    "status": "success",
}
LANGFUSE = {
    "id": "gen-1",
    "traceId": "t",
    "type": "GENERATION",
    "model": "gpt-6.1-sol",
    "startTime": "2026-10-20T08:00:00Z",
    "modelParameters": {"max_tokens": 100, "temperature": 0.2},
    "input": [{"role": "user", "content": "Hello there"}],
    "output": {"role": "assistant", "content": "Hi"},
    "usageDetails": {"input": 400, "input_cached_tokens": 600, "output": 50, "total": 1050},
    "costDetails": {"total": 0.00142},
    "level": "DEFAULT",
}
HELICONE = {
    "request_id": "h-1",
    "request_created_at": "2026-10-20T08:00:00.000Z",
    "request_body": json.dumps(BODY),
    "response_body": json.dumps({"model": "gpt-6.1-sol-2026-09-01", "usage": USAGE}),
    "request_path": "https://oai.helicone.ai/v1/chat/completions",
    "provider": "OPENAI",
    "request_properties": {"team": "support"},
    "costUSD": 0.0021,
    "response_status": 200,
}


def row(record: dict[str, Any], kind: str | None = None) -> AuditRow:
    found = parse(json.dumps(record).encode(), kind)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (BODY, "openai"),
        ({"request": BODY, "response": {"usage": USAGE}}, "openai"),
        ({"custom_id": "a", "url": "/v1/chat/completions", "body": BODY}, "openai"),
        (LITELLM, "litellm"),
        (LANGFUSE, "langfuse"),
        (HELICONE, "helicone"),
        ({"colour": "red"}, None),
    ],
)  # fmt: skip
def test_a_log_is_known_by_its_keys(record: dict[str, Any], kind: str | None) -> None:
    """Each tool's records are recognised, and what is no log is not."""
    assert detect(record) == kind


def test_a_bare_body_has_text_and_no_usage() -> None:
    """A request body alone is a row to be decided on, its cost to be estimated."""
    found = row(BODY)
    assert found.body == BODY
    assert (found.usage, found.at_ms, found.model) == (None, None, "gpt-6.1-sol")


def test_a_pair_keeps_the_providers_own_usage() -> None:
    """Cached and reasoning tokens of a reply are split as the provider meant them."""
    found = row({"request": BODY, "response": {"model": "gpt-6.1-sol-2026", "usage": USAGE},
                 "created_at": 1_792_483_200})  # fmt: skip
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.cache_read_tokens) == (400, 600)
    assert (found.usage.output_tokens, found.usage.reasoning_tokens) == (30, 20)
    assert found.served == "gpt-6.1-sol-2026"
    assert found.at_ms == 1_792_483_200_000


def test_an_anthropic_reply_counts_cached_tokens_beside_the_input() -> None:
    """Anthropic's input_tokens exclude the cached ones; both are kept."""
    usage = {"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 5}
    found = row({"request": {**BODY, "model": "claude-sonnet-5-5"}, "response": {"usage": usage}})
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.prompt_tokens) == (10, 100)


def test_an_anthropic_body_keeps_its_system_prompt() -> None:
    """A top-level system prompt becomes the first message, so that it is counted."""
    found = row({**BODY, "system": "Be brief.", "max_tokens": 64})
    assert found.body is not None
    assert found.body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert found.body["max_tokens"] == 64


def test_litellm_spend_logs() -> None:
    """The group is what was asked for, the model what served; cached tokens lie inside."""
    found = row(LITELLM)
    assert (found.model, found.served, found.provider) == (
        "sonnet", "anthropic/claude-sonnet-5-5", "anthropic",
    )  # fmt: skip
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.cache_read_tokens) == (600, 400)
    assert (found.team, found.recorded_nano, found.body) == ("claims", 12_300_000, None)
    assert found.at_ms == 1_792_483_200_123


@pytest.mark.parametrize(
    ("change", "failed", "from_cache", "is_chat"),
    [
        ({"status": "failure"}, True, False, True),
        ({"cache_hit": "True"}, False, True, True),
        ({"call_type": "aembedding"}, False, False, False),
    ],
)
def test_litellm_rows_that_were_no_paid_chat(
    change: dict[str, Any], failed: bool, from_cache: bool, is_chat: bool
) -> None:
    """Failures, answers from a cache and embeddings are told apart."""
    found = row({**LITELLM, **change})
    assert (found.failed, found.from_cache, found.chat) == (failed, from_cache, is_chat)


def test_litellm_with_stored_prompts_has_a_body() -> None:
    """With prompts stored, the request as the proxy got it is what is decided on."""
    found = row({**LITELLM, "proxy_server_request": json.dumps(BODY)})
    assert found.body == BODY


@pytest.mark.parametrize(
    ("usage", "fresh", "cached", "output", "reasoning"),
    [
        ({"input": 400, "input_cached_tokens": 600, "output": 50, "total": 1050}, 400, 600, 50, 0),
        ({"input": 1000, "input_cached_tokens": 600, "output": 50, "total": 1050}, 400, 600, 50, 0),
        ({"input": 9, "output": 3, "output_reasoning_tokens": 7, "total": 19}, 9, 0, 3, 7),
        ({"promptTokens": 11, "completionTokens": 2}, 11, 0, 2, 0),
    ],
)
def test_langfuse_parts_are_beside_the_input_unless_the_total_says_inside(
    usage: dict[str, int], fresh: int, cached: int, output: int, reasoning: int
) -> None:
    """No token of a Langfuse generation is counted twice, whichever way it was ingested."""
    found = row({**LANGFUSE, "usageDetails": usage}).usage
    assert found is not None
    assert (found.input_tokens, found.cache_read_tokens) == (fresh, cached)
    assert (found.output_tokens, found.reasoning_tokens) == (output, reasoning)


def test_langfuse_generations_only() -> None:
    """Spans are part of the log but no requests; a generation keeps its limits and its text."""
    assert parse(json.dumps({**LANGFUSE, "type": "SPAN"}).encode(), None) is None
    found = row(LANGFUSE)
    assert found.body is not None
    assert (found.body["max_tokens"], "temperature" in found.body) == (100, False)
    assert found.recorded_nano == 1_420_000


def test_helicone_prefers_the_reply_in_its_own_words() -> None:
    """Bodies kept as text are read; the reply's usage wins over derived columns."""
    found = row({**HELICONE, "prompt_tokens": 1})
    assert found.body == BODY
    assert found.usage is not None
    assert found.usage.cache_read_tokens == 600
    assert (found.team, found.served) == ("support", "gpt-6.1-sol-2026-09-01")


def test_helicone_columns_alone() -> None:
    """Without bodies the columns count; Anthropic's leave the cached tokens out."""
    bare = {k: v for k, v in HELICONE.items() if not k.endswith("_body")}
    counts = {"prompt_tokens": 100, "prompt_cache_read_tokens": 900, "completion_tokens": 5}
    found = row({**bare, **counts, "provider": "ANTHROPIC", "model": "claude-sonnet-5-5"})
    assert found.body is None
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.cache_read_tokens) == (100, 900)


@pytest.mark.parametrize(
    "raw",
    [b"{broken", b"[1, 2]", b'"text"', b"", b'{"hello": 1}', b'{"messages": []}', b'{"usage": {}}',
     b'{"model": 7, "messages": []}', b"\xff\xfe\x00", b'{"model": "m", "response": {}}'],
)  # fmt: skip
def test_what_is_no_request_says_why_and_quotes_nothing(raw: bytes) -> None:
    """A record that cannot be read raises one error whose message holds none of its text."""
    with pytest.raises(BadRecordError) as caught:
        parse(raw, None)
    assert len(str(caught.value)) < 80


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("2026-10-20T08:00:00Z", 1_792_483_200_000),
        ("2026-10-20 08:00:00", 1_792_483_200_000),
        ("2026-10-20T10:00:00+02:00", 1_792_483_200_000),
        ("2026-10-20 08:00:00 UTC", 1_792_483_200_000),
        (1_792_483_200, 1_792_483_200_000),
        ("1792483200.5", 1_792_483_200_500),
        (1_792_483_200_000, 1_792_483_200_000),
        ("soon", None),
        (7, None),
        (None, None),
        ({}, None),
    ],
)
def test_instants(value: object, ms: int | None) -> None:
    """ISO text, seconds and milliseconds are instants; anything else is none."""
    assert instant(value) == ms


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("@cmd", "'@cmd"),
        ("a\nb\x00c", "a b c"),
        ("x" * 500, "x" * 80),
        ({"secret": 1}, ""),
        (None, ""),
    ],
)
def test_a_label_is_short_and_no_formula(value: object, said: str) -> None:
    """What a report shows of a log cannot run in a spreadsheet and holds no long text."""
    assert label(value) == said


def test_figures_that_are_none() -> None:
    """Counts and costs that are no figures are not known, instead of zero."""
    assert [count(value) for value in ("12", 3.0, 3.5, -1, "many", None, True)][:6] == [
        12, 3, None, None, None, None,
    ]  # fmt: skip
    assert dollars("0.000000001") == 1
    assert dollars("free") is None
    assert dollars({"usd": 1}) is None

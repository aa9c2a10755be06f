"""A record of each kind of log as an ``AuditRow``; which kind it is shows in its keys.

Field names are those of the tools' own exports: OpenAI request bodies, batch files and
request/response pairs; LiteLLM's spend logs; Langfuse's observations; Helicone's requests.
A provider's own usage report is preferred to any figure derived from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from billing.usage import Usage
from gateway.audit_row import (
    AuditRow,
    BadRecordError,
    Record,
    chat_body,
    count,
    counted,
    dollars,
    first,
    instant,
    label,
    loaded,
    mapping,
    reported,
)

FORMATS = ("openai", "litellm", "langfuse", "helicone")
_NOT_CHAT = ("embedding", "moderation", "image", "transcription", "speech", "rerank")
_CACHED = ("cache_read_input_tokens", "input_cached_tokens", "input_cache_read", "cache_read")
_WRITTEN = ("cache_creation_input_tokens", "input_cache_creation", "cache_write")


def detect(record: Record) -> str | None:
    """The kind of log that a record is of, or None."""
    keys = record.keys()
    if keys & {"request_body", "request_created_at", "response_body"}:
        return "helicone"
    if keys & {"spend", "custom_llm_provider", "model_group"} and keys & {
        "startTime", "call_type", "prompt_tokens", "api_key",
    }:  # fmt: skip
        return "litellm"
    if keys & {"usageDetails", "traceId", "trace_id", "providedModelName", "modelParameters"}:
        return "langfuse"
    if keys & {"messages", "body", "request", "response", "prompt", "input", "usage"}:
        return "openai"
    return None


def read(record: Record, kind: str) -> AuditRow | None:
    """A record as a row; None where it is part of a log but no request (a trace's span, say).

    Raises:
        BadRecordError: not a record of this kind.
    """
    return _READERS[kind](record)


def _openai(record: Record) -> AuditRow:
    """A body, ``{request, response}``, or a line of a batch file."""
    request = mapping(first(record, "request", "body", "request_body"))
    response = mapping(first(record, "response", "completion", "output"))
    response = mapping(response.get("body")) or response
    body = request or ({} if "usage" in record and "messages" not in record else record)
    model = first(body, "model") or first(record, "model") or first(response, "model")
    if not isinstance(model, str):
        raise BadRecordError("it names no model")
    usage = reported(response.get("usage")) or reported(record.get("usage"))
    embedding = "embedding" in str(record.get("url", "")) or "embedding" in model
    chat = None if embedding else chat_body(body, model)
    if chat is None and usage is None and not embedding:
        raise BadRecordError("it has neither messages nor usage")
    status = count(mapping(record.get("response")).get("status_code"))
    moment = first(record, "at", "timestamp", "created_at", "created", "time")
    return AuditRow(
        id=label(first(record, "id", "request_id", "custom_id") or response.get("id")),
        at_ms=instant(moment if moment is not None else response.get("created")),
        team=label(first(record, "team", "project", "user")),
        model=label(model),
        served=label(response.get("model") or model),
        provider=label(record.get("provider")),
        body=chat,
        usage=usage,
        recorded_nano=dollars(first(record, "cost_usd", "cost")),
        failed=(status or 200) >= 400 or bool(record.get("error")),
        chat=not embedding,
    )


def _litellm(record: Record) -> AuditRow:
    """A row of LiteLLM's spend logs, as its API, its database or a CSV of it gives it."""
    model = first(record, "model_group", "model")
    if not isinstance(model, str):
        raise BadRecordError("it names no model")
    meta = mapping(record.get("metadata"))
    details = mapping(meta.get("additional_usage_values"))
    usage = reported(meta.get("usage_object"))
    if usage is None:
        cached = first(details, *_CACHED)
        usage = counted(record.get("prompt_tokens"), record.get("completion_tokens"), cached)
    asked = mapping(record.get("proxy_server_request"))
    body = chat_body(asked, model) or chat_body(record.get("messages"), model)
    kind = str(record.get("call_type") or "").lower()
    served = first(record, "model") or model
    status = str(first(record, "status") or meta.get("status") or "").lower()
    return AuditRow(
        id=label(record.get("request_id")),
        at_ms=instant(first(record, "startTime", "start_time")),
        team=label(
            first(meta, "user_api_key_team_alias")
            or first(record, "team_alias", "team_id")
            or first(meta, "user_api_key_team_id", "user_api_key_alias")
        ),
        model=label(model),
        served=label(served),
        provider=label(record.get("custom_llm_provider")),
        body=body,
        usage=usage,
        recorded_nano=dollars(record.get("spend")),
        failed=status in {"failure", "failed", "error"},
        from_cache=str(record.get("cache_hit")).lower() == "true",
        chat=not any(word in kind for word in _NOT_CHAT),
    )


def _langfuse(record: Record) -> AuditRow | None:
    """A generation of Langfuse; other observations are no requests."""
    kind = str(record.get("type") or "GENERATION").upper()
    if kind not in {"GENERATION", "EMBEDDING"}:
        return None
    model = first(record, "model", "providedModelName", "provided_model_name")
    if not isinstance(model, str):
        raise BadRecordError("a generation without a model")
    parameters = {
        name: value
        for name, value in mapping(first(record, "modelParameters", "model_parameters")).items()
        if name in {"max_tokens", "max_completion_tokens", "n"} and isinstance(value, int)
    }
    costs = mapping(first(record, "costDetails", "cost_details"))
    output = mapping(record.get("output"))
    return AuditRow(
        id=label(record.get("id")),
        at_ms=instant(first(record, "startTime", "start_time", "timestamp")),
        team=label(first(record, "projectId", "project_id", "environment")),
        model=label(model),
        served=label(model),
        provider="",
        body=chat_body(record.get("input"), model, parameters) if kind == "GENERATION" else None,
        usage=_langfuse_usage(record) or reported(output.get("usage")),
        recorded_nano=dollars(
            costs.get("total") or first(record, "calculatedTotalCost", "totalCost", "total_cost")
        ),
        failed=str(record.get("level")).upper() == "ERROR",
        chat=kind == "GENERATION",
    )


def _langfuse_usage(record: Record) -> Usage | None:
    """Langfuse's figures: parts stand beside ``input``, unless the total says they are inside."""
    said = mapping(first(record, "usageDetails", "usage_details")) or mapping(record.get("usage"))
    whole = count(first(said, "input", "promptTokens", "prompt_tokens"))
    output = count(first(said, "output", "completionTokens", "completion_tokens"))
    if whole is None and output is None:
        return counted(
            first(record, "promptTokens", "inputTokens", "input_tokens"),
            first(record, "completionTokens", "outputTokens", "output_tokens"),
        )
    whole, output = whole or 0, output or 0
    read, written = count(first(said, *_CACHED)) or 0, count(first(said, *_WRITTEN)) or 0
    thought = count(first(said, "output_reasoning_tokens", "reasoning_tokens", "reasoning")) or 0
    total = count(first(said, "total", "totalTokens", "total_tokens"))
    if total == whole + output and read + written <= whole and thought <= output:
        whole, output = whole - read - written, output - thought
    return Usage(
        input_tokens=whole,
        cache_read_tokens=read,
        cache_write_5m_tokens=written,
        output_tokens=output,
        reasoning_tokens=thought,
    )


def _helicone(record: Record) -> AuditRow:
    """A request of Helicone's export."""
    request, response = mapping(record.get("request_body")), mapping(record.get("response_body"))
    model = first(request, "model") or first(record, "request_model", "model", "response_model")
    if not isinstance(model, str):
        raise BadRecordError("it names no model")
    provider = str(first(record, "provider") or "").lower()
    usage = reported(response.get("usage"))
    if usage is None:
        prompt = count(first(record, "prompt_tokens", "request_tokens"))
        cached = count(first(record, "prompt_cache_read_tokens")) or 0
        if prompt is not None and "anthropic" in provider:
            prompt += cached  # Anthropic's own count leaves cached tokens out
        usage = counted(prompt, first(record, "completion_tokens", "response_tokens"), cached)
    properties = mapping(first(record, "request_properties", "properties"))
    status = count(first(record, "response_status", "status"))
    return AuditRow(
        id=label(record.get("request_id")),
        at_ms=instant(first(record, "request_created_at", "created_at")),
        team=label(first(properties, "team", "Team", "app", "appname")),
        model=label(model),
        served=label(first(response, "model") or first(record, "response_model", "model") or model),
        provider=label(provider),
        body=chat_body(request, model),
        usage=usage,
        recorded_nano=dollars(first(record, "costUSD", "cost_usd", "cost")),
        failed=(status or 200) >= 400,
        from_cache=str(first(record, "cache_enabled", "cached")).lower() == "true"
        and first(record, "cache_reference_id") is not None,
        chat="/embeddings" not in str(record.get("request_path")),
    )


_READERS: Mapping[str, Callable[[Record], AuditRow | None]] = {
    "openai": _openai,
    "litellm": _litellm,
    "langfuse": _langfuse,
    "helicone": _helicone,
}


def parse(raw: bytes, kind: str | None) -> AuditRow | None:
    """One record's bytes as a row.

    Raises:
        BadRecordError: not JSON, not an object, or of no known kind.
    """
    record = loaded(raw.decode("utf-8", "replace").strip())
    if not isinstance(record, Mapping):
        raise BadRecordError("not a JSON object")
    found = kind or detect(record)
    if found is None:
        raise BadRecordError("no log that is known: no messages, no usage, no model")
    return read(record, found)

"""A receipt's outward shape: JSON with money as decimal strings in USD, and back again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.money import nano, usd
from billing.receipt import Attempt, Line, Receipt, iso_ms, ms_of


def to_json(receipt: Receipt) -> dict[str, Any]:
    """The outward shape of docs/reference: money as decimal strings, times as ISO UTC."""
    saved, causes = receipt.saved_nano, receipt.saved_by
    return {
        "request_id": receipt.request_id,
        "at": iso_ms(receipt.at_ms),
        "team": receipt.team,
        "project": receipt.project,
        "key": receipt.key,
        "user": receipt.user,
        "session": receipt.session,
        "task": receipt.task,
        "tags": dict(receipt.tags),
        "requested_model": receipt.requested_model,
        "served_model": receipt.served_model,
        "baseline_model": receipt.baseline_model,
        "tier": receipt.tier,
        "upstream": receipt.upstream,
        "action": receipt.action,
        "arm": receipt.arm,
        "reasons": [dict(reason) for reason in receipt.reasons],
        "candidates": [dict(candidate) for candidate in receipt.candidates],
        "tokens": {
            "original_prompt": receipt.original_prompt_tokens,
            "sent_prompt": receipt.sent_prompt_tokens,
            "cached": receipt.cached_tokens,
            "completion": receipt.completion_tokens,
            "reasoning": receipt.reasoning_tokens,
            "effective": receipt.effective_tokens,
            "billed": receipt.billed_tokens,
        },
        "cost_usd": usd(receipt.cost_nano),
        "gateway_cost_usd": usd(receipt.gateway_cost_nano),
        "baseline_usd": None if receipt.baseline_nano is None else usd(receipt.baseline_nano),
        "baseline_from": receipt.decision.get("tokenmaxxed"),
        "saved_usd": None if saved is None else usd(saved),
        "saved_by": None if causes is None else {k: usd(v) for k, v in causes.items()},
        "waste_usd": usd(receipt.waste_nano),
        "usage_source": receipt.usage_source,
        "lines": [_line_json(line) for line in receipt.lines],
        "attempts": [_attempt_json(one) for one in receipt.attempts],
        "overhead_ms": receipt.overhead_ms,
        "status": receipt.status,
        "policy": receipt.policy_hash,
        "prices": receipt.prices_hash,
        "catalog": receipt.catalog_hash,
        "state": receipt.state,
    }


def from_json(row: Mapping[str, Any]) -> Receipt:
    """The receipt that ``to_json`` rendered, but for cuts, session key and decision.

    Raises:
        KeyError, ValueError: not such a rendering.
    """
    baseline = row["baseline_usd"]
    return Receipt(
        request_id=row["request_id"],
        at_ms=ms_of(row["at"]),
        team=row["team"],
        project=row["project"],
        key=row["key"],
        user=row.get("user"),
        session=row["session"],
        task=row["task"],
        tags=dict(row["tags"]),
        requested_model=row["requested_model"],
        served_model=row["served_model"],
        tier=row["tier"],
        upstream=row["upstream"],
        action=row["action"],
        arm=row["arm"],
        reasons=tuple(row["reasons"]),
        candidates=tuple(row["candidates"]),
        **_tokens_of(row["tokens"]),
        cost_nano=nano(row["cost_usd"]),
        gateway_cost_nano=nano(row["gateway_cost_usd"]),
        baseline_nano=None if baseline is None else nano(baseline),
        baseline_model=row.get("baseline_model", row["requested_model"]),
        waste_nano=nano(row["waste_usd"]),
        usage_source=row["usage_source"],
        lines=tuple(_line_of(line) for line in row["lines"]),
        attempts=tuple(_attempt_of(one) for one in row["attempts"]),
        overhead_ms=row["overhead_ms"],
        status=row["status"],
        policy_hash=row["policy"],
        prices_hash=row["prices"],
        catalog_hash=row["catalog"],
        state=row["state"],
        saved_trim_nano=_cause(row, "trim"),
        saved_model_nano=_cause(row, "model"),
        saved_cache_nano=_cause(row, "cache"),
        saved_retries_nano=_cause(row, "retries"),
    )


def _cause(row: Mapping[str, Any], name: str) -> int | None:
    causes = row.get("saved_by")
    return nano(causes[name]) if causes and name in causes else None


def _line_json(line: Line) -> dict[str, Any]:
    return {
        "attempt": line.attempt,
        "component": line.component,
        "quantity": line.quantity,
        "unit_price_usd_per_mtok": line.rate,
        "amount_usd": usd(line.amount_nano),
        "price_book": line.price_book,
        "rule": line.rule,
    }


def _line_of(row: Mapping[str, Any]) -> Line:
    return Line(
        row["attempt"],
        row["component"],
        row["quantity"],
        row["unit_price_usd_per_mtok"],
        nano(row["amount_usd"]),
        row["price_book"],
        row["rule"],
    )


def _attempt_json(attempt: Attempt) -> dict[str, Any]:
    return {
        "id": attempt.id,
        "model": attempt.model,
        "upstream": attempt.upstream,
        "status": attempt.status,
        "outcome": attempt.outcome,
        "state": attempt.state,
        "ttft_ms": attempt.ttft_ms,
        "duration_ms": attempt.duration_ms,
        "provider_id": attempt.provider_id,
    }


def _attempt_of(row: Mapping[str, Any]) -> Attempt:
    return Attempt(
        row["id"],
        row["model"],
        row.get("upstream", ""),
        row["status"],
        row["outcome"],
        row["ttft_ms"],
        row["duration_ms"],
        row.get("provider_id"),
        state=row.get("state", "settled"),
    )


def _tokens_of(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("original_prompt", "sent_prompt", "cached", "completion", "reasoning", "effective")
    return {f"{name}_tokens": row[name] for name in (*names, "billed")}

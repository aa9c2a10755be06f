"""A dry run as JSON: measurement, candidates, plan, what would be sent and cut."""

from __future__ import annotations

from typing import Any

import orjson

from billing.money import usd
from billing.untouched import MIN_ANSWERS, MIN_RETRIES, Norms, class_of
from gateway.actions import action_of, candidate_json, cuts_json
from gateway.baseline import norm_of
from gateway.exchange import Exchange, Parties, Prepared
from gateway.snapshot import Snapshot
from gateway.trail import findings_json


def conversation_json(prepared: Prepared) -> dict[str, Any] | None:
    """What is remembered of the conversation; None where nothing can be (a file)."""
    recalled = prepared.recalled
    if recalled is None:
        return None
    thread, before = recalled.thread, recalled.before
    return {
        "request": thread.number,
        "answered_before_by": before.model if before is not None else None,
        "warm_tokens": dict(recalled.warm),
        "requests_expected": thread.turns_left,
        "floor": thread.floor,
        "easy_turns": thread.easy,
        "switched_off": dict(thread.off),
        "labels": {"small": list(thread.small), "large": list(thread.large)},
    }


def untouched_json(norms: Norms, prepared: Prepared) -> dict[str, Any]:
    """What untouched traffic says of the baseline model; null where too little was seen."""
    norm = norm_of(norms, prepared)
    return {
        "class": class_of(prepared.decision),
        "reasoning_tokens": norm.reasoning_tokens,
        "answers": norm.answers,
        "answers_needed": MIN_ANSWERS,
        "retry_rate": str(norm.retry_rate) if norm.retries_of >= MIN_RETRIES else None,
        "retries_of": norm.retries_of,
        "retries_needed": MIN_RETRIES,
    }


def explained(
    snapshot: Snapshot, ex: Exchange, took_ms: float, norms: Norms | None = None
) -> dict[str, Any]:
    """The outward shape of `/weir/explain` (contract.md names it)."""
    prepared = Parties.of(ex).prepared
    measurement, plan, score = prepared.measurement, prepared.plan, prepared.complexity
    baseline = plan.baseline_nano
    return {
        "measurement": {
            "prompt_tokens": measurement.prompt_tokens,
            "by_role": dict(measurement.by_role),
            "tools_tokens": measurement.tools_tokens,
            "media_tokens": measurement.media_tokens,
            "document_tokens": measurement.document_tokens,
            "tokenizer": measurement.tokenizer,
            "exact": measurement.exact,
            "small_is_enough": round(score.small_is_enough, 4),
            "gain": round(score.gain, 4),
            "need": prepared.need.kind.value,
            "need_confidence": round(prepared.need.confidence, 4),
            "features": {name: round(value, 4) for name, value in score.features.items()},
            "segments": measurement.segments,
        },
        "candidates": [candidate_json(candidate) for candidate in plan.candidates],
        "plan": {
            "model": prepared.candidate.model,
            "tier": prepared.candidate.tier.value,
            "action": action_of(prepared),
            "reasons": list(prepared.reasons),
            "fallbacks": list(dict.fromkeys(c.model for c in plan.fallbacks)),
            "max_output_tokens": plan.max_output_tokens,
            "arm": ex.arm,
            "would": candidate_json(plan.would) if plan.would else None,
        },
        "conversation": conversation_json(prepared),
        "baseline": {
            "model": plan.baseline_model,
            "expected_usd": usd(baseline) if baseline is not None else None,
            "untouched": untouched_json(norms or Norms(), prepared),
        },
        "would_send": orjson.loads(prepared.outbound),
        "cuts": list(cuts_json(prepared.fitted)),
        "hidden": findings_json(prepared.findings),
        "sent_prompt_tokens": (
            prepared.fitted.prompt_tokens if prepared.fitted else measurement.prompt_tokens
        ),
        "policy": snapshot.settings.hash,
        "took_ms": round(took_ms, 3),
    }

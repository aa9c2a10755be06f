"""A decision in the outward words: action, headers, and the JSON of receipts and explain."""

from __future__ import annotations

from collections.abc import Mapping

from billing.money import usd
from compressor.recipe import Fitted, Way
from gateway.exchange import Exchange, Prepared
from router.plan import Candidate, Plan


def action_of(prepared: Prepared) -> str:
    """``pass``, or what was done, joined by ``+`` (``route+trim``)."""
    done = []
    if prepared.candidate.model != prepared.plan.baseline_model:
        done.append("route")
    if prepared.fitted is not None and prepared.fitted.way is not Way.WHOLE:
        done.append(prepared.fitted.way.value)
    return "+".join(done) or "pass"


def reason_codes(prepared: Prepared) -> str:
    """The reasons' codes, in order, for a header."""
    return ",".join(str(reason["code"]) for reason in prepared.reasons)


def candidate_json(candidate: Candidate) -> dict[str, object]:
    """One candidate as explain shows it."""
    nano = candidate.expected_nano
    return {
        "model": candidate.model,
        "tier": candidate.tier.value,
        "way": candidate.way.value,
        "prompt_tokens": candidate.prompt_tokens,
        "expected_usd": usd(nano) if nano is not None else None,
        "expected_ms": candidate.expected_ms,
        "ok": candidate.ok,
        "why_not": candidate.why_not,
    }


def candidates_json(plan: Plan) -> tuple[Mapping[str, object], ...]:
    """The candidates as a receipt keeps them: what was rejected, and why."""
    return tuple(
        {
            "model": c.model,
            "way": c.way.value,
            "expected_usd": usd(c.expected_nano) if c.expected_nano is not None else None,
            "rejected": c.why_not,
        }
        for c in plan.candidates
    )


def cuts_json(fitted: Fitted | None) -> tuple[Mapping[str, object], ...]:
    """What was dropped or rewritten: places, sizes and hashes, never texts."""
    if fitted is None:
        return ()
    return tuple(
        {
            "message": cut.message,
            "segment": cut.segment,
            "path": list(cut.path),
            "start": cut.start,
            "end": cut.end,
            "tokens": cut.tokens,
            "way": cut.way.value,
            "score": round(cut.score, 4),
            "sha256": cut.sha256,
        }
        for cut in fitted.cuts
    )


def weir_headers(ex: Exchange, prepared: Prepared, budget: str | None) -> list[tuple[bytes, bytes]]:
    """The response headers that are known before the body."""
    sent = prepared.fitted.prompt_tokens if prepared.fitted else prepared.measurement.prompt_tokens
    rows = [
        (b"x-weir-request-id", ex.request_id),
        (b"x-weir-action", action_of(prepared)),
        (b"x-weir-model", prepared.candidate.model),
        (b"x-weir-tier", prepared.candidate.tier.value),
        (b"x-weir-reason", reason_codes(prepared)),
        (b"x-weir-arm", ex.arm),
        (b"x-weir-prompt-tokens", f"{sent}/{prepared.measurement.prompt_tokens}"),
        (b"x-weir-overhead-ms", f"{ex.before_upstream_ms:.2f}"),
    ]
    if budget:
        rows.append((b"x-weir-budget", budget))
    if ex.settled is not None:
        rows.append((b"x-weir-cost-usd", usd(ex.settled.cost_nano)))
        if ex.settled.baseline_nano is not None:
            rows.append((b"x-weir-baseline-usd", usd(ex.settled.baseline_nano)))
    return [(name, value.encode("latin-1", "replace")) for name, value in rows]

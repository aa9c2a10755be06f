"""From exchange to receipt: what was used, what it cost, what it would have cost.

``finish`` runs once for every hold, on success, refusal, cut, time-out and cancellation.
What is not known is never free: a missing usage report is estimated from what was sent
and received, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from billing.errors import PriceMissing
from billing.ledger import Hold
from billing.prices import REGION_FIELD, UNPRICED, Price
from billing.receipt import HELD, Attempt, Line, Receipt, held_line
from billing.split import Split
from billing.usage import Usage, estimated
from gateway.actions import action_of, candidates_json, cuts_json
from gateway.baseline import asked_price, baseline_of
from gateway.causes import Billed, causes_of
from gateway.errors import GatewayError, row_for
from gateway.exchange import Exchange, Parties, Prepared
from gateway.replay_record import choice_row
from gateway.sessions import Turn
from gateway.shell import Shell
from gateway.snapshot import Snapshot
from router.catalog import effective

# Sent, and no word of what became of it.
_UNKNOWN_END = frozenset({"timeout", "cut"})


def finish(shell: Shell, snapshot: Snapshot, ex: Exchange, hold: Hold) -> Receipt:
    """Settle the hold once and give the receipt; later calls give the same one."""
    if ex.settled is not None:
        return ex.settled
    receipt = _receipt(shell, snapshot, ex, hold)
    ex.settled = receipt
    shell.ledger.settle(hold, receipt)
    shell.telemetry.settled(receipt, time.perf_counter() - ex.started)
    if receipt.lines and _unpriced(receipt.lines[0]):
        shell.telemetry.unpriced.labels(receipt.served_model).inc()
    for key in ex.reply.usage.unknown if ex.reply.usage else ():
        shell.telemetry.unknown_usage.labels(key).inc()
    if receipt.status == 200:
        turn = Turn(receipt.served_model, receipt.sent_prompt_tokens, ex.at_ms)
        shell.sessions.remember(ex.session_key, turn)
    return receipt


def _unpriced(line: Line) -> bool:
    """Whether a line has no known price: it is charged at a ceiling, or at its hold."""
    return line.rule.startswith(UNPRICED) or line.component == HELD


def status_of(error: GatewayError) -> int:
    """The status a failed request is booked under."""
    return row_for(error).status


def answered(ex: Exchange) -> bool:
    """Whether the client got an answer that it can use: whole, and no error."""
    return ex.status == 200 and ex.reply.outcome == "ok"


def used(ex: Exchange, prepared: Prepared, snapshot: Snapshot) -> Usage | None:
    """What the provider metered, or an estimate; None when nothing can have been billed."""
    reply = ex.reply
    if reply.usage is not None and reply.metered:
        return reply.usage
    sent = sent_tokens(prepared)
    if reply.text_pieces or (ex.status == 200 and reply.completed):
        counter = snapshot.gauge(prepared.candidate.model).counter
        text = b"".join(reply.text_pieces).decode("utf-8", "replace")
        if reply.usage is not None:  # cut before the completion was counted: the prompt was
            return replace(reply.usage, output_tokens=counter.count(text), source="estimated")
        return estimated(sent, counter.count(text))
    if reply.outcome == "cancelled" or (ex.attempts and ex.attempts[-1].outcome in _UNKNOWN_END):
        # Sent, and no word of what became of it: as much as the hold allowed for.
        choices = Parties.of(ex).request.facts.choices
        return estimated(sent, prepared.plan.max_output_tokens * choices)
    return None


def sent_tokens(prepared: Prepared) -> int:
    """Prompt tokens as sent, by the counter of the model asked for."""
    if prepared.fitted is not None:
        return prepared.fitted.prompt_tokens
    return prepared.measurement.prompt_tokens


def _receipt(shell: Shell, snapshot: Snapshot, ex: Exchange, hold: Hold) -> Receipt:
    parties = Parties.of(ex)
    prepared = parties.prepared
    usage = used(ex, prepared, snapshot)
    attempt = ex.attempts[-1].id if ex.attempts else ex.request_id
    lines = _lines(snapshot, ex, prepared, usage, attempt, hold) if usage else ()
    cost = sum(line.amount_nano for line in lines)
    facts = usage or Usage(source="none")
    model = prepared.candidate.model
    price = _known_price(snapshot, ex, model)
    asked = asked_price(snapshot, ex, parties, price)
    baseline = baseline_of(shell.shadow, snapshot, ex, facts, asked)
    causes = causes_of(ex, baseline, Billed(facts, lines, attempt, price, asked, cost, 0))
    delivered = facts.completion_tokens - facts.reasoning_tokens
    reach = effective(snapshot.cards[model], prepared.need)
    prompt = facts.prompt_tokens or sent_tokens(prepared)
    return Receipt(
        **_asked(ex, parties),
        served_model=model,
        tier=prepared.candidate.tier.value,
        upstream=snapshot.settings.models[model].upstream,
        action=action_of(prepared),
        arm=ex.arm,
        reasons=(*prepared.reasons, *_remarks(ex, lines)),
        candidates=candidates_json(prepared.plan),
        original_prompt_tokens=prepared.measurement.prompt_tokens,
        sent_prompt_tokens=prompt,
        cached_tokens=facts.cache_read_tokens,
        completion_tokens=facts.completion_tokens,
        reasoning_tokens=facts.reasoning_tokens,
        effective_tokens=min(prompt, reach) + delivered if answered(ex) else 0,
        billed_tokens=facts.billed_tokens,
        cost_nano=cost,
        gateway_cost_nano=0,
        baseline_nano=baseline.cost_nano,
        baseline_model=prepared.plan.baseline_model,
        waste_nano=_waste(snapshot, ex, prepared, usage, cost, reach),
        usage_source=facts.source,
        lines=lines,
        attempts=tuple(_with_usage(ex)),
        overhead_ms=ex.before_upstream_ms,
        status=ex.status,
        **_hashes(snapshot),
        cuts=cuts_json(prepared.fitted),
        session_key=ex.session_key,
        decision=_decision(ex, prepared),
        **_saved(causes),
    )


def _saved(causes: Split | None) -> dict[str, Any]:
    """The saving by cause; all None where there is no baseline."""
    names = ("trim_nano", "model_nano", "cache_nano", "retries_nano")
    return {f"saved_{name}": getattr(causes, name, None) for name in names}


def _hashes(snapshot: Snapshot) -> dict[str, Any]:
    """What the request was decided and priced by."""
    return {
        "policy_hash": snapshot.settings.hash,
        "prices_hash": snapshot.prices.hash,
        "catalog_hash": snapshot.catalog_hash,
    }


def _asked(ex: Exchange, parties: Parties) -> dict[str, Any]:
    """The fields that say who asked for what, and when."""
    key = parties.caller.key
    return {
        "request_id": ex.request_id,
        "at_ms": ex.at_ms,
        "team": key.team,
        "project": key.project,
        "key": key.name,
        "user": parties.caller.user,
        "session": ex.headers.session,
        "task": ex.headers.task,
        "tags": ex.headers.tags,
        "requested_model": parties.request.facts.requested_model,
    }


def _remarks(ex: Exchange, lines: tuple[Line, ...]) -> tuple[Mapping[str, object], ...]:
    """What is to be said of how a request was priced, and where it was served."""
    found: list[Mapping[str, object]] = []
    if lines and _unpriced(lines[0]):
        found.append({"code": "unpriced", "rule": lines[0].rule})
    wanted = Parties.of(ex).caller.key.region
    served = (ex.reply.raw_usage or {}).get(REGION_FIELD)
    if wanted is not None and served and str(served).lower() != wanted.lower():
        found.append({"code": "region_differs", "wanted": wanted, "served": str(served)})
    return tuple(found)


def _decision(ex: Exchange, prepared: Prepared) -> Mapping[str, object]:
    """The record of the decision, with what ran where that was not the choice.

    Of a holdout also what the client itself allowed.
    """
    more: dict[str, object] = {}
    if prepared.candidate is not prepared.plan.choice:
        more["ran"] = choice_row(prepared.candidate)
    if ex.arm == "holdout":
        more["asked"] = {"mode": ex.headers.mode, "fit": ex.headers.fit}
    return {**prepared.decision, **more} if more else prepared.decision


def _with_usage(ex: Exchange) -> list[Attempt]:
    attempts = list(ex.attempts)
    if attempts:
        outcome = ex.reply.outcome if attempts[-1].outcome == "ok" else attempts[-1].outcome
        attempts[-1] = replace(
            attempts[-1],
            outcome=outcome,
            usage=ex.reply.raw_usage,
            provider_id=ex.reply.provider_id,
        )
    return attempts


def served_price(snapshot: Snapshot, ex: Exchange, model: str) -> Price:
    """The price of what was served: its model and service tier as the reply names them.

    Raises:
        PriceMissing: a service tier that the book does not know for this model.
    """
    tier, served = ex.reply.service_tier, ex.reply.response_model
    region = str(geo) if (geo := (ex.reply.raw_usage or {}).get(REGION_FIELD)) else None
    entry = snapshot.settings.models[model]
    if served and served != (entry.model or model) and entry.price is None and not entry.free:
        try:
            found = snapshot.price_of(model, served, ex.at_ms, tier, region)
            if not found.unpriced:
                return found
        except PriceMissing:
            pass  # a name that only the provider knows; what was asked for prices it
    return snapshot.price(model, ex.at_ms, tier, region)


def _known_price(snapshot: Snapshot, ex: Exchange, model: str) -> Price | None:
    try:
        return served_price(snapshot, ex, model)
    except PriceMissing:
        return None


def _lines(
    snapshot: Snapshot, ex: Exchange, prepared: Prepared, usage: Usage, attempt: str, hold: Hold
) -> tuple[Line, ...]:
    try:
        return served_price(snapshot, ex, prepared.candidate.model).lines(usage, attempt)
    except PriceMissing as missing:
        # Served in a way that has no price (an unknown tier, say): the hold stands, visibly.
        return (held_line(attempt, hold.amount_nano, snapshot.prices.hash, str(missing)),)


def _waste(
    snapshot: Snapshot, ex: Exchange, prepared: Prepared, usage: Usage | None, cost: int, reach: int
) -> int:
    """What was paid beyond the accepted answer with its prompt cut at the effective context."""
    if usage is None or not answered(ex):
        return cost
    excess = usage.prompt_tokens - reach
    if excess <= 0:
        return 0
    try:
        price = served_price(snapshot, ex, prepared.candidate.model)
        cached = min(usage.cache_read_tokens, reach)
        needed = replace(
            usage,
            input_tokens=reach - cached,
            cache_read_tokens=cached,
            cache_write_5m_tokens=0,
            cache_write_30m_tokens=0,
            cache_write_1h_tokens=0,
            cache_write_12h_tokens=0,
        )
        return max(0, cost - price.cost(needed))
    except PriceMissing:
        return 0

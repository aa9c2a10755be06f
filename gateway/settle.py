"""From exchange to receipt: what was used, what it cost, what it would have cost.

``finish`` runs once for every hold, on success, refusal, cut, time-out and cancellation.
What is not known is never free: a missing usage report is estimated from what was sent
and received, and says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from billing.counterfactual import Tokenmaxxed
from billing.errors import PriceMissing
from billing.ledger import Hold
from billing.prices import REGION_FIELD, UNPRICED
from billing.receipt import HELD, Line, Receipt
from billing.recovery import orphan
from billing.split import Split
from gateway.actions import action_of, candidates_json, cuts_json
from gateway.baseline import Memory, asked_price, baseline_of
from gateway.causes import Billed, causes_of
from gateway.charges import bill_of, known_price, list_rates, sent_tokens, served_price
from gateway.errors import GatewayError, row_for
from gateway.exchange import Charge, Exchange, Parties, Prepared
from gateway.recall_settle import labels_of, remember
from gateway.replay_record import choice_row
from gateway.shell import Shell
from gateway.snapshot import Snapshot
from gateway.spans import Ended
from router.catalog import effective


def finish(shell: Shell, snapshot: Snapshot, ex: Exchange, hold: Hold) -> Receipt:
    """Settle the hold once and give the receipt; later calls give the same one."""
    if ex.settled is not None:
        return ex.settled
    receipt = _receipt(shell, snapshot, ex)
    ex.settled = receipt
    shell.ledger.settle(hold, receipt)
    seconds = time.perf_counter() - ex.started
    shell.telemetry.settled(receipt, seconds)
    if shell.telemetry.spans is not None:
        ended = Ended(ex.wire, seconds, ex.reply.finish_reason, ex.forwarded)
        shell.telemetry.spans.told(receipt, ended)
    if any(_unpriced(line) for line in receipt.lines):
        shell.telemetry.unpriced.labels(receipt.served_model).inc()
    for key in ex.reply.usage.unknown if ex.reply.usage else ():
        shell.telemetry.unknown(key)
    remember(shell, snapshot, ex, receipt)
    if receipt.status == 200:
        team, model = receipt.team, receipt.requested_model
        gauge = snapshot.gauge(model)
        shell.ahead.after(ex, lambda: shell.kit_for(snapshot, team, model), gauge)
    return receipt


def abandon(shell: Shell, snapshot: Snapshot, ex: Exchange, error: BaseException) -> None:
    """A request that ends before its hold: what the gateway spent on it is billed all the same."""
    own = ex.own
    if own is None:
        return
    lines = own.ended()
    if own.hold is None:
        return  # nothing that costs money was asked for
    cost = sum(line.amount_nano for line in lines)
    left = isinstance(error, asyncio.CancelledError)
    receipt = replace(
        orphan(own.wanted, 0, own.hold.at_ms, "unserved"),
        lines=lines,
        attempts=own.attempts,
        cost_nano=cost,
        gateway_cost_nano=cost,
        waste_nano=cost,
        usage_source="estimated" if own.uncertain else "provider",
        status=499 if left else row_for(error).status,
        state="settled",
        **_hashes(snapshot),
    )
    shell.ledger.settle(own.hold, receipt)


def _unpriced(line: Line) -> bool:
    """Whether a line has no known price: it is charged at a ceiling, or at its hold."""
    return line.rule.startswith(UNPRICED) or line.component == HELD


def status_of(error: GatewayError) -> int:
    """The status a failed request is booked under."""
    return row_for(error).status


def answered(ex: Exchange) -> bool:
    """Whether the client got an answer that it can use: whole, and no error."""
    return ex.status == 200 and ex.reply.outcome == "ok"


def _receipt(shell: Shell, snapshot: Snapshot, ex: Exchange) -> Receipt:
    parties = Parties.of(ex)
    prepared = parties.prepared
    bill = bill_of(snapshot, ex)
    facts, lines, cost = bill.usage, bill.lines, bill.cost_nano
    attempt = bill.last.attempt.id if bill.last.attempt else ex.request_id
    model = prepared.candidate.model
    price = known_price(snapshot, ex, model)
    asked = asked_price(snapshot, ex, parties, price)
    baseline = baseline_of(Memory(shell.shadow, shell.norms), snapshot, ex, facts, asked)
    causes = causes_of(
        ex, baseline, Billed(facts, lines, attempt, price, asked, cost, bill.own_nano)
    )
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
        billed_tokens=bill.billed_tokens,
        cost_nano=cost,
        gateway_cost_nano=bill.own_nano,
        baseline_nano=baseline.cost_nano,
        baseline_model=prepared.plan.baseline_model,
        waste_nano=_waste(snapshot, ex, bill.last, cost, reach),
        usage_source=bill.source,
        lines=lines,
        attempts=bill.attempts,
        overhead_ms=ex.before_upstream_ms,
        status=ex.status,
        **_hashes(snapshot),
        cuts=cuts_json(prepared.fitted),
        session_key=ex.session_key,
        decision=_decision(ex, prepared, baseline, list_rates(snapshot, ex, bill)),
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
    rules = [line.rule for line in lines if _unpriced(line)]
    found: list[Mapping[str, object]] = [{"code": "unpriced", "rule": rule} for rule in rules[:1]]
    wanted = Parties.of(ex).caller.key.region
    served = (ex.reply.raw_usage or {}).get(REGION_FIELD)
    if wanted is not None and served and str(served).lower() != wanted.lower():
        found.append({"code": "region_differs", "wanted": wanted, "served": str(served)})
    return tuple(found)


def _decision(
    ex: Exchange, prepared: Prepared, baseline: Tokenmaxxed, listed: Mapping[str, object]
) -> Mapping[str, object]:
    """The record of the decision, with what ran where that was not the choice.

    And what tokenmaxxed was priced from, list prices where others were charged, what the
    request says of answers; of a holdout also what the client itself allowed.
    """
    more: dict[str, object] = {}
    held = float(Parties.of(ex).caller.key.holdout)
    if held:
        more["p"] = held  # what evaluating another policy needs: the chance of passing untouched
    if ex.status == 200 and baseline.cost_nano is not None:
        more["tokenmaxxed"] = baseline.record()
    if listed:
        more["list"] = listed
    if prepared.candidate is not prepared.plan.choice:
        more["ran"] = choice_row(prepared.candidate)
    if ex.status == 200 and prepared.recalled is not None:
        ex.labels = tuple(labels_of(ex, prepared.recalled))
        if ex.labels:
            more["labels"] = [[one.signal, one.size, *score] for one, score in ex.labels]
    if ex.arm == "holdout":
        more["asked"] = {"mode": ex.headers.mode, "fit": ex.headers.fit}
    return {**prepared.decision, **more} if more else prepared.decision


def _waste(snapshot: Snapshot, ex: Exchange, last: Charge, cost: int, reach: int) -> int:
    """What was paid beyond the accepted answer with its prompt cut at the effective context."""
    usage = last.usage
    if usage is None or not answered(ex):
        return cost
    if usage.prompt_tokens <= reach:
        return cost - last.cost_nano
    try:
        price = served_price(snapshot, ex, Parties.of(ex).prepared.candidate.model)
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
        return cost - last.cost_nano

"""A settled request as the event that memory keeps, and the labels that it gives.

What the provider reported of its cache, who answered in which way, what it saved; and what
its coming says of the answer before it: the same again, asked again, or gone on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any

import orjson

from billing.receipt import Receipt
from billing.shadow_cache import Prefix
from compressor.conversation import Conversation
from compressor.recipe import Way
from gateway.exchange import Exchange, Parties, Prepared
from gateway.recall import owner_of
from gateway.sessions import Recalled, Turn
from gateway.shell import Shell
from gateway.snapshot import Snapshot
from gateway.wire.protocol import Wire
from router.gate import REWRITE, SWITCH
from router.learning import LARGE, SMALL, Label, alike
from router.plan import Candidate, Tier
from router.warmth import NOTHING, names_of

log = logging.getLogger("weir")
SOON_MS = 600_000  # a question asked again within it was not answered well
ALIKE = 0.6


def remember(shell: Shell, snapshot: Snapshot, ex: Exchange, receipt: Receipt) -> None:
    """An answered request is remembered here, and told to those who share the work."""
    recalled = Parties.of(ex).prepared.recalled
    if recalled is None or receipt.status != 200:
        return
    events = [
        settled_event(snapshot, ex, receipt, recalled),
        *({"label": astuple(label)} for label, _ in ex.labels),
    ]
    for event in events:
        take_in(shell, event)


def take_in(shell: Shell, event: Mapping[str, Any]) -> None:
    """One event is remembered here, counted where it switches something off, and told."""
    for lever in shell.recall.apply(event):
        shell.telemetry.gate_off.labels(lever).inc()
        if lever == "drift":
            _drifted(shell.snapshot)
    if shell.feed is not None:
        shell.feed.tell(event)


def _drifted(snapshot: Snapshot) -> None:
    """It is said which weights promised too much, and how to take them back."""
    own = snapshot.settings.weights
    blamed = "the shipped weights" if own is None else f"{own.name} (remove `routing.weights`)"
    log.warning("small models do worse than %s promised; set aside for a day", blamed)


def settled_event(
    snapshot: Snapshot, ex: Exchange, receipt: Receipt, recalled: Recalled
) -> dict[str, Any]:
    """What is to be remembered of one answered request; JSON-able, without any text."""
    prepared = Parties.of(ex).prepared
    model, before, asker = receipt.served_model, recalled.before, recalled.asker
    way = prepared.fitted.way.value if prepared.fitted is not None else Way.WHOLE.value
    owner = owner_of(snapshot, model)
    turn = Turn(
        model=model,
        sent_tokens=_counted(prepared),
        at_ms=ex.at_ms,
        tier=receipt.tier,
        way=way,
        number=recalled.thread.number,
        easy=recalled.easy,
        wrote=recalled.wrote,
        root=recalled.root,
        task=recalled.task,
        promised=_promised(prepared, receipt.tier),
        score=shipped_score(prepared),
        asked=receipt.requested_model,
    )
    least = snapshot.cards[model].cache_min_tokens or 1_024
    sent = [p for p in _sent_prefixes(prepared) if p.tokens >= least // 2]
    return {
        "key": asker.key,
        "team": asker.team,
        "session": asker.session_key,
        "name": recalled.name,
        "at": ex.at_ms,
        "turn": turn.row(),
        "gap": ex.at_ms - before.at_ms if before is not None else None,
        "rose": receipt.tier != Tier.SMALL.value if _after_small(before) else None,
        "owner": owner,
        "sent": names_of(owner, sent),
        "report": _report(ex, receipt, prepared, recalled),
        "goal": receipt.task or receipt.session,
        "lever": lever_of(receipt, way),
        "baseline": receipt.baseline_nano if receipt.arm == "routed" else None,
        "cost": receipt.cost_nano,
        "up": _went_up(ex, receipt, prepared),
        "tried": _tried(receipt, prepared),
    }


def _after_small(before: Turn | None) -> bool:
    return before is not None and before.tier == Tier.SMALL.value


def lever_of(receipt: Receipt, way: str) -> str:
    """What was changed about a request: its prompt, its model, or nothing ("")."""
    if way != Way.WHOLE.value:
        return REWRITE
    return SWITCH if receipt.served_model != receipt.baseline_model else ""


def _counted(prepared: Prepared) -> int:
    if prepared.fitted is not None:
        return prepared.fitted.prompt_tokens
    return prepared.measurement.prompt_tokens


def _report(
    ex: Exchange, receipt: Receipt, prepared: Prepared, recalled: Recalled
) -> tuple[int, int, int, int, int, int] | None:
    """What the provider's usage says of its cache; None where it is an estimate."""
    usage = ex.reply.usage
    if usage is None or usage.source != "provider":
        return None
    found = recalled.found.get(receipt.served_model, NOTHING)
    counted = _counted(prepared)
    if prepared.fitted is not None and prepared.fitted.way is not Way.WHOLE:
        found = NOTHING  # what was found is of the prompt as received, not as sent
    return (
        found.tokens, found.age_ms, counted, usage.prompt_tokens, usage.cache_read_tokens,
        usage.cache_write_tokens,
    )  # fmt: skip


def shipped_score(prepared: Prepared) -> tuple[float, float, float]:
    """What the shipped weights said: small, gain, enough; labels train corrections of that."""
    score = prepared.complexity
    small, gain, enough = score.shipped or (score.p_small, score.gain, score.small_is_enough)
    return round(small, 4), round(gain, 4), round(enough, 4)


def _promised(prepared: Prepared, tier: str) -> float:
    score = prepared.complexity
    return round(score.p_small if tier == Tier.SMALL.value else score.p_large, 4)


def _went_up(ex: Exchange, receipt: Receipt, prepared: Prepared) -> int:
    """What ``auto`` has cost beyond the cheapest small model that could have served, nano-USD."""
    if Parties.of(ex).request.facts.requested_model != "auto" or receipt.tier == Tier.SMALL.value:
        return 0
    costs = [c.expected_nano for c in prepared.plan.candidates if _plain_small(c)]
    known = [cost for cost in costs if cost is not None]
    return max(0, receipt.cost_nano - min(known)) if known else 0


def _tried(receipt: Receipt, prepared: Prepared) -> int:
    """What exploring has put at stake: what it cost more, or an answer that may be worthless."""
    plan = prepared.plan
    if plan.chance == 1 or not any(reason.code == "explored" for reason in plan.reasons):
        return 0
    if plan.choice.tier is Tier.SMALL:
        return receipt.cost_nano
    instead = plan.fallbacks[0].expected_nano if plan.fallbacks else None
    return max(0, receipt.cost_nano - (instead or 0))


def _plain_small(candidate: Candidate) -> bool:
    return candidate.tier is Tier.SMALL and candidate.way is Way.WHOLE


def labels_of(ex: Exchange, recalled: Recalled) -> Iterator[tuple[Label, tuple[float, ...]]]:
    """What this request says of answers, the one before and its own, each with its score."""
    for turn, signal in _signals(ex, recalled):
        yield _label(recalled, turn, signal), tuple(turn.score)


def _signals(ex: Exchange, recalled: Recalled) -> Iterator[tuple[Turn, str]]:
    if recalled.again is not None:
        yield recalled.again, "regenerated"
    elif recalled.before is not None:
        signal = _signal(ex, recalled, recalled.before)
        if signal is not None:
            yield recalled.before, signal
    prepared, facts = Parties.of(ex).prepared, Parties.of(ex).request.facts
    tier = prepared.candidate.tier.value
    own = Turn(
        prepared.candidate.model, 0, ex.at_ms, tier=tier, task=recalled.task,
        promised=_promised(prepared, tier), score=shipped_score(prepared),
    )  # fmt: skip
    if ex.escalated is not None:
        weak = replace(own, model=ex.escalated.model, tier=ex.escalated.tier.value)
        yield weak, "escalated"
    if ex.reply.schema_failed:
        yield own, "schema_failed"
    elif ex.reply.finish_reason in ("length", "max_tokens") and facts.max_output_tokens is None:
        yield own, "cut_short"


def _signal(ex: Exchange, recalled: Recalled, before: Turn) -> str | None:
    request = Parties.of(ex).request
    if request.facts.in_tool_loop:
        return None
    first, second = _last_questions(request.conversation)
    soon = ex.at_ms - before.at_ms < SOON_MS
    if soon and first and alike(first, second) >= ALIKE:
        return "asked_again"
    return "went_on"


def _last_questions(conversation: Conversation) -> tuple[str, str]:
    """The human turn before the last one, and the last one."""
    human = [m.text for m in conversation.messages if m.role == "user" and m.text]
    return (human[-2], human[-1]) if len(human) > 1 else ("", "")


def _label(recalled: Recalled, turn: Turn, signal: str) -> Label:
    size = SMALL if turn.tier == Tier.SMALL.value else LARGE
    asker = recalled.asker
    return Label(turn.task, size, signal, asker.key, turn.promised, asker.at_ms)


def is_json(wire: Wire, body: bytes) -> bool:
    """Whether a whole answer's text is the JSON that was asked for; a tool's call is another."""
    text = wire.text(orjson.loads(body)).strip()
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return not text
    return True


def _sent_prefixes(prepared: Prepared) -> Sequence[Prefix]:
    """The prefixes of what went upstream: the prompt's own, or those that a fit left."""
    fitted = prepared.fitted
    if fitted is None or not fitted.edits:
        return prepared.prefixes
    return prepared.sent_prefixes

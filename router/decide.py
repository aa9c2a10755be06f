"""Which model answers, with how much of the prompt, and why.

Candidates are models times ways of fitting. Hard rules strike out, prices compare, and the
request as asked stands unless another candidate earns more than the margin. A milder way
yields to a stronger one only for a further margin. Compared is what the rest of the
conversation is expected to cost, since a change of model or prompt loses a warm cache now and
may win it back later. Nothing chosen is dearer than the request as asked, unless its
conversation is expected to earn that back twice over, and as long as that can be served at all.

Pure: the same situation gives the same plan, today and in a replay.
"""

from __future__ import annotations

from collections.abc import Sequence

from billing.money import usd
from compressor.recipe import Way
from router.candidates import can_serve, enumerate_candidates
from router.errors import NoCandidate
from router.explain import reasons_for, why_not_taken
from router.fitting import fits_window, needs_longer
from router.plan import Candidate, Plan, Tier
from router.situation import Asked, ModelOption, Situation, asked_for

FEWEST_TURNS = 2.0  # expected requests, below which nothing is paid in advance

__all__ = ["ModelOption", "Situation", "decide"]


def decide(situation: Situation) -> Plan:
    """The plan for one request.

    Raises:
        NoCandidate: nothing can serve it; ``unpriced`` when only a price is missing.
        UnknownModel: the requested name is not configured.
    """
    asked = asked_for(situation)
    candidates = enumerate_candidates(situation, asked)
    whole = next(c for c in candidates if c.model == asked.option.name and c.way is Way.WHOLE)
    limit = whole.expected_nano if whole.ok else None
    if whole.ok and limit is not None:
        candidates = [_not_dearer(situation, c, whole, limit) for c in candidates]
    good = [c for c in candidates if c.ok]
    if not good or (not whole.ok and whole.expected_nano is None and not asked.auto):
        raise _nothing(candidates, whole)
    best = _best(situation, asked, good, whole if whole.ok else None)
    choice = best
    if situation.policy.mode == "observe" and whole.ok:
        choice = whole
    return _plan(situation, asked, candidates, choice, best)


def _not_dearer(
    situation: Situation, candidate: Candidate, whole: Candidate, limit: int
) -> Candidate:
    """``candidate``, struck out if it is expected to cost more than the request as asked."""
    cost = candidate.expected_nano
    if not candidate.ok or candidate is whole or cost is None:
        return candidate
    if cost > limit and not _earns_back(situation, candidate, whole, cost - limit):
        why = f"it would cost ${usd(cost - limit)} more than the request as asked"
        return candidate.said(why + _lost_cache(situation, candidate, whole), ok=False)
    if _cost(candidate) > _cost(whole):
        why = (
            f"it is cheaper now, but over the {situation.thread.turns_left:.1f} requests that this "
            f"conversation is likely to have it would cost ${usd(_cost(candidate) - _cost(whole))} "
            "more"
        )
        return candidate.said(why, ok=False)
    return candidate


def _earns_back(situation: Situation, candidate: Candidate, whole: Candidate, more: int) -> bool:
    """Whether later requests are expected to save twice what this one costs more."""
    if situation.thread.turns_left < FEWEST_TURNS:
        return False
    return _cost(whole) - _cost(candidate) >= more


def _lost_cache(situation: Situation, candidate: Candidate, whole: Candidate) -> str:
    """What of the difference is due to a warm prefix that would be thrown away."""
    warm = situation.warm.get(whole.model, 0)
    if not warm:
        return ""
    return f", since about {warm:,} tokens are warm at {whole.model} and would be read anew"


def _nothing(candidates: Sequence[Candidate], whole: Candidate) -> NoCandidate:
    """The error that names every exclusion, one a model."""
    exclusions: dict[str, str] = {}
    for candidate in candidates:
        if candidate.why_not is not None:
            exclusions.setdefault(candidate.model, candidate.why_not)
    unpriced = whole.expected_nano is None
    if unpriced:
        exclusions = {whole.model: whole.why_not or "no price is known for it"}
    return NoCandidate(exclusions, unpriced=unpriced)


def _best(
    situation: Situation, asked: Asked, good: Sequence[Candidate], whole: Candidate | None
) -> Candidate:
    """Fold the candidates, mildest first; each next one must earn the margin."""
    if asked.pinned is not None and asked.stay is not asked.option:
        good = [c for c in good if c.model == asked.stay.name] or good
        whole = next((c for c in good if c.way is Way.WHOLE), None)
    order = sorted(good, key=lambda c: _harm(situation, asked, c))
    best = whole if whole is not None else order[0]
    margin = 0.0 if situation.brake.compress else situation.policy.margin
    for candidate in order:
        if candidate is best:
            continue
        if _cost(candidate) < _cost(best) * (1 - margin) or (
            best is whole and _rescues(situation, asked, candidate)
        ):
            best = candidate
    return best


def _harm(situation: Situation, asked: Asked, candidate: Candidate) -> tuple[int, int, int, str]:
    """Sort key, mildest first: the way, then a switch, then the cost."""
    ways = (Way.WHOLE, *situation.policy.ways())
    switched = 0 if candidate.model == asked.option.name else 1
    if switched and candidate.tier is Tier.LONG:
        switched = 0 if whole_is_beyond(situation, asked) else 1
    return ways.index(candidate.way), switched, _cost(candidate), candidate.model


def whole_is_beyond(situation: Situation, asked: Asked) -> bool:
    """Whether the asked-for model cannot take, or cannot read well, the whole prompt."""
    return needs_longer(situation, asked.option) or not fits_window(situation, asked.option)


def _rescues(situation: Situation, asked: Asked, candidate: Candidate) -> bool:
    """A long-context model that reads the whole prompt better and is not dearer."""
    if candidate.way is not Way.WHOLE or candidate.tier is not Tier.LONG:
        return False
    return candidate.model != asked.option.name and needs_longer(situation, asked.option)


def _cost(candidate: Candidate) -> int:
    """Nano-USD that the conversation is expected to cost from here on this way; priced only."""
    cost = candidate.expected_nano if candidate.total_nano is None else candidate.total_nano
    if cost is None:
        raise ValueError(f"candidate {candidate.model} has no price")
    return cost


def _plan(
    situation: Situation,
    asked: Asked,
    candidates: Sequence[Candidate],
    choice: Candidate,
    best: Candidate,
) -> Plan:
    whole = next(c for c in candidates if c.model == asked.option.name and c.way is Way.WHOLE)
    return Plan(
        choice=choice if choice.why_not is None else choice.said(None, ok=choice.ok),
        reasons=reasons_for(situation, asked, whole, best),
        candidates=tuple(_said(c, choice, best) for c in candidates),
        fallbacks=_fallbacks(situation, asked, candidates, choice),
        baseline_model=whole.model,
        baseline_nano=whole.expected_nano if whole.ok else None,
        max_output_tokens=_max_output(situation, choice),
        would=best if best is not choice else None,
    )


def _said(candidate: Candidate, choice: Candidate, best: Candidate) -> Candidate:
    if candidate is choice or candidate.why_not is not None:
        return candidate
    observed = candidate is best
    why = why_not_taken(candidate, choice, observed=observed)
    return candidate.said(why, ok=candidate.ok)


def _fallbacks(
    situation: Situation, asked: Asked, candidates: Sequence[Candidate], choice: Candidate
) -> tuple[Candidate, ...]:
    """What to try next, cheapest first, then what the operator declared for an outage.

    Observe mode changes nothing but what the operator declared. Where fallbacks are
    forbidden, no model is tried that was neither chosen nor asked for.
    """
    observing = situation.policy.mode == "observe"
    rest = [] if observing else [c for c in candidates if c.ok and c is not choice]
    rest.sort(key=lambda c: (_cost(c), c.model, c.way))
    if "fallback" in situation.policy.forbid:
        return tuple(c for c in rest if c.model in {choice.model, asked.option.name})
    if situation.facts.mode == "pass" or situation.facts.signed_thinking:
        return tuple(rest)
    taken = {(c.model, c.way) for c in (choice, *rest)}
    for name in asked.option.fallbacks:
        for candidate in candidates:
            key = candidate.model, candidate.way
            if candidate.model != name or candidate.way is not Way.WHOLE or key in taken:
                continue
            if can_serve(situation, candidate):
                rest.append(candidate)
    return tuple(rest)


def _max_output(situation: Situation, choice: Candidate) -> int:
    """Completion tokens of one choice that the plan allows: the tightest known limit."""
    card = next(o.card for o in situation.options if o.name == choice.model)
    own = situation.facts.max_output_tokens
    room = card.window - choice.prompt_tokens
    limits = [situation.output_limit, situation.brake.max_output, own]
    if own is None:
        limits += [card.max_output, room]
    return max(1, min(limit for limit in limits if limit is not None))

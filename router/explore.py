"""Exploration inside a declared budget: now and then the other choice, so that it can be judged.

A log in which easy questions always went small and others never did says nothing of any other
threshold. With a declared share of requests the choice is turned round where only the score
decided it: a small model in place of the model asked for, or that in place of a small one. How
likely the choice was made stands on the receipt, for every request that might have been
turned. Pure: the draw is an argument.
"""

from __future__ import annotations

from dataclasses import replace

from compressor.recipe import Way
from router.plan import Candidate, Plan, Reason, Tier
from router.quality import not_proven, quality_floor
from router.situation import Situation


def explored(situation: Situation, plan: Plan, draw: float, share: float) -> Plan:
    """The plan with the chance of its choice; turned round where ``draw`` (0 to 1) < ``share``."""
    other = _other(situation, plan)
    if other is None:
        return plan
    if draw >= share:
        return replace(plan, chance=1 - share)
    turned = other.said(None, ok=True)
    reason = Reason("explored", {"chance": share, "instead_of": plan.choice.model})
    kept = tuple(c for c in plan.fallbacks if (c.model, c.way) != (other.model, other.way))
    return replace(
        plan,
        choice=turned,
        reasons=(*plan.reasons, reason),
        candidates=tuple(_said(plan, c, turned) for c in plan.candidates),
        fallbacks=(plan.choice, *kept),
        max_output_tokens=_output(situation, plan, turned),
        chance=share,
    )


def _other(situation: Situation, plan: Plan) -> Candidate | None:
    """The one other choice where the score alone was against it, or None."""
    brake, facts = situation.brake, situation.facts
    if (
        facts.mode == "pass"
        or situation.policy.mode == "observe"
        or plan.choice.way is not Way.WHOLE
    ):
        return None
    if (
        brake.route is not None
        or brake.compress is not None
        or situation.complexity.weak is not None
    ):
        return None
    if facts.in_tool_loop or facts.signed_thinking:
        return None
    tiers = {c.model: c.tier for c in plan.candidates}
    if tiers[plan.baseline_model] is Tier.SMALL:
        return None
    if plan.choice.tier is Tier.SMALL:
        asked = (c for c in plan.fallbacks if c.model == plan.baseline_model)
        return next((c for c in asked if c.way is Way.WHOLE), None)
    return _smaller(situation, plan) if plan.choice.model == plan.baseline_model else None


def _smaller(situation: Situation, plan: Plan) -> Candidate | None:
    """The cheapest small model that only the score was against."""
    why = not_proven(situation, quality_floor(situation))
    known = [
        (c.expected_nano, c)
        for c in plan.candidates
        if c.tier is Tier.SMALL and c.way is Way.WHOLE and c.expected_nano is not None
    ]
    found = [
        (nano, c) for nano, c in known
        if why is not None and c.why_not == why and nano < (plan.baseline_nano or 0)
    ]  # fmt: skip
    return min(found, key=lambda pair: (pair[0], pair[1].model))[1] if found else None


def _said(plan: Plan, candidate: Candidate, turned: Candidate) -> Candidate:
    here = candidate.model, candidate.way
    if here == (turned.model, turned.way):
        return turned
    if here == (plan.choice.model, plan.choice.way):
        why = "it would have been taken, but this request was drawn to try the other choice"
        return candidate.said(why, ok=True)
    return candidate


def _output(situation: Situation, plan: Plan, turned: Candidate) -> int:
    card = next(o.card for o in situation.options if o.name == turned.model)
    return max(1, min(plan.max_output_tokens, card.max_output, card.window - turned.prompt_tokens))

"""A decision in words: the reasons of a plan, and why each other candidate was not taken."""

from __future__ import annotations

from billing.money import usd
from compressor.recipe import Way
from router.fitting import fits_window, needs_longer, reach, reading_tokens
from router.need import NeedKind
from router.plan import Candidate, Reason, Tier
from router.quality import RANK, below_floor, easy
from router.situation import Asked, Situation


def why_not_taken(candidate: Candidate, choice: Candidate, *, observed: bool) -> str:
    """One sentence on a candidate that would have done but was not chosen."""
    if observed:
        return "observe mode: it would have been taken"
    theirs, ours = candidate.total_nano, choice.total_nano
    if theirs is None or ours is None:
        return "no price is known for it, and an unknown price is never taken as zero"
    if theirs > ours:
        said = f"the choice is expected to cost ${usd(theirs - ours)} less"
        now, chosen = candidate.expected_nano, choice.expected_nano
        if now is not None and chosen is not None and now <= chosen:
            return said + " over this conversation, what is asked again included"
        return said
    if theirs == ours:
        return "it costs the same as the choice and changes more"
    return f"the ${usd(ours - theirs)} that it would save are below the margin for changing more"


def reasons_for(
    situation: Situation, asked: Asked, whole: Candidate, best: Candidate
) -> tuple[Reason, ...]:
    """Why ``best`` was taken instead of, or as, the request as asked (``whole``)."""
    reasons = [*_circumstances(situation, asked), *_sizes(situation, asked, whole)]
    if best.model == whole.model and best.way is Way.WHOLE:
        reasons.append(_stays(situation, asked, whole))
        return tuple(reasons)
    if RANK[best.tier] < RANK[asked.option.tier]:
        reasons.append(_smaller(situation, best))
    elif best.model != whole.model and best.tier is Tier.LONG:
        reasons.append(Reason("longer_effective_context", {"model": best.model}))
    if best.way is not Way.WHOLE:
        reasons.append(_fit(situation, best))
    if whole.ok and whole.expected_nano is not None and best.expected_nano is not None:
        saved = whole.expected_nano - best.expected_nano
        facts = {"saves_usd": usd(saved), "asked_usd": usd(whole.expected_nano)}
        if saved >= 0:
            reasons.append(Reason("costs_less", facts))
        else:
            reasons.append(_pays_back(situation, whole, best, -saved))
    return tuple(reasons)


def _pays_back(situation: Situation, whole: Candidate, best: Candidate, more: int) -> Reason:
    """Why a request costs more than as asked: its conversation is expected to cost less."""
    saved = (whole.total_nano or 0) - (best.total_nano or 0)
    turns = round(situation.thread.turns_left, 1)
    facts = {"more_now_usd": usd(more), "saves_usd": usd(saved), "over_requests": turns}
    return Reason("pays_back", facts)


def _circumstances(situation: Situation, asked: Asked) -> list[Reason]:
    found = []
    if situation.facts.mode == "pass":
        found.append(Reason("pass_requested"))
    if situation.policy.mode == "observe":
        found.append(Reason("observe"))
    if asked.pinned is not None:
        found.append(Reason(asked.pinned, {"stays_with": asked.stay.name}))
    for lever, scope in sorted(situation.thread.off.items()):
        code = "drift" if scope == "drift" else "savings_negative"
        facts: dict[str, object] = {"lever": lever, "scope": scope}
        if scope == "drift" and situation.complexity.weights is not None:
            facts["weights"] = situation.complexity.weights  # what to take back
        found.append(Reason(code, facts))
    brake = situation.brake
    if brake.route is not None or brake.compress is not None:
        found.append(Reason("budget", {"route": brake.route, "compress": brake.compress}))
    return found


def _sizes(situation: Situation, asked: Asked, whole: Candidate) -> list[Reason]:
    option = asked.option
    if not fits_window(situation, option):
        facts = {"prompt_tokens": whole.prompt_tokens, "window": option.card.window}
        return [Reason("beyond_window", facts)]
    if needs_longer(situation, option):
        return [
            Reason(
                "beyond_effective_context",
                {
                    "prompt_tokens": reading_tokens(situation, option.card),
                    "effective_context": reach(situation, option),
                    "need": situation.need.kind.value,
                    "confidence": option.card.confidence,
                },
            )
        ]
    return []


def _stays(situation: Situation, asked: Asked, whole: Candidate) -> Reason:
    """Why the request goes as it was asked."""
    need = situation.need
    if situation.facts.mode == "pass":
        return Reason("as_asked")
    if need.kind is NeedKind.UNKNOWN and needs_longer(situation, asked.option):
        return Reason("need_unknown", {"confidence": round(need.confidence, 3)})
    smaller = [o for o in situation.options if RANK[o.tier] < RANK[asked.option.tier]]
    held = any(below_floor(situation, asked, option) is not None for option in smaller)
    return _held(situation, asked) if held else Reason("nothing_to_gain")


def _held(situation: Situation, asked: Asked) -> Reason:
    """Why a smaller model does not keep the quality."""
    score = situation.complexity
    if asked.pinned is None and easy(situation):
        if situation.thread.floor not in (None, Tier.SMALL.value):
            return Reason("work_of_larger_model", {"tier": situation.thread.floor})
        return Reason("comes_down_slowly", {"easy_turns": situation.thread.easy})
    if score.weak is not None and situation.policy.unproven == "keep":
        return Reason("weak_evidence", {"why": score.weak})
    facts = {"gain": round(score.gain, 4), "p": round(score.small_is_enough, 4)}
    return Reason("large_is_needed", facts)


def _smaller(situation: Situation, best: Candidate) -> Reason:
    """Why a model of a lower tier is good enough."""
    score = situation.complexity
    if best.tier is not Tier.SMALL:
        return Reason("lower_tier_is_enough", {"model": best.model})
    spent = situation.brake.route == Tier.SMALL.value or situation.thread.spent
    if spent and not easy(situation):
        return Reason("small_by_budget", {"route": situation.brake.route or "escalations"})
    facts = {
        "p": round(score.small_is_enough, 4),
        "gain": round(score.gain, 4),
        "floor": situation.policy.floor,
    }
    return Reason("small_is_enough", facts)


def _fit(situation: Situation, best: Candidate) -> Reason:
    """Why the prompt is made smaller."""
    facts: dict[str, object] = {
        "from_tokens": situation.measurement.prompt_tokens,
        "to_tokens": best.recipe.target_tokens if best.recipe else best.prompt_tokens,
    }
    if best.way is Way.TRIM:
        facts["need"] = situation.need.kind.value
        facts["confidence"] = round(situation.need.confidence, 3)
        return Reason("only_a_part_is_needed", facts)
    code = "old_history" if best.way is Way.COMPRESS else "same_content_in_less"
    return Reason(code, facts)

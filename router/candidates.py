"""Which models and ways come into question for a request, and why the others do not.

Hard rules first, in this order: what the caller may use, the ceiling that a named model
sets, safe points for a switch, price, window, modality, effective context, the quality
floor. Every exclusion is one plain sentence.
"""

from __future__ import annotations

from compressor.recipe import Way
from router.costing import priced
from router.fitting import fits_window, needs_longer, reach, reading_tokens, recipes
from router.gate import REWRITE, SWITCH
from router.need import NeedKind
from router.plan import Candidate, Tier
from router.quality import RANK, below_floor
from router.situation import Asked, ModelOption, Situation

UNSAFE = {
    "tool_loop": "a switch inside a tool loop is not safe",
    "signed_thinking": "the history holds signed reasoning of another model",
    "follow_up": "a short follow-up stays with the model that it follows",
}


def enumerate_candidates(situation: Situation, asked: Asked) -> list[Candidate]:
    """Every model with every way that applies, priced, in the options' order.

    A candidate is ``ok`` when no hard rule speaks against it; cost is compared later.
    """
    found: list[Candidate] = []
    known: dict[str, int] = {}
    for option in situation.options:
        whole = priced(situation, asked, option, None, known)
        barred = _barred(situation, asked, option)
        if barred is not None:
            found.append(_refused(whole, barred))
            continue
        why = _why_not(situation, asked, option, whole)
        found.append(whole if why is None else _refused(whole, why))
        if option.tier is Tier.LONG and option.name != asked.option.name:
            continue  # a long-context model is there to read the prompt whole
        for recipe in recipes(situation, option):
            fitted = priced(situation, asked, option, recipe, known)
            why = _why_not(situation, asked, option, fitted)
            found.append(fitted if why is None else _refused(fitted, why))
    return found


def _refused(candidate: Candidate, why: str) -> Candidate:
    return candidate.said(why, ok=False)


def _barred(situation: Situation, asked: Asked, option: ModelOption) -> str | None:
    """Why ``option`` may not be used in any way, or None."""
    if not situation.policy.permits(option.name, option.tier):
        return "it is not among the models that this key may use"
    if option.name == asked.option.name:
        return None
    if situation.facts.mode == "pass":
        return "the client asked for the request to pass as it is"
    if asked.pinned is not None:
        return None if option.name == asked.stay.name else UNSAFE[asked.pinned]
    return _above_ceiling(situation, asked, option) or _switched_off(situation, asked)


def _above_ceiling(situation: Situation, asked: Asked, option: ModelOption) -> str | None:
    """A named model is the ceiling: below it, or long where the prompt asks for it."""
    forbid = situation.policy.forbid
    below = RANK[option.tier] < RANK[asked.option.tier]
    if "route" in forbid:
        return "policy forbids routing to another model"
    if below and "downgrade" in forbid:
        return "policy forbids a smaller model than the one asked for"
    if below:
        return None
    if option.tier is not Tier.LONG:
        if asked.auto:
            return None
        return f"its tier, {option.tier.value}, is not below that of the model asked for"
    wanted = needs_longer(situation, asked.option) or not fits_window(situation, asked.option)
    return None if wanted else "a long-context model is not needed for this prompt"


LOST = "is switched off for this {scope}, since it has cost more than it saved here"
DRIFT = "small models are set aside for a day, since they did worse than was promised"


def _switched_off(situation: Situation, asked: Asked) -> str | None:
    """Whether another model has lost money here; a prompt that must leave may leave."""
    scope = situation.thread.off.get(SWITCH)
    if scope is None or situation.brake.route is not None:
        return None
    if not fits_window(situation, asked.option):
        return None
    return DRIFT if scope == "drift" else "switching models " + LOST.format(scope=scope)


def _no_rewrite(situation: Situation, asked: Asked, candidate: Candidate) -> str | None:
    """Why this prompt may not be rewritten now; one that fits no other way may be."""
    if candidate.way is Way.WHOLE or not fits_window(situation, asked.stay):
        return None
    scope = situation.thread.off.get(REWRITE)
    if scope is not None and situation.brake.compress is None:
        return "rewriting the prompt " + LOST.format(scope=scope)
    begun = situation.thread.way_before == candidate.way.value
    if asked.pinned == "tool_loop" and not begun:
        return "a rewrite is not begun inside a tool loop"
    return None


def _why_not(
    situation: Situation, asked: Asked, option: ModelOption, candidate: Candidate
) -> str | None:
    """Why this candidate cannot serve, or None; the request as asked is judged mildly."""
    if candidate.expected_nano is None:
        return "no price is known for it, and an unknown price is never taken as zero"
    rewrite = _no_rewrite(situation, asked, candidate)
    if rewrite is not None:
        return rewrite
    if option.name == asked.option.name:
        beyond = option.card.window_known and candidate.prompt_tokens > option.card.window
        return _beyond_window(option, candidate) if beyond else None
    return _cannot(situation, option, candidate) or _not_good_enough(
        situation, asked, option, candidate
    )


def _beyond_window(option: ModelOption, candidate: Candidate) -> str:
    return (
        f"a prompt of {candidate.prompt_tokens:,} tokens and its answer do not fit its window of "
        f"{option.card.window:,} tokens"
    )


def _cannot(situation: Situation, option: ModelOption, candidate: Candidate) -> str | None:
    """What the model is not able to do at all, or None."""
    card, limit = option.card, situation.facts.max_output_tokens
    if candidate.prompt_tokens + (limit or situation.output_tokens()) > card.window:
        return _beyond_window(option, candidate)
    if limit is not None and limit > card.max_output and card.window_known:
        return f"it writes at most {card.max_output:,} tokens, and {limit:,} are asked for"
    if situation.facts.image_count and not card.images:
        return "it does not read images"
    return None


def _not_good_enough(
    situation: Situation, asked: Asked, option: ModelOption, candidate: Candidate
) -> str | None:
    """Why the answer might suffer, or None. What already serves the turn may go on."""
    if asked.pinned is not None:
        return None
    beyond = _beyond(situation, option, candidate)
    return beyond or below_floor(situation, asked, option)


def can_serve(situation: Situation, candidate: Candidate) -> bool:
    """Whether a model that the operator declared for outages can take the prompt at all."""
    option = next(o for o in situation.options if o.name == candidate.model)
    return (
        candidate.expected_nano is not None
        and situation.policy.permits(option.name, option.tier)
        and _cannot(situation, option, candidate) is None
    )


READING = {
    NeedKind.LOOKUP: "on open questions",
    NeedKind.CHAT: "on open questions",
    NeedKind.SYNTHESIS: "where many places count",
    NeedKind.TRANSFORM: "where every word counts",
    NeedKind.UNKNOWN: "where the kind of question is not known",
}


def _beyond(situation: Situation, option: ModelOption, candidate: Candidate) -> str | None:
    """Why the model would not read this prompt well, or None.

    A lossless form has to be read as whole as the original; a trim and a compression are
    made to the model's measure.
    """
    if candidate.way not in (Way.WHOLE, Way.LOSSLESS):
        return None
    tokens = reading_tokens(situation, option.card)
    if candidate.way is Way.LOSSLESS:
        tokens = min(tokens, candidate.prompt_tokens)
    if tokens <= reach(situation, option):
        return None
    need = situation.need
    literal = need.kind is NeedKind.LOOKUP and need.identifiers
    kind = "where it has to find what the question names" if literal else READING[need.kind]
    return (
        f"it reads up to {reach(situation, option):,} tokens well {kind}, and this prompt has "
        f"{tokens:,}"
    )

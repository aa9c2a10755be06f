"""Whether a smaller model keeps the quality that the policy asks for, on the lower bound.

What labels of this very task say goes first, once there are enough; else the calibrated
score does. A conversation goes up at once and comes down slowly, and never below the tier
that wrote the work it builds on. Every "no" is one plain sentence.
"""

from __future__ import annotations

from math import sqrt

from router.plan import Tier
from router.situation import Asked, ModelOption, Situation
from router.thread import STAYS_EASY

CHEAPER_FLOOR = 0.90  # the quality floor under the brake `route: cheaper`
RANK = {Tier.SMALL: 0, Tier.MID: 1, Tier.LONG: 2}
ENOUGH_LABELS = 30  # of one task, before they outweigh the score
LARGE_AT_LEAST = 0.95  # taken for a larger model of which the task has no labels
SURE_Z = 1.64  # one-sided 95%
DOUBT = {
    "script": (
        "nothing shows that a small model is enough: the score was not trained on questions in "
        "this script"
    ),
    "no_signal": "the question says too little to tell whether a small model is enough",
    "follow_up": "a short follow-up does not tell by itself whether a small model is enough",
    "tools": "nothing shows yet that a small model is enough for work with tools",
    "open_task": (
        "nothing shows yet that a small model is enough for a proof, a design, code or a diagnosis"
    ),
    "too_long": (
        "nothing shows that a small model is enough: the question is longer than any that was "
        "measured"
    ),
}


def below_floor(situation: Situation, asked: Asked, option: ModelOption) -> str | None:
    """Why a smaller model's quality is not proven enough, or None."""
    if option.tier is not Tier.SMALL or asked.option.tier is Tier.SMALL:
        return None
    if asked.pinned is not None or situation.brake.route == Tier.SMALL.value:
        return None
    if asked.auto and situation.thread.spent:
        return None  # the key's budget of escalations is used up
    return (
        _work_of_larger(situation, asked)
        or _too_soon(situation, asked)
        or not_proven(situation, quality_floor(situation))
    )


def quality_floor(situation: Situation) -> float:
    """The share of the asked-for model's quality that must be kept, brake included."""
    floor = situation.policy.floor
    return min(floor, CHEAPER_FLOOR) if situation.brake.route == "cheaper" else floor


def not_proven(situation: Situation, floor: float) -> str | None:
    """Why a small model is not expected to keep ``floor`` of the quality on this question."""
    labelled = _by_labels(situation, floor)
    if labelled is not None:
        return labelled or None
    score = situation.complexity
    if score.weak is not None and situation.policy.unproven == "keep":
        return DOUBT.get(score.weak, f"nothing shows that a small model is enough ({score.weak})")
    limit = score.gain_limit(floor)
    if score.gain <= limit:
        return None
    return (
        f"a large model is expected to be right {score.gain * 100:.1f} points more often; "
        f"{limit * 100:.1f} would keep {floor * 100:g}% of its quality"
    )


def easy(situation: Situation) -> bool:
    """Whether a small model is enough for this turn, whatever came before it."""
    return not_proven(situation, quality_floor(situation)) is None


def _by_labels(situation: Situation, floor: float) -> str | None:
    """What the labels of this task say: "" for enough, a sentence for not, None for nothing."""
    count, share = situation.thread.small
    if count < ENOUGH_LABELS:
        return None
    others, known = situation.thread.large
    large = known if others >= ENOUGH_LABELS else max(LARGE_AT_LEAST, known if others else 0.0)
    lower, upper = bounds(count, share)
    if lower >= floor * large:
        return ""
    if upper < floor * large:
        return (
            f"small models did well in {share * 100:.0f}% of {count:.0f} labelled answers of this "
            f"task; {floor * large * 100:.0f}% would keep {floor * 100:g}% of the quality"
        )
    return None


def bounds(count: float, share: float) -> tuple[float, float]:
    """Wilson's one-sided 95% bounds of a share of ``count`` labels."""
    z2 = SURE_Z * SURE_Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = SURE_Z * sqrt(share * (1 - share) / count + z2 / (4 * count * count)) / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def _work_of_larger(situation: Situation, asked: Asked) -> str | None:
    """Whether this turn builds on code or a plan of a larger model."""
    floor = situation.thread.floor
    if floor is None or floor == Tier.SMALL.value:
        return None
    if floor == "asked":
        return "it refers to code or a plan, and which model wrote that is not known"
    return f"it refers to code or a plan that a model of tier {floor} wrote"


def _too_soon(situation: Situation, asked: Asked) -> str | None:
    """Whether a conversation that needed a larger model has not been easy for long enough."""
    before = next((o for o in situation.options if o.name == situation.served_before), None)
    streak = situation.thread.easy
    if before is None or before.tier is Tier.SMALL or streak is None:
        return None
    if situation.brake.route is not None or streak + 1 >= STAYS_EASY:
        return None
    return (
        f"a conversation comes down slowly: the turn before needed {before.name}, and this one is "
        "the first since for which a small model is enough"
    )

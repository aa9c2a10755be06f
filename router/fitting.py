"""How much of a prompt a model reads well, and the recipes that would bring it there.

Trim only what is surely a look-up, compress only old history, and nothing of a question
whose kind is not known. Lengths of a recipe are in the counter's tokens, those of a card
in the model's own.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil

from compressor.history import memory_target
from compressor.measure import Measurement
from compressor.recipe import Recipe, Way
from router.catalog import ModelCard, effective
from router.need import NeedKind
from router.plan import Tier
from router.policy import at_most
from router.situation import ModelOption, Situation

NEED_SURE = 0.7  # below it a kind of reading is not acted on
ALWAYS_READ_WELL = 4_096  # no prompt of this size is beyond any model's reach
TRIM_FLOOR = 8_192
TRIM_CEILING = 16_384
TRIM_ROOM = 4_096  # left for what is found when the protected part is large itself
LARGE_DOCUMENT = 16_384
OLD_HISTORY = 8_192  # older history below this is not worth a memory
WORTHWHILE = 0.9  # a fit must end below this share of the prompt
LONG_SHARE = 4  # a model declared `tier: long` and not measured reads window / 4


def scale(measurement: Measurement, card: ModelCard) -> float:
    """Tokens of ``card``'s model for one counted token."""
    return card.token_ratio / _counted(measurement.tokenizer)


@lru_cache(maxsize=256)
def _counted(tokenizer: str) -> float:
    """Tokens of a counter for one of its encoding (``o200k_base*1.20``: 1.2)."""
    _, star, ratio = tokenizer.partition("*")
    return float(ratio) if star else 1.0


def tokens_for(situation: Situation, option: ModelOption, recipe: Recipe | None) -> int:
    """Expected prompt tokens of ``option`` after ``recipe``, by its own tokenizer."""
    measured = situation.measurement.prompt_tokens
    if recipe is not None:
        measured = min(measured, recipe.target_tokens)
    return ceil(measured * scale(situation.measurement, option.card))


def reading_tokens(situation: Situation, card: ModelCard) -> int:
    """Tokens that must be read for the answer: tool schemas and media do not count."""
    measured = situation.measurement
    text = measured.prompt_tokens - measured.tools_tokens - measured.media_tokens
    return ceil(max(0, text) * scale(measured, card))


def reach(situation: Situation, option: ModelOption) -> int:
    """Tokens that ``option`` reads well for this need, never below 4,096."""
    value = max(ALWAYS_READ_WELL, effective(option.card, situation.need))
    if option.tier is Tier.LONG and option.card.confidence == "default":
        value = max(value, option.card.window // LONG_SHARE)
    return value


def needs_longer(situation: Situation, option: ModelOption) -> bool:
    """Whether the whole prompt is beyond what ``option`` reads well."""
    return reading_tokens(situation, option.card) > reach(situation, option)


def fits_window(situation: Situation, option: ModelOption) -> bool:
    """Whether the whole prompt fits; an unknown window is left to the provider."""
    return not option.card.window_known or (
        tokens_for(situation, option, None) <= option.card.window
    )


def recipes(situation: Situation, option: ModelOption) -> list[Recipe]:
    """The recipes that make sense for this prompt and model, in the policy's order."""
    if situation.facts.mode == "pass":
        return []
    found = []
    for way in situation.policy.ways():
        if way is Way.WHOLE or not at_most(way, situation.facts.fit):
            continue
        recipe = _MAKERS[way](situation, option)
        if recipe is not None and recipe.target_tokens < (
            WORTHWHILE * situation.measurement.prompt_tokens
        ):
            found.append(recipe)
    return found


def protected_tokens(situation: Situation) -> int:
    """Counted tokens that no fit may touch: system, tools, media, schema, the question."""
    measured = situation.measurement
    system = sum(measured.by_role.get(role, 0) for role in ("system", "developer"))
    last = max(0, _last_turn(situation) - measured.document_tokens - measured.media_tokens)
    return system + measured.tools_tokens + measured.media_tokens + last


def _last_turn(situation: Situation) -> int:
    """Counted tokens of the newest message (the last human turn outside a tool loop)."""
    messages = situation.measurement.message_tokens
    return messages[-1] if messages else 0


def _lossless(situation: Situation, option: ModelOption) -> Recipe | None:
    size = situation.lossless_tokens
    return None if size is None else Recipe(way=Way.LOSSLESS, target_tokens=size)


def _trim(situation: Situation, option: ModelOption) -> Recipe | None:
    """For a sure look-up that is too long to be read well, or in a large document.

    Never to more than the model reads well, nor below what a safe trim needs: a model
    that reads less than that is no candidate for one.
    """
    need = situation.need
    if need.kind is not NeedKind.LOOKUP or need.confidence < NEED_SURE:
        return None
    reads = reach(situation, option)
    if reads < TRIM_FLOOR:
        return None
    loose = situation.measurement.prompt_tokens - protected_tokens(situation)
    if not needs_longer(situation, option) and loose < LARGE_DOCUMENT:
        return None
    counted = scale(situation.measurement, option.card)
    target = int(min(reads, TRIM_CEILING) / counted)
    if situation.brake.compress == "hard":
        target = min(target, TRIM_FLOOR)
    target = max(target, protected_tokens(situation) + TRIM_ROOM)
    widen = max(target, int(reads / counted))
    return Recipe(
        way=Way.TRIM,
        target_tokens=target,
        keep_recent=situation.policy.keep_recent,
        ratio=situation.policy.ratio,
        widen_to=min(widen, 2 * target),
    )


def _compress(situation: Situation, option: ModelOption) -> Recipe | None:
    """For the old turns of a conversation: remembered at less resolution, never dropped."""
    need, policy = situation.need, situation.policy
    if need.kind in (NeedKind.UNKNOWN, NeedKind.TRANSFORM) or need.confidence < NEED_SURE:
        return None
    if situation.facts.human_turns < 2:
        return None
    hard = situation.brake.compress == "hard"
    keep = policy.keep_recent // 2 if hard else policy.keep_recent
    ratio = policy.ratio * 2 if hard else policy.ratio
    measured = situation.measurement
    recent = max(keep, _last_turn(situation))
    loose = measured.prompt_tokens - protected_tokens(situation)
    old = loose - measured.document_tokens - recent
    if old < OLD_HISTORY:
        return None
    target = memory_target(measured, protected_tokens(situation), keep, ratio)
    return Recipe(
        way=Way.COMPRESS,
        target_tokens=target,
        keep_recent=keep,
        ratio=ratio,
        widen_to=int(WORTHWHILE * measured.prompt_tokens),
    )


_MAKERS = {Way.LOSSLESS: _lossless, Way.TRIM: _trim, Way.COMPRESS: _compress}

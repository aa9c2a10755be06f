"""What each candidate is expected to cost: this request, and the conversation it is part of.

This request: input, cache reads and writes, cliffs, output, the gateway's own calls. The
conversation: the requests that are still to come, their prefix as warm as this way of sending
keeps it, and the answers that will be asked again of the larger model. Integer nano-USD.
"""

from __future__ import annotations

from billing.errors import PriceMissing
from compressor.recipe import Recipe, Way
from router.estimate import Expected, expected_cost, expected_ms, over_conversation
from router.fitting import protected_tokens, tokens_for
from router.plan import Candidate
from router.quality import RANK
from router.situation import Asked, ModelOption, Situation

MILLION = 1_000_000
MEMORY_SHARE = 0.1  # of the summarised text, about so much is written


def priced(
    situation: Situation,
    asked: Asked,
    option: ModelOption,
    recipe: Recipe | None,
    known: dict[str, int] | None = None,
) -> Candidate:
    """One model with one way, priced, ok so far.

    ``known`` keeps, between the candidates of one decision, what all of them are compared with.
    """
    way = Way.WHOLE if recipe is None else recipe.way
    tokens = tokens_for(situation, option, recipe)
    original = tokens if recipe is None else tokens_for(situation, option, None)
    now = Expected(
        prompt_tokens=tokens,
        warm_tokens=min(tokens, warm_now(situation, option, way)),
        output_tokens=situation.output_tokens(),
        choices=situation.facts.choices,
        write=situation.thread.writes.get(option.name),
    )
    nano = _cost(option, now)
    total = None
    if nano is not None:
        if way is Way.COMPRESS:
            nano += _summary_nano(situation)
        later = Expected(
            tokens, warm_later(situation, option, way, tokens), now.output_tokens, now.choices,
            now.write,
        )  # fmt: skip
        total = over_conversation(nano, _cost(option, later) or 0, situation.thread.turns_left)
        if RANK[option.tier] < RANK[asked.option.tier]:
            again = {} if known is None else known
            total += _asked_again(situation, asked, again) + _goes_up(situation, asked, again)
    return Candidate(
        model=option.name,
        tier=option.tier,
        way=way,
        prompt_tokens=tokens,
        expected_nano=nano,
        expected_ms=expected_ms(option.tier, way, original, now),
        ok=True,
        recipe=recipe,
        total_nano=total,
    )


def warm_now(situation: Situation, option: ModelOption, way: Way) -> int:
    """Tokens of this candidate's prompt that its provider's cache is expected to hold.

    A fit leaves the head (system text, tools) as it is; beyond it only the same fit of the
    request before has left something warm.
    """
    whole = situation.warm.get(option.name, 0)
    if way is Way.WHOLE:
        return whole
    before = situation.thread.warm_fit.get(f"{option.name} {way.value}", 0)
    return max(before, min(whole, _head_tokens(situation)))


def warm_later(situation: Situation, option: ModelOption, way: Way, tokens: int) -> int:
    """The same of a later request of this conversation.

    A trim follows the question, so that only the head stays; memories and lossless forms are
    made once and stay.
    """
    thread = situation.thread
    kept = thread.keeps.get(option.name, 0.0) * thread.quick
    if way is Way.TRIM:
        tokens = min(tokens, _head_tokens(situation))
    return int(tokens * kept)


def _head_tokens(situation: Situation) -> int:
    """Tokens before the first turn: system text and tools."""
    by_role = situation.measurement.by_role
    head = sum(by_role.get(role, 0) for role in ("system", "developer"))
    return head + situation.measurement.tools_tokens


def _summary_nano(situation: Situation) -> int:
    """What a summariser that costs money takes for the memories that are not made yet."""
    into, out = situation.thread.summary
    if not (into or out):
        return 0
    measured = situation.measurement
    old = measured.prompt_tokens - protected_tokens(situation) - situation.policy.keep_recent
    if situation.thread.way_before == Way.COMPRESS.value:
        old = min(old, situation.policy.keep_recent)  # what has grown old since
    return max(0, int(old * (into + MEMORY_SHARE * out) / MILLION))


def _asked_again(situation: Situation, asked: Asked, known: dict[str, int]) -> int:
    """What is expected for answers that a smaller model gets wrong and a user asks again."""
    if asked.option.price is None:
        return 0
    chance = max(0.0, situation.complexity.gain) * situation.thread.reasked
    nano = known.get("whole")
    if nano is None:
        whole = Expected(
            tokens_for(situation, asked.option, None),
            warm_now(situation, asked.option, Way.WHOLE),
            situation.output_tokens(),
            situation.facts.choices,
        )
        nano = known["whole"] = _cost(asked.option, whole) or 0
    return int(chance * nano)


def _goes_up(situation: Situation, asked: Asked, known: dict[str, int]) -> int:
    """What it is expected to cost that a later turn needs the asked-for model after all.

    That model then reads the conversation cold, which it would have had warm.
    """
    thread = situation.thread
    if thread.turns_left <= 1:
        return 0
    chance = 1 - (1 - thread.ups) ** (thread.turns_left - 1)
    lost = known.get("lost")
    if lost is None:
        lost = known["lost"] = _lost_warmth(situation, asked.option)
    return int(chance * lost)


def _lost_warmth(situation: Situation, option: ModelOption) -> int:
    """What a model takes more for this prompt when it reads it cold, nano-USD."""
    tokens = tokens_for(situation, option, None)
    kept = warm_later(situation, option, Way.WHOLE, tokens)
    write = situation.thread.writes.get(option.name)
    cold = _cost(option, Expected(tokens, 0, 0, write=write)) or 0
    warm = _cost(option, Expected(tokens, kept, 0, write=write)) or 0
    return max(0, cold - warm)


def _cost(option: ModelOption, expected: Expected) -> int | None:
    if option.price is None:
        return None
    try:
        return expected_cost(option.price, expected)
    except PriceMissing:
        return None

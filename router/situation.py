"""What a decision depends on, and what the request asks for.

A named model is the ceiling and the tokenmaxxed baseline; ``model: auto`` leaves the
choice to us and is compared with the policy's baseline. Inside a tool loop, across signed
reasoning and on a short follow-up the model that answered last goes on answering.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from billing.ladder import Brake
from billing.prices import Price
from billing.record import record
from compressor.measure import Measurement
from router.catalog import ModelCard
from router.complexity import Complexity
from router.errors import UnknownModel
from router.estimate import expected_output
from router.need import Need
from router.plan import RequestFacts, Tier
from router.policy import RoutePolicy
from router.thread import Thread


@record(frozen=True, slots=True)
class ModelOption:
    """One model of the configuration: ``name`` is public, ``price`` None when unknown.

    ``fallbacks`` are public names that the operator allows when its upstream fails.
    """

    name: str
    tier: Tier
    provider: str
    provider_model: str
    card: ModelCard
    price: Price | None
    fallbacks: tuple[str, ...] = ()


@record(frozen=True, slots=True)
class Situation:
    """All that a decision depends on.

    ``warm`` maps a model to the tokens of this prompt that its provider probably has in
    its cache. ``output_tokens_expected`` is the caller's own mean, where known;
    ``output_limit`` the policy's ``limits.max_output``. ``served_before`` is the model
    that answered this conversation's last turn. ``lossless_tokens`` is the size after a
    lossless fit, where it was measured. ``thread`` is what the conversation so far means.
    """

    facts: RequestFacts
    measurement: Measurement
    complexity: Complexity
    need: Need
    options: tuple[ModelOption, ...]
    policy: RoutePolicy
    brake: Brake = field(default_factory=Brake)
    warm: Mapping[str, int] = field(default_factory=dict)
    output_tokens_expected: int | None = None
    output_limit: int | None = None
    served_before: str | None = None
    lossless_tokens: int | None = None
    thread: Thread = field(default_factory=Thread)

    def output_tokens(self) -> int:
        """Completion tokens to expect of one choice, within all limits."""
        expected = self.output_tokens_expected
        if expected is None:
            expected = expected_output(self.facts, self.need, self.measurement.document_tokens)
        for limit in (self.facts.max_output_tokens, self.output_limit, self.brake.max_output):
            if limit is not None and limit < expected:
                expected = limit
        return max(1, expected)


@record(frozen=True, slots=True)
class Asked:
    """The request as asked: the option, and the one model that a switch must not leave.

    ``auto``: the client left the choice to us. A client that names another model than before is
    obeyed, wherever it does. ``pinned`` says why no switch is safe,
    or is None; ``option`` is then the asked-for one and ``stay`` the one to stay with.
    """

    option: ModelOption
    auto: bool
    stay: ModelOption
    pinned: str | None


def asked_for(situation: Situation) -> Asked:
    """What the request asks for; ``auto`` means the policy's baseline.

    Raises:
        UnknownModel: a name that the configuration does not declare.
    """
    by_name = {option.name: option for option in situation.options}
    requested = situation.facts.requested_model
    auto = requested == "auto" and "auto" not in by_name
    option = _baseline(situation, by_name) if auto else by_name.get(requested)
    if option is None:
        known = ", ".join(sorted(by_name)) or "none"
        raise UnknownModel(f"model {requested[:64]!r} is not configured; known: auto, {known}")
    pinned = _unsafe_to_switch(situation)
    stay = option
    before = by_name.get(situation.served_before or "")
    named_another = not auto and situation.thread.asked not in (None, requested)
    if pinned and before is not None and not named_another:
        stay = before if situation.policy.permits(before.name, before.tier) else option
    return Asked(option=option, auto=auto, stay=stay, pinned=pinned)


def _baseline(situation: Situation, by_name: Mapping[str, ModelOption]) -> ModelOption | None:
    """The policy's baseline where the caller may use it, else the strongest permitted."""
    named = by_name.get(situation.policy.baseline or "")
    permits = situation.policy.permits
    if named is not None and permits(named.name, named.tier) and named.price is not None:
        return named
    usable = [o for o in situation.options if permits(o.name, o.tier)]
    order = {Tier.MID: 0, Tier.LONG: 1, Tier.SMALL: 2}
    usable.sort(key=lambda o: (o.price is None, order[o.tier], o.name))
    return usable[0] if usable else named


def _unsafe_to_switch(situation: Situation) -> str | None:
    if situation.facts.in_tool_loop:
        return "tool_loop"
    if situation.facts.signed_thinking:
        return "signed_thinking"
    if situation.complexity.weak == "follow_up" and not _asks_more(situation):
        return "follow_up"
    return None


def _asks_more(situation: Situation) -> bool:
    """A short turn that asks a small model for a proof, a design or code: fast up."""
    before = next((o for o in situation.options if o.name == situation.served_before), None)
    small = before is not None and before.tier is Tier.SMALL
    return small and situation.thread.asks_work

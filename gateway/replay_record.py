"""What a plan was made from, as a receipt keeps it, and back again.

A plan is a pure function of a ``Situation``. What comes from the policy (options, prices,
permissions, limits) is not kept: a replay takes it from the policy it replays. All the rest
is: facts, sizes, score, need, brake, warm prefixes. Texts are never kept, so of a
measurement the question is left out; of a single question's messages only the last size is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import Any, cast

from billing.ladder import Brake
from billing.record import record
from compressor.measure import Measurement
from compressor.recipe import Way
from router.complexity import Complexity, Limits
from router.need import Need, NeedKind
from router.plan import Candidate, Plan, RequestFacts
from router.policy import RoutePolicy
from router.situation import ModelOption, Situation
from router.thread import Thread

VERSION = 1
_LONGEST = 64  # of a word that a client chose (a reasoning effort, say)
# Fields of a situation that the policy decides; the others are kept with the receipt.
FROM_POLICY = frozenset({"options", "policy", "output_limit"})
KEPT = frozenset({"facts", "measurement", "complexity", "need", "brake", "warm", "thread"})
_UNSAID: Mapping[Hashable, frozenset[str]] = {
    Measurement: frozenset({"question", "message_tokens"}),
    Complexity: frozenset({"features", "limits"}),
}


@record(frozen=True, slots=True)
class Terms:
    """What a policy adds to a recorded situation; ``limits`` calibrate the score."""

    options: tuple[ModelOption, ...]
    policy: RoutePolicy
    output_limit: int | None
    limits: Limits


@record(frozen=True, slots=True)
class Choice:
    """A plan's outcome, as far as it is compared: ``expected_nano`` None when unpriced."""

    model: str
    way: str
    prompt_tokens: int
    expected_nano: int | None

    @classmethod
    def of(cls, candidate: Candidate) -> Choice:
        """The same of a candidate."""
        return cls(
            candidate.model, candidate.way.value, candidate.prompt_tokens, candidate.expected_nano
        )


def recorded(situation: Situation, plan: Plan) -> dict[str, object]:
    """The JSON-able record of a decision; a few hundred bytes."""
    made: dict[str, object] = {"v": VERSION}
    names, values = _situation_values()
    for name, value in zip(names, values(situation), strict=True):
        said = _lean(value) if name in KEPT and name != "warm" else value
        if said is not None and said != {}:
            made[name] = said
    messages = situation.measurement.message_tokens
    made["messages"] = [len(messages), messages[-1] if messages else 0]
    if situation.facts.human_turns > 1:  # what may be remembered hangs on where turns end
        made["sizes"] = list(messages)
    made["plan"] = choice_row(plan.choice)
    if plan.chance < 1:
        made["chance"] = round(plan.chance, 6)
    if plan.would is not None:
        made["would"] = choice_row(plan.would)
    return made


def readable(decision: Mapping[str, object]) -> bool:
    """Whether a receipt has a record that this version can replay."""
    return decision.get("v") == VERSION


def restored(decision: Mapping[str, Any], facts: RequestFacts, terms: Terms) -> Situation:
    """The situation of a recorded decision under the terms of a policy.

    Raises:
        KeyError, TypeError, ValueError: not such a record.
    """
    count, last = decision["messages"]
    sizes = tuple(decision.get("sizes", ())) or (0,) * (count - 1) + (last,) * min(1, count)
    need = decision["need"]
    # A record carries more than the situation (hashes of the bodies, say).
    known = set(_situation_fields()) - KEPT
    more = {name: value for name, value in decision.items() if name in known}
    return Situation(
        facts=facts,
        measurement=Measurement(
            **{**_ZEROS, **decision["measurement"]},
            message_tokens=sizes,
            question="",
        ),
        complexity=Complexity(**{**decision["complexity"], "limits": terms.limits}),
        need=Need(**{**need, "kind": NeedKind(need["kind"])}),
        options=terms.options,
        policy=terms.policy,
        brake=brake_of(decision),
        warm=decision.get("warm", {}),
        output_limit=terms.output_limit,
        thread=Thread(**decision.get("thread", {})),
        **more,
    )


def facts_of(decision: Mapping[str, Any]) -> RequestFacts:
    """The facts as the client sent them, before a holdout let the request pass untouched."""
    row = dict(decision["facts"])
    row.update(decision.get("asked", {}))
    if "fit" in row:
        row["fit"] = Way(row["fit"])
    return RequestFacts(**row)


def brake_of(decision: Mapping[str, Any]) -> Brake:
    """The brake that budgets put on the request when it came."""
    row = dict(decision.get("brake", {}))
    if "notify" in row:
        row["notify"] = tuple(row["notify"])
    return Brake(**row)


def choice_of(decision: Mapping[str, Any], name: str = "plan") -> Choice | None:
    """The recorded choice (``plan``), what observe mode would have chosen, or what ``ran``."""
    row = decision.get(name)
    return None if row is None else Choice(*row)


def choice_row(candidate: Candidate) -> list[object]:
    """A candidate as a record keeps it."""
    choice = Choice.of(candidate)
    return [choice.model, choice.way, choice.prompt_tokens, choice.expected_nano]


def _lean(value: Any) -> dict[str, object]:
    """A dataclass without its defaults and without what is not to be kept."""
    kind: Any = type(value)
    names, defaults, values = _kept(kind)
    return {
        name: said[:_LONGEST] if said.__class__ is str else said
        for name, default, said in zip(names, defaults, values(value), strict=True)
        if said != default
    }


@cache
def _kept(
    kind: Hashable,
) -> tuple[tuple[str, ...], tuple[object, ...], Callable[[object], tuple[Any, ...]]]:
    """The fields of a dataclass that are kept, the values at which they are left out, and how
    to read them all at once."""
    kept = [one for one in fields(cast("Any", kind)) if one.name not in _UNSAID.get(kind, ())]
    names = tuple(one.name for one in kept)
    return names, tuple(_ZEROS.get(one.name, one.default) for one in kept), attrgetter(*names)


@cache
def _situation_fields() -> tuple[str, ...]:
    return tuple(one.name for one in fields(Situation) if one.name not in FROM_POLICY)


@cache
def _situation_values() -> tuple[tuple[str, ...], Callable[[object], tuple[Any, ...]]]:
    """The fields of a situation that a record may keep, and how to read them all at once."""
    return _situation_fields(), attrgetter(*_situation_fields())


_ZEROS: Mapping[str, Any] = {
    "tools_tokens": 0, "media_tokens": 0, "document_tokens": 0, "segments": 0,
}  # fmt: skip

"""Measure, decide, fit, write the outbound body: all that happens before money moves.

A dry run (`/weir/explain`) and a real request share every line of this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from billing.accounts import VirtualKey
from billing.ladder import Brake
from billing.prices import REGION_FIELD
from billing.record import record
from billing.shadow_cache import Prefix
from compressor.kit import Kit
from compressor.measure import Measurement
from compressor.recipe import Fitted, Recipe, Way
from gateway import trail as trails
from gateway.aside import HERE, Craft, Helpers
from gateway.baseline import prefixes, sent_conversation
from gateway.errors import ModelNotAllowed
from gateway.exchange import Caller, ChatRequest, Prepared
from gateway.recall import Looked, Recall
from gateway.replay_record import recorded
from gateway.sessions import Asker, Recalled
from gateway.snapshot import Snapshot
from gateway.wire import body as bodies
from gateway.wire.registry import WIRES
from gateway.wire.servable import servable
from router.complexity import Complexity
from router.decide import ModelOption, Situation, decide
from router.errors import NoCandidate, UnknownModel
from router.explore import explored
from router.need import Need, classify
from router.plan import Candidate, Plan
from router.policy import RoutePolicy
from router.quality import easy

# Beyond this size a body's work leaves the event loop.
INLINE_BYTES = 32 * 1024
LOSSLESS_FROM = 2_048  # prompt tokens
JSON_KEY_CHARS = 80  # a text with fewer characters to a key is mostly JSON


@record(frozen=True, slots=True)
class Question:
    """One request in its surroundings, as ``prepare`` needs it.

    ``draw`` (0 to 1) decides whether exploration turns its choice round; None: it does not.
    """

    request: ChatRequest
    caller: Caller
    brake: Brake
    warm: Mapping[str, int]
    served_before: str | None
    at_ms: int
    recall: Recall | None = None
    session_key: str = ""
    craft: Craft = HERE
    draw: float | None = None


def check_model(snapshot: Snapshot, model: str) -> None:
    """Raises UnknownModel, listing what there is."""
    if model != "auto" and model not in snapshot.settings.models:
        known = ", ".join(snapshot.settings.models)
        raise UnknownModel(f"model {model[:64]!r} is not declared here; known: {known}, auto")


def measured(snapshot: Snapshot, request: ChatRequest) -> Measurement:
    """The request's size as the model it asked for counts it."""
    gauge = snapshot.gauge(request.facts.requested_model)
    return HERE.measure(request.conversation, gauge)


def prepare_aside(snapshot: Snapshot, question: Question, kit: Kit, helpers: Helpers) -> Prepared:
    """``prepare``, its heavy parts done by a helper process.

    Raises:
        UnknownModel, NoCandidate: nothing can serve it.
    """
    request = question.request
    check_model(snapshot, request.facts.requested_model)
    gauge = snapshot.gauge(request.facts.requested_model)
    with helpers.craft(request.conversation, gauge, question.session_key) as craft:
        return prepare(snapshot, replace(question, craft=craft), kit)


def prepare(snapshot: Snapshot, question: Question, kit: Kit) -> Prepared:
    """Everything known before a hold: plan, fit and the bytes that would go upstream.

    Raises:
        UnknownModel, NoCandidate: nothing can serve it.
    """
    kit = replace(kit, session=question.session_key)
    thought = think_over(snapshot, question, kit)
    return carry_out(snapshot, question, kit, thought, thought.plan.choice)


def think_over(snapshot: Snapshot, question: Question, kit: Kit | None) -> Thought:
    """The plan for a request and what it was made from; nothing is cut yet.

    Without a ``kit`` no lossless size is measured, so lossless is no candidate.

    Raises:
        UnknownModel, NoCandidate: nothing can serve it.
    """
    request = question.request
    check_model(snapshot, request.facts.requested_model)
    gauge = snapshot.gauge(request.facts.requested_model)
    measurement = question.craft.measure(request.conversation, gauge)
    complexity = snapshot.complexity.score(measurement.question, request.facts, measurement)
    if snapshot.settings.routing.quality.limits:
        complexity = replace(complexity, limits=snapshot.limits)
    need = classify(measurement.question, request.facts, measurement)
    situation = _situation(snapshot, question, measurement, complexity, need)
    looked = Looked(measurement, complexity, need, prefixes(request.conversation, measurement, 0))
    situation, recalled = _recalled(snapshot, question, situation, looked)
    lossless = _lossless(situation, question, kit) if kit is not None else None
    if lossless is not None:
        situation = replace(situation, lossless_tokens=lossless.prompt_tokens)
    plan = _decided(snapshot, question.caller.key, situation)
    section = snapshot.settings.routing.explore
    if question.draw is not None and section is not None:
        plan = explored(situation, plan, question.draw, float(section.share))
    return Thought(situation, plan, looked.prefixes, lossless, recalled)


def _recalled(
    snapshot: Snapshot, question: Question, situation: Situation, looked: Looked
) -> tuple[Situation, Recalled | None]:
    """The situation with what is remembered of its conversation; a dry file has no past."""
    if question.recall is None:
        return situation, None
    key = question.caller.key
    asker = Asker(key.name, key.team, question.session_key, question.at_ms)
    found = question.recall.recalled(snapshot, asker, question.request, looked)
    before = found.before
    situation = replace(
        situation,
        warm=found.warm,
        served_before=before.model if before is not None else None,
        thread=found.thread,
    )
    streak = before.easy if before is not None else 0
    if not situation.facts.in_tool_loop:
        streak = streak + 1 if easy(situation) else 0
    return situation, replace(found, easy=streak)


def _decided(snapshot: Snapshot, key: VirtualKey, situation: Situation) -> Plan:
    """The plan. Raises NoCandidate; ModelNotAllowed where that is why there is none."""
    try:
        return decide(situation)
    except NoCandidate:
        asked = situation.facts.requested_model
        if asked != "auto" and not permitted(snapshot, key, asked):
            raise ModelNotAllowed(_not_allowed(snapshot, key, asked)) from None
        raise


def permitted(snapshot: Snapshot, key: VirtualKey, model: str) -> bool:
    """Whether a key may use a declared model: every `allow` on its path, and its region."""
    return snapshot.policy(key).permits(model, snapshot.settings.models[model].tier)


def _not_allowed(snapshot: Snapshot, key: VirtualKey, model: str) -> str:
    may = [name for name in snapshot.settings.models if permitted(snapshot, key, name)]
    region = f" in region {key.region!r}" if key.region is not None else ""
    return f"key {key.name!r} may not use model {model!r}; it may use{region}: " + (
        ", ".join(may) or "none, see `weir policy lint`"
    )


@record(frozen=True, slots=True)
class Thought:
    """What was found out about a request, before any candidate is tried."""

    situation: Situation
    plan: Plan
    prefixes: tuple[Prefix, ...] = ()
    lossless: Fitted | None = None
    recalled: Recalled | None = None

    @property
    def measurement(self) -> Measurement:
        """The request's size."""
        return self.situation.measurement


def carry_out(
    snapshot: Snapshot, question: Question, kit: Kit, thought: Thought, candidate: Candidate
) -> Prepared:
    """Fit for ``candidate``; where the fit refuses, the next candidate that needs no cut.

    A refused fit is no failure: the request goes on, larger, to the next in the plan.
    """
    request, plan = question.request, thought.plan
    reasons: list[Mapping[str, object]] = [{"code": r.code, **r.facts} for r in plan.reasons]
    queue = [candidate, *(c for c in plan.fallbacks if c is not candidate)]
    fitted: Fitted | None = None
    refused: set[Way] = set()
    for current in queue:
        if current.way in refused:
            continue  # what one model's trim could not find, another's would not, either
        candidate = current
        if current.recipe is None or current.way is Way.WHOLE:
            fitted = None
            break
        fitted = _fitted(question, kit, thought, current.recipe)
        if fitted.refused is None:
            break
        refused.add(current.way)
        reasons.append(_refusal(current, fitted))
        fitted = None
    else:
        # Only fits were possible (the prompt is beyond every window), and none could be made.
        why = ", ".join(sorted(f"{way.value} was refused" for way in refused))
        raise NoCandidate({c.model: c.why_not or why for c in plan.candidates})
    outbound = write_outbound(snapshot, request, candidate, fitted, question)
    findings = question.craft.scan(request.conversation)
    trail = trails.hashes(request.raw, fitted)
    return Prepared(
        measurement=thought.measurement,
        complexity=thought.situation.complexity,
        need=thought.situation.need,
        plan=plan,
        candidate=candidate,
        fitted=fitted,
        outbound=outbound,
        reasons=(*reasons, *trails.hidden(findings)),
        prefixes=thought.prefixes,
        decision={**recorded(thought.situation, plan), **trail},
        findings=findings,
        recalled=thought.recalled,
        sent_prefixes=_sent_prefixes(request, thought, fitted),
    )


def _fitted(question: Question, kit: Kit, thought: Thought, recipe: Recipe) -> Fitted:
    """The prompt made smaller; a lossless form is there already."""
    if recipe.way is Way.LOSSLESS and thought.lossless is not None:
        return thought.lossless
    craft = question.craft
    return craft.fit(question.request.conversation, thought.measurement, recipe, kit)


def _sent_prefixes(
    request: ChatRequest, thought: Thought, fitted: Fitted | None
) -> tuple[Prefix, ...]:
    """The prefixes that a fit left; nothing where none is remembered, or nothing was fitted.

    Found here, in a thread, for a long conversation has thousands.
    """
    if fitted is None or not fitted.edits or thought.recalled is None:
        return ()
    sent = sent_conversation(request.conversation, fitted)
    return prefixes(sent, thought.measurement, 0)


def _lossless(situation: Situation, question: Question, kit: Kit) -> Fitted | None:
    """What the prompt becomes in a shorter form that says the same, where that may pay.

    Its size must be measured to be a candidate, so it is tried before the decision, but
    only on large prompts that are mostly JSON: there it pays, and elsewhere a count of
    two characters says so.
    """
    measurement, facts = situation.measurement, situation.facts
    if measurement.prompt_tokens < LOSSLESS_FROM or facts.mode == "pass":
        return None
    if facts.in_tool_loop and situation.thread.way_before != Way.LOSSLESS.value:
        return None  # not begun there
    if facts.fit is Way.WHOLE or Way.LOSSLESS not in situation.policy.ways():
        return None
    conversation = question.request.conversation
    texts = [part.text for m in conversation.messages for part in m.parts if part.path]
    keys = sum(text.count('":') for text in texts)
    if keys * JSON_KEY_CHARS < sum(map(len, texts)):
        return None
    recipe = Recipe(Way.LOSSLESS, target_tokens=1)
    fitted = question.craft.fit(conversation, measurement, recipe, kit)
    return fitted if fitted.refused is None and fitted.way is Way.LOSSLESS else None


def _refusal(candidate: Candidate, fitted: Fitted) -> Mapping[str, object]:
    return {
        "code": "fit_refused",
        "way": candidate.way.value,
        "why": fitted.refused,
        "confidence": round(fitted.confidence, 3),
        "model": candidate.model,
    }


def _situation(
    snapshot: Snapshot,
    question: Question,
    measurement: Measurement,
    complexity: Complexity,
    need: Need,
) -> Situation:
    key = question.caller.key
    options = snapshot.options(key, question.at_ms)
    return Situation(
        facts=question.request.facts,
        measurement=measurement,
        complexity=complexity,
        need=need,
        options=servable(snapshot.settings, question.request, options),
        policy=route_policy(snapshot, key),
        brake=question.brake,
        warm=question.warm,
        output_limit=key.max_output,
        served_before=question.served_before,
    )


def route_policy(snapshot: Snapshot, key: VirtualKey) -> RoutePolicy:
    """The routing policy of a key; ``auto`` is compared with the team's own baseline first."""
    policy = snapshot.policy(key)
    baseline = key.baseline or policy.baseline or snapshot.default_model()
    return policy if baseline == policy.baseline else replace(policy, baseline=baseline)


def output_limit(question: Question) -> int | None:
    """The completion limit that policy sets on this request, where it is the tighter one.

    A missing limit is filled, so that a hold is always bounded; None: nothing to change.
    """
    wanted = question.request.facts.max_output_tokens
    limits = [question.caller.key.max_output, question.brake.max_output]
    limit = min((value for value in limits if value is not None), default=None)
    return limit if limit is not None and (wanted is None or wanted > limit) else None


def write_outbound(
    snapshot: Snapshot,
    request: ChatRequest,
    candidate: Candidate,
    fitted: Fitted | None,
    question: Question,
) -> bytes:
    """The body as it goes to ``candidate``: the client's own bytes where nothing changed."""
    max_output, region = output_limit(question), question.caller.key.region
    entry = snapshot.settings.models[candidate.model]
    upstream = snapshot.settings.upstreams[entry.upstream]
    values: dict[str, Any] = {}
    provider_model = entry.model or candidate.model
    if request.facts.requested_model != provider_model:
        values["model"] = provider_model
    wire = WIRES[request.wire]
    if wire.asks_usage and request.stream and not request.wants_usage:
        options = request.body.get("stream_options") or {}
        values["stream_options"] = {**options, "include_usage": True}
    if max_output is not None:
        names = [k for k in wire.limits if request.body.get(k)]
        if not names and wire.limits:
            names = [upstream.output_limit_field if wire.name == "chat" else wire.limits[0]]
        for name in names:
            values[name] = max_output
    if region is not None and upstream.told_region:
        values[REGION_FIELD] = region.lower()
    if fitted is not None and fitted.edits:
        return question.craft.edited(request.raw, fitted.edits, values)
    if not values:
        return request.raw
    if request.spliceable and (region is None or REGION_FIELD not in request.body):
        return bodies.with_scalars(request.raw, request.body, values)
    return bodies.with_values(request.raw, values)


def option_of(snapshot: Snapshot, caller: Caller, model: str, at_ms: int) -> ModelOption:
    """The option that a candidate names."""
    return snapshot.option(caller.key, model, at_ms)

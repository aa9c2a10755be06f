"""What one past request cost, what it would have cost under a policy, and why.

As it was: the log's own usage at the price of its own date, whole, to the model asked for;
where the log has no usage, our count and the expected answer. Under the policy: the
gateway's own decision (``prepare``) on the body, with the prompt's cached tokens counted as
warm at the model that had them, so that a switch pays for what it throws away. The log's
answer lengths stay. Without a body nothing proves that less is enough: the request stays
where it was unless its size alone decides, and only a bound is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import orjson

from billing.accounts import VirtualKey
from billing.errors import PriceMissing
from billing.ladder import Brake
from billing.money import half_even
from billing.prices import Price
from billing.usage import Usage, estimated
from compressor.measure import Measurement
from compressor.recipe import Way
from gateway.audit_policy import Declared, keys_by_team, provider_of
from gateway.audit_row import AuditRow
from gateway.errors import GatewayError, ModelNotAllowed
from gateway.exchange import Caller, ClientHeaders
from gateway.kits import Kits
from gateway.prepare import Question, Thought, carry_out, route_policy, think_over
from gateway.snapshot import Snapshot
from gateway.wire import chat
from router.complexity import Complexity
from router.decide import Situation, decide
from router.errors import NoCandidate, RouterError
from router.fitting import scale
from router.need import Need, NeedKind
from router.plan import Candidate, RequestFacts
from router.situation import ModelOption

_UNMEASURED = Complexity(p_small=0.0, p_large=1.0, small_is_enough=0.0, gain=1.0, weak="no_signal")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row judged; money in nano-USD, None where it cannot be said.

    ``basis``: ``body`` (decided as the gateway would), ``counts`` (sizes only) or ``none``
    (nothing to decide: a failure, an answer from a cache, no chat). ``refused``: a short
    code, or "". ``bound_nano``: the same tokens at the cheapest smaller model allowed;
    no saving, but the most that routing could make of it.
    """

    requested: str
    basis: str
    estimated: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    as_was_nano: int | None = None
    action: str = "pass"
    model: str = ""
    sent_tokens: int = 0
    policy_nano: int | None = None
    reason: str = ""
    refused: str = ""
    bound_nano: int | None = None
    unpriced: str = ""


class Judge:
    """Judges rows under one policy; one a process.

    ``key`` decides for rows whose team the policy does not know. ``fit``: carry fits out,
    as the gateway would; else the size that a plan expects is taken.
    """

    def __init__(self, snapshot: Snapshot, key: VirtualKey, now_ms: int, *, fit: bool) -> None:
        self._snapshot, self._key, self._now_ms, self._fit = snapshot, key, now_ms, fit
        self._declared = Declared(snapshot.settings)
        self._teams = keys_by_team(snapshot.settings)
        self._kits = Kits(snapshot.settings)

    def judge(self, row: AuditRow) -> Verdict:
        """The verdict on one row."""
        at_ms = row.at_ms or self._now_ms
        usage = row.usage
        known = Verdict(row.model, "none")
        if usage is not None:
            known = replace(
                known,
                estimated=usage.source != "provider",
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                cached_tokens=usage.cache_read_tokens,
                sent_tokens=usage.prompt_tokens,
            )
        if row.failed or row.from_cache:
            why = "failed" if row.failed else "answered_from_cache"
            return replace(known, as_was_nano=0, policy_nano=0, reason=why, model=row.model)
        name = self._declared.find(row.model)
        price = self._price(row, name, at_ms)
        if isinstance(price, str):
            known = replace(known, unpriced=price)
        elif usage is not None:
            known = replace(known, as_was_nano=_cost(price, usage))
        if not row.chat:
            return replace(
                known, policy_nano=known.as_was_nano, reason="not_a_chat", model=row.model
            )
        if name is None:
            return replace(known, action="refused", refused="model_not_declared")
        case = _Case(row, name, at_ms, self._teams.get(row.team, self._key), usage, known)
        try:
            return self._by_body(case, price) if row.body else self._by_counts(case, price)
        except (NoCandidate, ModelNotAllowed) as error:
            unpriced = isinstance(error, NoCandidate) and error.unpriced
            code = "unpriced" if unpriced else "no_model_may_serve_it"
            return replace(known, action="refused", refused=code)
        except (GatewayError, RouterError):
            return replace(known, action="refused", refused="invalid_request")

    def _price(self, row: AuditRow, name: str | None, at_ms: int) -> Price | str:
        """The price of what served the row, at its own date; its name where there is none."""
        served = row.served or row.model
        if served == "auto":  # the log does not say what answered: what auto is compared with
            served = name = self._snapshot.default_model()
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
        tried: list[tuple[str, str]] = []
        if name is not None and name != "auto":
            entry = self._snapshot.settings.models[name]
            own = self._snapshot.provider(name)
            tried = [(own, served), (own, entry.model or name)]
            if entry.price is not None or entry.free:
                tried.reverse()
        provider = provider_of(served, row.provider)
        for where, model in (*tried, (provider, served), (provider, row.model)):
            try:
                return self._snapshot.prices.price(where, model, at)
            except PriceMissing:
                continue
        return served

    def _by_body(self, case: _Case, price: Price | str) -> Verdict:
        """The gateway's own decision on the request's own text."""
        raw = orjson.dumps({**(case.row.body or {}), "model": case.name})
        request = chat.parse(raw, ClientHeaders())
        warm = {case.name: case.usage.cache_read_tokens} if case.usage else {}
        question = Question(
            request, Caller(case.key, None), Brake(), {k: v for k, v in warm.items() if v},
            None, case.at_ms,
        )  # fmt: skip
        thought = think_over(self._snapshot, question, None)
        run = self._run(case, question, thought)
        situation, plan = thought.situation, thought.plan
        usage = case.usage or estimated(
            situation.measurement.prompt_tokens,
            min(plan.max_output_tokens, situation.output_tokens() * request.facts.choices),
        )
        was = case.known.as_was_nano
        if case.usage is None and not isinstance(price, str):
            was = _cost(price, usage)
        base = replace(
            case.known,
            basis="body",
            estimated=case.usage is None or case.known.estimated,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            as_was_nano=was,
        )
        return self._under(case, base, run, usage)

    def _run(self, case: _Case, question: Question, thought: Thought) -> _Run:
        """What would be sent: the plan, with its fit carried out where that is wanted."""
        plan = thought.plan
        reasons = [{"code": r.code, **r.facts} for r in plan.reasons]
        if not self._fit or plan.choice.way is Way.WHOLE:
            choice = plan.choice
            return _Run(thought, choice, choice.way, None, _why(reasons))
        kit = self._kits.kit_for(self._snapshot, case.key.team, case.name)
        prepared = carry_out(self._snapshot, question, kit, thought, plan.choice)
        fitted, way = prepared.fitted, Way.WHOLE
        if fitted is not None:
            way = fitted.way
        size = fitted.prompt_tokens if fitted is not None else None
        return _Run(thought, prepared.candidate, way, size, _why(prepared.reasons))

    def _under(self, case: _Case, base: Verdict, run: _Run, usage: Usage) -> Verdict:
        """The verdict with the policy's side filled in."""
        chosen, baseline = run.candidate, run.thought.plan.baseline_model
        option = self._option(case, chosen.model)
        sent, cost = usage.prompt_tokens, base.as_was_nano
        if chosen.model != baseline or run.way is not Way.WHOLE:
            spent = _as_sent(usage, run, option, self._option(case, baseline))
            sent = spent.prompt_tokens
            cost = None if option.price is None else _cost(option.price, spent)
        done = ["route"] if chosen.model != baseline else []
        if run.way is not Way.WHOLE:
            done.append(run.way.value)
        return replace(
            base,
            action="+".join(done) or "pass",
            model=chosen.model,
            sent_tokens=sent,
            policy_nano=cost,
            reason=run.reason,
        )

    def _by_counts(self, case: _Case, price: Price | str) -> Verdict:
        """What sizes alone say: a longer window where it is needed, and a bound."""
        usage = case.usage
        if usage is None:
            return replace(case.known, action="refused", refused="nothing_to_judge")
        snapshot = self._snapshot
        asked = case.name if case.name != "auto" else snapshot.default_model()
        counter = f"o200k_base*{snapshot.cards[asked].token_ratio:.2f}"
        situation = Situation(
            facts=RequestFacts(case.name, max_output_tokens=usage.completion_tokens or None),
            measurement=_sized(usage.prompt_tokens, counter),
            complexity=_UNMEASURED,
            need=Need(NeedKind.UNKNOWN, 0.0),
            options=snapshot.options(case.key, case.at_ms),
            policy=replace(route_policy(snapshot, case.key), unproven="keep"),
            warm={asked: usage.cache_read_tokens} if usage.cache_read_tokens else {},
            output_tokens_expected=usage.completion_tokens or 1,
        )
        plan = decide(situation)
        base = replace(case.known, basis="counts", bound_nano=self._bound(case, situation, asked))
        choice = plan.choice
        reason = _why([{"code": r.code, **r.facts} for r in plan.reasons])
        run = _Run(Thought(situation, plan), choice, choice.way, None, reason)
        return self._under(case, base, run, usage)

    def _bound(self, case: _Case, situation: Situation, asked: str) -> int | None:
        """The same tokens at the cheapest smaller model that the policy permits."""
        policy, usage = situation.policy, situation.measurement.prompt_tokens
        if policy.forbid & {"route", "downgrade"} or case.usage is None:
            return None
        ceiling = self._snapshot.settings.models[asked].tier
        was = self._option(case, asked)
        costs = []
        for option in situation.options:
            smaller = option.tier.value == "small" and ceiling.value != "small"
            fits = usage <= option.card.window
            allowed = policy.permits(option.name, option.tier)
            if smaller and fits and allowed and option.price is not None:
                costs.append(_cost(option.price, _retold(case.usage, option, was)))
        return min((cost for cost in costs if cost is not None), default=None)

    def _option(self, case: _Case, model: str) -> ModelOption:
        return self._snapshot.option(case.key, model, case.at_ms)


@dataclass(frozen=True, slots=True)
class _Case:
    """A row on its way: the declared model it names, its instant, its key, what is known."""

    row: AuditRow
    name: str
    at_ms: int
    key: VirtualKey
    usage: Usage | None
    known: Verdict


@dataclass(frozen=True, slots=True)
class _Run:
    """What the policy would have sent; ``fitted_tokens`` by our count, where a fit was made."""

    thought: Thought
    candidate: Candidate
    way: Way
    fitted_tokens: int | None
    reason: str


def _why(reasons: Sequence[Mapping[str, object]]) -> str:
    """The code of the reason that decided, with what kind of evidence was too weak."""
    decisive = [r for r in reasons if r["code"] not in {"costs_less", "fit_refused"}]
    if not decisive:
        return ""
    last = decisive[-1]
    return f"{last['code']}:{last['why']}" if "why" in last else str(last["code"])


def _as_sent(usage: Usage, run: _Run, option: ModelOption, asked: ModelOption) -> Usage:
    """The usage as the chosen model would have metered it: nothing of it is warm there."""
    if run.way is Way.WHOLE:
        return _retold(usage, option, asked)
    measured, counted = run.thought.situation.measurement, run.candidate.prompt_tokens
    if run.fitted_tokens is not None:
        counted = int(run.fitted_tokens * scale(measured, option.card))
    own = max(1, int(measured.prompt_tokens * scale(measured, asked.card)))
    # The provider's count of the whole prompt against ours: the same error in the part.
    prompt = half_even(counted * usage.prompt_tokens, own) if usage.prompt_tokens else counted
    return _told(usage, prompt, option, asked)


def _retold(usage: Usage, option: ModelOption, asked: ModelOption) -> Usage:
    """The same request in another model's tokens, cold."""
    numerator, denominator = _ratio(option, asked)
    return _told(usage, half_even(usage.prompt_tokens * numerator, denominator), option, asked)


def _told(usage: Usage, prompt_tokens: int, option: ModelOption, asked: ModelOption) -> Usage:
    """A prompt of this size and the same answer; the answer, reasoning apart, in new tokens."""
    numerator, denominator = _ratio(option, asked)
    said = usage.completion_tokens - usage.reasoning_tokens
    return Usage(
        input_tokens=prompt_tokens,
        output_tokens=half_even(said * numerator, denominator),
        reasoning_tokens=usage.reasoning_tokens,
        tool_calls=usage.tool_calls,
        source="estimated",
    )


def _ratio(option: ModelOption, asked: ModelOption) -> tuple[int, int]:
    return round(option.card.token_ratio * 1000), max(1, round(asked.card.token_ratio * 1000))


def _cost(price: Price, usage: Usage) -> int | None:
    try:
        return price.cost(usage)
    except PriceMissing:
        return None


def _sized(prompt_tokens: int, tokenizer: str) -> Measurement:
    """A measurement of which only the size is known."""
    return Measurement(
        prompt_tokens=prompt_tokens,
        message_tokens=(prompt_tokens,),
        by_role={"user": prompt_tokens},
        tools_tokens=0,
        media_tokens=0,
        tokenizer=tokenizer,
        exact=False,
        segments=1,
        question="",
        document_tokens=0,
    )

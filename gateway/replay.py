"""A policy over recorded requests: who would have been routed, trimmed, refused, and for how much.

Pure. Each receipt's record gives back the situation; the policy under test gives options,
prices and permissions; ``decide`` is the gateway's own. Under the policy that was in force
the plans are the gateway's plans. Under another one the budgets are filled anew, and in a
conversation whose answers would have come from elsewhere the warm prefixes are, too.

What a changed plan would have cost is what was paid, times the ratio of both plans'
expected costs: the provider's own count and the answer's real length stay in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from billing.accounts import VirtualKey
from billing.counters import Spend
from billing.ladder import Brake
from billing.money import half_even
from billing.receipt import Receipt
from compressor.recipe import Way
from gateway.brakes import passes
from gateway.most import most
from gateway.prepare import route_policy
from gateway.replay_budgets import ReplayBudgets
from gateway.replay_record import (
    Choice,
    Terms,
    brake_of,
    choice_of,
    facts_of,
    readable,
    restored,
)
from gateway.sessions import Sessions, Turn, in_holdout
from gateway.snapshot import Snapshot
from router.catalog import ModelCard
from router.decide import decide
from router.errors import NoCandidate, UnknownModel
from router.plan import Candidate, Plan
from router.situation import Situation


@dataclass(frozen=True, slots=True)
class Replayed:
    """One request under the policy; money in nano-USD.

    ``now`` is None where it is refused (``refused``: a short code, ``why`` a sentence) or has
    no record (``refused`` None). ``same`` says that plan and arm equal what was recorded.
    ``cost_nano`` is what it would have cost, None where that cannot be said.
    """

    receipt: Receipt
    was: Choice | None
    now: Choice | None = None
    action: str = ""
    arm: str = ""
    same: bool = False
    refused: str | None = None
    why: str = ""
    cost_nano: int | None = None
    would: Choice | None = None


class Replay:
    """Replays receipts in the order they came, under one snapshot.

    ``before``: spend ahead of the first receipt, for windows that are open then.
    """

    def __init__(self, snapshot: Snapshot, before: Iterable[Spend] = (), at_ms: int = 0) -> None:
        self._snapshot = snapshot
        self._budgets = ReplayBudgets(snapshot.accounts, before, at_ms)
        self._turns = Sessions()

    def one(self, receipt: Receipt) -> Replayed:
        """One receipt, replayed; receipts must come in time order."""
        was = choice_of(receipt.decision)
        if was is None or not readable(receipt.decision):
            return Replayed(receipt, None)
        key = self._snapshot.accounts.named(receipt.key)
        if key is None or key.revoked:
            said = "revoked" if key else "not declared"
            return _refused(receipt, was, "key", f"key {receipt.key} is {said}")
        return self._planned(receipt, key, was)

    def _planned(self, receipt: Receipt, key: VirtualKey, was: Choice) -> Replayed:
        situation, arm = self._situation(receipt, key)
        if not self._unchanged(receipt):
            braked = _braked(receipt, situation.brake)
            if braked is not None:
                return _refused(receipt, was, *braked)
        try:
            plan = decide(situation)
        except UnknownModel as error:
            return _refused(receipt, was, "model", str(error))
        except NoCandidate as error:
            code = "unpriced" if error.unpriced else "no_candidate"
            return _refused(receipt, was, code, _exclusions(error.exclusions))
        run = carried_out(receipt, plan)
        if not self._unchanged(receipt):
            budget = self._over_budget(receipt, key, situation, run, plan)
            if budget is not None:
                return _refused(receipt, was, "budget", f"{budget} would be exhausted")
        would = Choice.of(plan.would) if plan.would else None
        now = Choice.of(plan.choice)
        found = Replayed(
            receipt=receipt,
            was=was,
            now=now,
            action=action_of(run, plan),
            arm=arm,
            same=arm == receipt.arm
            and now == was
            and would == choice_of(receipt.decision, "would"),
            cost_nano=cost_of(receipt, run, plan.choice),
            would=would,
        )
        self._remember(found, key, run)
        return found

    def _situation(self, receipt: Receipt, key: VirtualKey) -> tuple[Situation, str]:
        """The recorded situation under this policy, and the arm it falls in."""
        snapshot, decision = self._snapshot, receipt.decision
        facts, policy = facts_of(decision), route_policy(self._snapshot, key)
        session = receipt.session_key or receipt.request_id
        arm = "routed"
        if policy.mode == "observe":
            arm = "observe"
        elif in_holdout(session, float(key.holdout)):
            arm, facts = "holdout", replace(facts, mode="pass", fit=Way.WHOLE)
        terms = Terms(
            options=snapshot.options(key, receipt.at_ms),
            policy=policy,
            output_limit=key.max_output,
            limits=snapshot.limits,
        )
        situation = restored(decision, facts, terms)
        if self._unchanged(receipt):
            brake = brake_of(decision)
        else:
            brake = self._budgets.brake(key, receipt.user, receipt.at_ms)
        situation = replace(situation, brake=brake)
        last = self._turns.last(session)
        if last is None or last.model == situation.served_before:
            return situation, arm  # what was warm then would have been, here too
        warm = _warm_at(snapshot.cards, last, receipt.at_ms)
        thread = replace(situation.thread, way_before=last.way, warm_fit={})
        return replace(situation, warm=warm, served_before=last.model, thread=thread), arm

    def _unchanged(self, receipt: Receipt) -> bool:
        """Whether the policy is the very file that decided then: its brakes hold as recorded."""
        return receipt.policy_hash == self._snapshot.settings.hash

    def _over_budget(
        self,
        receipt: Receipt,
        key: VirtualKey,
        situation: Situation,
        run: Candidate,
        plan: Plan,
    ) -> str | None:
        """The budget that the request's worst case does not fit in, or None."""
        option = self._snapshot.option(key, run.model, receipt.at_ms)
        if option.price is None:
            return None
        exact = situation.measurement.exact and option.card.exact
        output = plan.max_output_tokens * situation.facts.choices
        amount = most(option.price, run.prompt_tokens, output, exact=exact)
        return self._budgets.refusal(key, receipt.user, receipt.at_ms, amount)

    def _remember(self, found: Replayed, key: VirtualKey, run: Candidate) -> None:
        """The spend counts in the budgets; a conversation that parts ways goes its own."""
        receipt = found.receipt
        self._budgets.spend(key, receipt.user, receipt.at_ms, found.cost_nano or 0)
        if receipt.status != 200:
            return
        session = receipt.session_key or receipt.request_id
        as_then = _place(found.now) == _place(found.was)
        if not as_then or self._turns.last(session) is not None:
            sent = receipt.sent_prompt_tokens if as_then else run.prompt_tokens
            self._turns.remember(session, Turn(run.model, sent, receipt.at_ms))


def carried_out(receipt: Receipt, plan: Plan) -> Candidate:
    """The candidate that would have been sent: a fit that was refused then is refused again."""
    refused = {str(r.get("way")) for r in receipt.reasons if r.get("code") == "fit_refused"}
    queue = (plan.choice, *plan.fallbacks)
    return next((c for c in queue if c.way.value not in refused), plan.choice)


def cost_of(receipt: Receipt, run: Candidate, choice: Candidate) -> int | None:
    """What was paid, scaled by what the new plan is expected to cost against the old one.

    Where both choose the same, that choice is compared with itself (so that a failover then
    is one now); else what would run with what ran. The expectation itself where nothing was
    expected of what ran; None without a price.
    """
    was = choice_of(receipt.decision)
    now = choice.expected_nano
    if was is not None and _place(was) == _place(Choice.of(choice)):
        then = was.expected_nano
    else:
        ran = choice_of(receipt.decision, "ran") or was
        now, then = run.expected_nano, ran.expected_nano if ran else None
    if now is None:
        return None
    if not then:
        return now if receipt.status == 200 else 0
    return half_even(receipt.cost_nano * now, then)


def _place(choice: Choice | None) -> tuple[str, str] | None:
    return None if choice is None else (choice.model, choice.way)


def action_of(run: Candidate, plan: Plan) -> str:
    """``pass``, or what would be done, joined by ``+``."""
    done = ["route"] if run.model != plan.baseline_model else []
    if run.way is not Way.WHOLE:
        done.append(run.way.value)
    return "+".join(done) or "pass"


def _braked(receipt: Receipt, brake: Brake) -> tuple[str, str] | None:
    """Why a ladder would not let the request in: (code, sentence), or None.

    A request that was served under `approve` then had a grant, and keeps it.
    """
    if brake.reject is not None:
        return "budget", "a ladder refuses new requests"
    if brake.approve and not brake_of(receipt.decision).approve:
        return "approval", "a ladder asks for an approval"
    if not passes(receipt.request_id, brake.throttle_percent):
        return "throttled", f"a ladder lets {brake.throttle_percent}% of requests pass"
    return None


def _refused(receipt: Receipt, was: Choice, code: str, why: str) -> Replayed:
    return Replayed(receipt, was, action="refused", refused=code, why=why, cost_nano=0)


def _exclusions(exclusions: Mapping[str, str]) -> str:
    return "; ".join(f"{model}: {why}" for model, why in list(exclusions.items())[:3])


def _warm_at(cards: Mapping[str, ModelCard], last: Turn, at_ms: int) -> Mapping[str, int]:
    """Tokens of a conversation that another model than the recorded one would hold of it."""
    card = cards.get(last.model)
    if card is None:
        return {}
    fresh = at_ms - last.at_ms < (card.cache_ttl_s or 0) * 1000
    enough = card.cache_min_tokens is not None and last.sent_tokens >= card.cache_min_tokens
    return {last.model: last.sent_tokens} if fresh and enough else {}

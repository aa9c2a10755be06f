"""A replay of receipts made by hand: budgets filled anew, conversations that part, costs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from billing.counters import Spend, path_of
from billing.receipt import Receipt
from compressor.measure import Measurement
from compressor.recipe import Way
from gateway.replay import Replay, carried_out, cost_of
from gateway.replay_log import Range, parse_period
from gateway.replay_record import Terms, facts_of, recorded, restored
from gateway.replay_report import Outcome, to_json
from gateway.settings import parse
from gateway.snapshot import Snapshot, build_snapshot
from router.complexity import Complexity
from router.decide import decide
from router.need import Need, NeedKind
from router.plan import RequestFacts
from router.situation import Situation

CONFIG = """
version: 1
upstreams: { openai: { kind: openai, api_key: x } }
models:
  small: { upstream: openai, model: gpt-6-luna, tier: small, price: { input: 0.1, output: 0.5 } }
  big:   { upstream: openai, model: gpt-6.1-sol, price: { input: 2, output: 10 } }
routing: { mode: route, baseline: big }
limits: { max_output: 1000 }
teams: { support: { keys: [main], budget: 100 per month } }
keys: { main: "sha256:1000000000000000000000000000000000000000000000000000000000000000" }
"""
AT_MS = 1_795_000_000_000
PAID = 4_000_000


def snapshot_of(**changes: str) -> Snapshot:
    text = CONFIG
    for old, new in changes.items():
        text = text.replace(OLD[old], new)
    return build_snapshot(parse(text, "weir.yaml"))


OLD = {
    "budget": "budget: 100 per month",
    "mode": "mode: route",
    "small": "price: { input: 0.1, output: 0.5 }",
    "team": "support: { keys: [main],",
}
BASE = snapshot_of()


def situation(snapshot: Snapshot, **changes: Any) -> Situation:
    key = snapshot.accounts.named("main")
    assert key is not None
    plain = Situation(
        facts=RequestFacts("big"),
        measurement=Measurement(
            prompt_tokens=900, message_tokens=(897,), by_role={"user": 897}, tools_tokens=0,
            media_tokens=0, tokenizer="o200k_base", exact=True, segments=1, question="",
            document_tokens=0,
        ),
        complexity=Complexity(0.9, 0.9, 0.95, -0.05, limits=snapshot.complexity.limits),
        need=Need(NeedKind.CHAT, 0.9),
        options=snapshot.options(key, AT_MS),
        policy=snapshot.policy(key),
        output_limit=key.max_output,
    )  # fmt: skip
    return replace(plain, **changes)


def receipt(number: int = 0, snapshot: Snapshot = BASE, **changes: Any) -> Receipt:
    """A receipt of a request that went to the small model."""
    plan = decide(situation(snapshot, **changes.pop("situation", {})))
    found = Receipt(
        request_id=f"r{number:04}", at_ms=AT_MS + number * 1000, team="support", project=None,
        key="main", user=None, session=None, task=None, tags={}, requested_model="big",
        served_model=plan.choice.model, tier=plan.choice.tier.value, upstream="openai",
        action="route" if plan.choice.model == "small" else "pass", arm="routed", reasons=(),
        candidates=(), original_prompt_tokens=900, sent_prompt_tokens=900, cached_tokens=0,
        completion_tokens=100, reasoning_tokens=0, effective_tokens=1000, billed_tokens=1000,
        cost_nano=PAID, gateway_cost_nano=0, baseline_nano=None, baseline_model="big",
        waste_nano=0, usage_source="provider", lines=(), attempts=(), overhead_ms=0.1, status=200,
        policy_hash=snapshot.settings.hash, prices_hash=snapshot.prices.hash,
        catalog_hash=snapshot.catalog_hash, session_key=f"session-{number}",
        decision=recorded(situation(snapshot), plan),
    )  # fmt: skip
    return replace(found, **changes)


def test_the_same_policy_changes_nothing() -> None:
    """The recorded plan comes out, and what was paid is what would have been."""
    found = Replay(BASE).one(receipt())
    assert (found.same, found.action, found.cost_nano, found.refused) == (True, "route", PAID, None)


def test_a_changed_price_scales_what_was_paid() -> None:
    """Twice the rates for the model that ran are twice what was paid."""
    dearer = snapshot_of(small="price: { input: 0.2, output: 1.0 }")
    found = Replay(dearer).one(receipt())
    assert (found.now and found.now.model, found.cost_nano) == ("small", 2 * PAID)
    assert not found.same


def test_a_forbidden_switch_costs_the_asked_for_models_price() -> None:
    """Without the switch the request costs as the big model's expectation to the small one's."""
    strict = snapshot_of(team="support: { forbid: [route], keys: [main],")
    found = Replay(strict).one(receipt())
    assert (found.action, found.now and found.now.model) == ("pass", "big")
    assert found.cost_nano == 20 * PAID  # both rates are 20 times those of the small model


def test_a_budget_is_filled_by_the_replay_itself() -> None:
    """What comes after the limit is refused; what is refused costs nothing."""
    tight = snapshot_of(budget="budget: 0.013 per month")
    replay = Replay(tight, (), AT_MS)
    found = [replay.one(receipt(number)) for number in range(6)]
    assert [one.refused for one in found] == [None, None, None, None, "budget", "budget"]
    assert [one.cost_nano for one in found[3:5]] == [PAID, 0]
    assert "support/month" in found[4].why


@pytest.mark.parametrize(
    ("action", "refused"),
    [("reject", "budget"), ("approve", "approval"), ("{ throttle: 0% }", "throttled")],
)
def test_a_ladder_of_the_new_policy_refuses(action: str, refused: str) -> None:
    """A rung that is reached in the replay refuses what the old policy let in."""
    text = CONFIG.replace("teams:", f"ladders: {{ hard: {{ 1%: {action} }} }}\nat: hard\nteams:")
    text = text.replace("budget: 100 per month", "budget: 0.1 per month")
    replay = Replay(build_snapshot(parse(text, "weir.yaml")), (), AT_MS)
    found = [replay.one(receipt(number)) for number in range(2)]
    assert [one.refused for one in found] == [None, refused]


def test_what_was_approved_then_stays_approved() -> None:
    """A request that was let in by a grant is let in again where approval is still asked for."""
    text = CONFIG.replace("teams:", "ladders: { hard: { 0%: approve } }\nat: hard\nteams:")
    replay = Replay(build_snapshot(parse(text, "weir.yaml")), (), AT_MS)
    one = receipt()
    granted = replace(one, decision={**one.decision, "brake": {"approve": True}})
    assert replay.one(granted).refused is None
    assert replay.one(receipt(1)).refused == "approval"


def test_spend_before_the_range_counts() -> None:
    """A window that was half full when the range began is half full in the replay."""
    tight = snapshot_of(budget="budget: 0.013 per month")
    before = [Spend(path_of("support", None, "main"), None, AT_MS - 60_000, 9_000_000)]
    replay = Replay(tight, before, AT_MS)
    assert [replay.one(receipt(n)).refused for n in range(2)] == [None, "budget"]


def test_a_conversation_that_parts_is_warm_where_it_went() -> None:
    """Once a turn would have gone elsewhere, the next one's warm prefix is there, too."""
    strict = snapshot_of(team="support: { forbid: [route], keys: [main],")
    warm = {"warm": {"small": 9_000}, "served_before": "small"}
    first = receipt(0, session_key="talk", sent_prompt_tokens=9_000)
    second = receipt(1, session_key="talk", situation=warm)
    second = replace(second, decision={**second.decision, **warm})
    replay = Replay(strict)
    replay.one(first)
    parted, _ = replay._situation(second, _key(strict))
    assert parted.served_before == "big"
    assert "small" not in parted.warm
    alone, _ = Replay(strict)._situation(second, _key(strict))
    assert (alone.served_before, dict(alone.warm)) == ("small", {"small": 9_000})


def _key(snapshot: Snapshot) -> Any:
    return snapshot.accounts.named("main")


@pytest.mark.parametrize(
    ("change", "refused"),
    [({"key": "gone"}, "key"), ({"requested_model": "big"}, None)],
)
def test_a_key_that_is_gone_is_refused(change: dict[str, Any], refused: str | None) -> None:
    """A key that the policy no longer knows sends nothing."""
    assert Replay(BASE).one(receipt(**change)).refused == refused


def test_a_model_that_is_gone_is_refused() -> None:
    """A model that the policy no longer declares is refused by name."""
    other = build_snapshot(parse(CONFIG.replace("big", "huge"), "weir.yaml"))
    found = Replay(other).one(receipt())
    assert found.refused == "model"
    assert "big" in found.why


def test_a_receipt_without_a_record_is_counted_not_guessed() -> None:
    """Receipts of older versions are left out of every sum and counted."""
    outcome = Outcome("sha256:x")
    for one in (receipt(), receipt(1, decision={}), receipt(2, decision={"v": 99, "plan": None})):
        outcome.add(Replay(BASE).one(one), BASE)
    found = to_json(outcome)
    assert (found["replayed"], found["unrecorded"], found["same_plan"]) == (1, 2, 1)


def test_drift_is_told_from_change() -> None:
    """Another plan under the very same policy, prices and catalog is drift, else it is not."""
    odd = receipt()
    row = ["big", "whole", 900, 5_300_000]
    odd = replace(odd, decision={**odd.decision, "plan": row})
    outcome = Outcome("sha256:x")
    outcome.add(Replay(BASE).one(odd), BASE)
    assert outcome.drifted == 1
    outcome.add(Replay(BASE).one(replace(odd, prices_hash="sha256:other")), BASE)
    assert (outcome.drifted, outcome.same, outcome.replayed) == (1, 0, 2)


def test_a_refused_fit_is_refused_again() -> None:
    """Where the gateway's fit refused, the replay falls back as the gateway did."""
    base = situation(BASE)
    long = replace(
        base.measurement, prompt_tokens=60_000, message_tokens=(59_997,),
        by_role={"user": 59_997}, document_tokens=59_000,
    )  # fmt: skip
    plan = decide(replace(base, measurement=long, need=Need(NeedKind.LOOKUP, 0.95)))
    assert plan.choice.way is Way.TRIM
    refused = receipt(reasons=({"code": "fit_refused", "way": "trim"},))
    assert carried_out(refused, plan).way is Way.WHOLE
    assert carried_out(receipt(), plan) is plan.choice


def test_a_failed_request_costs_nothing_either_way() -> None:
    """What was never expected to cost, and never answered, is nothing."""
    plan = decide(situation(BASE))
    failed = receipt(status=502, cost_nano=0, decision={"v": 1})
    assert cost_of(failed, plan.choice, plan.choice) == 0


@pytest.mark.parametrize(("text", "hours"), [("30d", 720), ("12h", 12), (" 2W ", 336), ("1d", 24)])
def test_periods(text: str, hours: int) -> None:
    """Hours, days and weeks up to now."""
    now = datetime(2026, 11, 22, tzinfo=UTC)
    found = parse_period(text, now)
    assert found.end_ms - 1 - found.start_ms == hours * 3_600_000
    assert parse_period("all", now) == Range(0, found.end_ms)


@pytest.mark.parametrize("text", ["", "d", "30", "1y", "-3d"])
def test_periods_that_are_none(text: str) -> None:
    """Anything else is refused with what may be written."""
    with pytest.raises(ValueError, match="30d"):
        parse_period(text, datetime(2026, 11, 22, tzinfo=UTC))


def test_terms_are_the_policys() -> None:
    """What the policy decides is taken from the policy under test, never from the record."""
    one = receipt()
    key = _key(BASE)
    terms = Terms(BASE.options(key, AT_MS)[:1], BASE.policy(key), 7, BASE.complexity.limits)
    back = restored(one.decision, facts_of(one.decision), terms)
    assert (len(back.options), back.output_limit) == (1, 7)

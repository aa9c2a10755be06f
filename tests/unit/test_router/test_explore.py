"""Exploration turns a choice round only where the score alone made it, with a known chance."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from billing.ladder import Brake
from billing.prices import PriceBook
from compressor.measure import Measurement
from router.catalog import bundled_catalog
from router.complexity import Complexity
from router.decide import ModelOption, Situation, decide
from router.explore import explored
from router.need import Need, NeedKind
from router.plan import RequestFacts, Tier
from router.policy import FitSection, RoutingSection, narrow, route_policy
from router.thread import Thread

SMALL, MID = "gpt-6-luna", "gpt-6.1-sol"
EASY = Complexity(0.90, 0.91, 0.96, 0.01, limits=((0.97, 0.05),))
HARD = Complexity(0.40, 0.85, 0.50, 0.45, limits=((0.97, 0.05),))
POLICY = route_policy(RoutingSection(baseline=MID), FitSection())


def option(name: str, tier: Tier) -> ModelOption:
    """A model of the price book."""
    price = PriceBook.bundled().price("openai", name, datetime(2026, 11, 21, tzinfo=UTC))
    return ModelOption(name, tier, "openai", name, bundled_catalog().lookup(name), price)


BASE = Situation(
    facts=RequestFacts(MID),
    measurement=Measurement(
        prompt_tokens=500, message_tokens=(500,), by_role={"user": 500}, tools_tokens=0,
        media_tokens=0, tokenizer="o200k_base", exact=True, segments=3, question="q",
        document_tokens=0,
    ),
    complexity=EASY,
    need=Need(NeedKind.CHAT, 0.9),
    options=(option(SMALL, Tier.SMALL), option(MID, Tier.MID)),
    policy=POLICY,
)  # fmt: skip


@pytest.mark.parametrize(("score", "taken", "other"), [(EASY, SMALL, MID), (HARD, MID, SMALL)])
def test_what_the_score_decided_is_turned_round_for_the_share(
    score: Complexity, taken: str, other: str
) -> None:
    """Below the share the other model answers; above it nothing changes but the chance noted."""
    situation = replace(BASE, complexity=score)
    plan = decide(situation)
    kept, turned = (explored(situation, plan, draw, 0.1) for draw in (0.1, 0.0999))
    assert (kept.choice.model, kept.chance, kept.reasons) == (taken, 0.9, plan.reasons)
    assert (turned.choice.model, turned.chance) == (other, 0.1)
    assert turned.reasons[-1].code == "explored"
    assert turned.reasons[-1].facts == {"chance": 0.1, "instead_of": taken}
    assert turned.fallbacks[0].model == taken
    said = {c.model: c.why_not for c in turned.candidates if c.way.value == "whole"}
    assert said[other] is None
    assert "drawn to try the other choice" in (said[taken] or "")
    assert turned.baseline_model == MID


@pytest.mark.parametrize(
    "changes",
    [
        {"complexity": replace(HARD, weak="tools")},
        {"facts": RequestFacts(MID, in_tool_loop=True), "served_before": MID},
        {"facts": RequestFacts(MID, signed_thinking=True), "complexity": HARD},
        {"facts": RequestFacts(MID, mode="pass"), "complexity": HARD},
        {"policy": narrow(POLICY, forbid=["downgrade"]), "complexity": HARD},
        {"policy": narrow(POLICY, allow=[MID])},
        {"policy": replace(POLICY, mode="observe")},
        {"brake": Brake(route="cheaper")},
        {"thread": Thread(number=3, floor="mid")},
        {"facts": RequestFacts(SMALL)},
    ],
)
def test_what_anything_else_decided_is_left_alone(changes: dict[str, object]) -> None:
    """Policy, safe points, brakes, weak evidence, work of a larger model: nothing is tried."""
    situation = replace(BASE, **changes)  # type: ignore[arg-type]  # fields by name
    plan = decide(situation)
    assert explored(situation, plan, 0.0, 0.5) is plan

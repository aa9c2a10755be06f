"""What decide() promises, situation by situation and for any situation."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.ladder import Brake
from billing.prices import Price, PriceBook
from compressor.measure import Measurement
from compressor.recipe import Way
from router.catalog import bundled_catalog
from router.complexity import Complexity
from router.decide import ModelOption, Situation, decide
from router.errors import NoCandidate, UnknownModel
from router.need import Need, NeedKind
from router.plan import Plan, RequestFacts, Tier
from router.policy import FitSection, RoutePolicy, RoutingSection, narrow, route_policy

CATALOG = bundled_catalog()
BOOK = PriceBook.bundled()
AT = datetime(2026, 11, 21, tzinfo=UTC)
SMALL, MID, LONG = "gpt-6-luna", "gpt-6.1-sol", "gemini-3.8-flash"

EASY = Complexity(0.90, 0.91, 0.96, 0.01, limits=((0.97, 0.05),))
HARD = Complexity(0.40, 0.85, 0.50, 0.45, limits=((0.97, 0.05),))
LOOKUP = Need(NeedKind.LOOKUP, 0.9)
NAMED = Need(NeedKind.LOOKUP, 0.9, identifiers=True)
SYNTHESIS = Need(NeedKind.SYNTHESIS, 0.9)
CHAT = Need(NeedKind.CHAT, 0.9)
UNSURE = Need(NeedKind.UNKNOWN, 0.4)


def option(name: str, tier: Tier, provider: str, price: Price | None = None) -> ModelOption:
    known = price or BOOK.price(provider, name, AT)
    return ModelOption(name, tier, provider, name, CATALOG.lookup(name), known)


OPTIONS = (
    option(SMALL, Tier.SMALL, "openai"),
    option(MID, Tier.MID, "openai"),
    option(LONG, Tier.LONG, "google"),
)
POLICY = route_policy(RoutingSection(baseline=MID), FitSection())


def measured(total: int, *, document: int = 0, turns: int = 1, tools: int = 0) -> Measurement:
    """A request of ``total`` tokens; the last turn holds the document and 100 tokens more."""
    last = document + 100 if document or turns > 1 else total - tools
    before = total - tools - last
    messages: tuple[int, ...] = (total - tools,)
    if turns > 1 and before > 0:
        each = before // (turns - 1)
        messages = (before - each * (turns - 2), *[each] * (turns - 2), last)
    return Measurement(
        prompt_tokens=total,
        message_tokens=messages,
        by_role={"user": total - tools},
        tools_tokens=tools,
        media_tokens=0,
        tokenizer="o200k_base",
        exact=True,
        segments=10,
        question="q",
        document_tokens=document,
    )


def situation(**changes: object) -> Situation:
    base = Situation(
        facts=RequestFacts(MID),
        measurement=measured(500),
        complexity=EASY,
        need=CHAT,
        options=OPTIONS,
        policy=POLICY,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # fields by name


def codes(plan: Plan) -> list[str]:
    return [reason.code for reason in plan.reasons]


def why(plan: Plan, model: str, way: Way = Way.WHOLE) -> str:
    found = [c.why_not for c in plan.candidates if c.model == model and c.way is way]
    assert found, f"no candidate {model} {way}"
    return found[0] or ""


def chosen(plan: Plan) -> tuple[str, Way]:
    return plan.choice.model, plan.choice.way


DOCUMENT = measured(91_200, document=91_000)
CASES = {
    "an easy question goes to the small model": ({}, (SMALL, Way.WHOLE), "small_is_enough"),
    "a hard question stays": ({"complexity": HARD}, (MID, Way.WHOLE), "large_is_needed"),
    "weak evidence stays": (
        {"complexity": replace(EASY, weak="script")}, (MID, Way.WHOLE), "weak_evidence",
    ),
    "a sure look-up in a long document is trimmed": (
        {"measurement": DOCUMENT, "need": replace(LOOKUP, identifiers=True)},
        (SMALL, Way.TRIM), "only_a_part_is_needed",
    ),
    "a lossless form is read whole: a small model that cannot is not taken": (
        {"measurement": DOCUMENT, "need": LOOKUP, "lossless_tokens": 60_000},
        (MID, Way.TRIM), "only_a_part_is_needed",
    ),
    "an open look-up is trimmed for a model that reads what a safe trim keeps": (
        {"measurement": DOCUMENT, "need": LOOKUP}, (MID, Way.TRIM), "only_a_part_is_needed",
    ),
    "a hard look-up in a long document is trimmed for the model asked for": (
        {"measurement": DOCUMENT, "need": LOOKUP, "complexity": HARD},
        (MID, Way.TRIM), "beyond_effective_context",
    ),
    "a synthesis of a long document goes whole to the long model": (
        {"measurement": DOCUMENT, "need": SYNTHESIS}, (LONG, Way.WHOLE), "longer_effective_context",
    ),
    "an unknown need is never cut": (
        {"measurement": DOCUMENT, "need": UNSURE, "options": OPTIONS[:2]},
        (MID, Way.WHOLE), "need_unknown",
    ),
    "an unsure look-up is never cut": (
        {"measurement": DOCUMENT, "need": Need(NeedKind.LOOKUP, 0.5), "options": OPTIONS[:2]},
        (MID, Way.WHOLE), "beyond_effective_context",
    ),
    "a transform is never cut": (
        {"measurement": DOCUMENT, "need": Need(NeedKind.TRANSFORM, 0.9), "options": OPTIONS[:2]},
        (MID, Way.WHOLE), "beyond_effective_context",
    ),
    "old history is remembered at less resolution": (
        {"measurement": measured(60_000, turns=20), "need": CHAT, "complexity": HARD,
         "options": OPTIONS[:2], "facts": RequestFacts(MID, human_turns=20)},
        (MID, Way.COMPRESS), "old_history",
    ),
    "a short conversation is not compressed": (
        {"measurement": measured(9_000, turns=20), "need": CHAT, "complexity": HARD,
         "options": OPTIONS[:2], "facts": RequestFacts(MID, human_turns=20)},
        (MID, Way.WHOLE), "large_is_needed",
    ),
    "x-weir-mode pass changes nothing": (
        {"measurement": DOCUMENT, "need": LOOKUP, "facts": RequestFacts(MID, mode="pass")},
        (MID, Way.WHOLE), "pass_requested",
    ),
    "no switch inside a tool loop": (
        {"facts": RequestFacts(MID, in_tool_loop=True)}, (MID, Way.WHOLE), "tool_loop",
    ),
    "no switch across signed reasoning": (
        {"facts": RequestFacts(MID, signed_thinking=True)}, (MID, Way.WHOLE), "signed_thinking",
    ),
    "a tool loop goes on with the model that began it": (
        {"facts": RequestFacts(MID, in_tool_loop=True), "served_before": SMALL},
        (SMALL, Way.WHOLE), "tool_loop",
    ),
    "a short follow-up stays with the model it follows": (
        {"complexity": replace(EASY, weak="follow_up"), "served_before": MID},
        (MID, Way.WHOLE), "follow_up",
    ),
    "many tools do not make a greeting hard or long": (
        {"measurement": measured(12_500, tools=12_000), "facts": RequestFacts(MID, tool_count=32)},
        (SMALL, Way.WHOLE), "small_is_enough",
    ),
    "auto is compared with the baseline": (
        {"facts": RequestFacts("auto")}, (SMALL, Way.WHOLE), "small_is_enough",
    ),
    "auto keeps the baseline for hard questions": (
        {"facts": RequestFacts("auto"), "complexity": HARD}, (MID, Way.WHOLE), "large_is_needed",
    ),
    "a small model that was asked for is kept": (
        {"facts": RequestFacts(SMALL), "complexity": HARD}, (SMALL, Way.WHOLE), "nothing_to_gain",
    ),
    "a budget's brake forces the small tier": (
        {"complexity": HARD, "brake": Brake(route="small")}, (SMALL, Way.WHOLE), "budget",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_situations(name: str) -> None:
    """Each named situation gets the model, the way and the reason it should."""
    changes, expected, code = CASES[name]
    plan = decide(situation(**changes))
    assert chosen(plan) == expected
    assert code in codes(plan)


def test_a_forbidden_downgrade_holds_even_under_a_brake() -> None:
    """`forbid: [downgrade]` keeps the asked-for model whatever the budget says."""
    policy = narrow(POLICY, forbid=["downgrade"])
    plan = decide(situation(policy=policy, brake=Brake(route="small")))
    assert chosen(plan) == (MID, Way.WHOLE)
    assert why(plan, SMALL) == "policy forbids a smaller model than the one asked for"


def test_models_outside_the_permissions_are_never_used() -> None:
    """A model that a team may not use is neither chosen nor a fallback."""
    plan = decide(situation(policy=narrow(POLICY, allow=["mid"])))
    used = [plan.choice, *plan.fallbacks]
    assert {c.model for c in used} == {MID}


def test_a_forbidden_fallback_leaves_no_third_model() -> None:
    """`forbid: [fallback]` tries nothing that was neither chosen nor asked for."""
    options = tuple(replace(o, fallbacks=(LONG,)) if o.name == MID else o for o in OPTIONS)
    free = decide(situation(options=options))
    bound = decide(situation(options=options, policy=narrow(POLICY, forbid=["fallback"])))
    assert chosen(bound) == chosen(free)
    assert LONG in {c.model for c in free.fallbacks}
    assert {c.model for c in bound.fallbacks} <= {MID, chosen(bound)[0]}


def test_a_warm_cache_is_worth_more_than_a_switch_that_loses_it() -> None:
    """A prefix warm at the asked-for model keeps the request there when a trim costs more."""
    warm = measured(20_000, document=19_000)
    cold = decide(situation(measurement=warm, need=LOOKUP, complexity=HARD, options=OPTIONS[:2]))
    kept = decide(
        situation(
            measurement=warm, need=LOOKUP, complexity=HARD, options=OPTIONS[:2],
            warm={MID: 20_000},
        )
    )  # fmt: skip
    assert chosen(cold) == (MID, Way.TRIM)
    assert chosen(kept) == (MID, Way.WHOLE)


def test_each_other_candidate_says_in_a_sentence_why_it_was_not_taken() -> None:
    """Only the chosen candidate has no why_not; sentences name figures."""
    plan = decide(situation(measurement=DOCUMENT, need=LOOKUP))
    silent = [c for c in plan.candidates if c.why_not is None]
    assert [(c.model, c.way) for c in silent] == [chosen(plan)]
    assert why(plan, SMALL) == (
        "it reads up to 4,096 tokens well on open questions, and this prompt has 91,200"
    )
    assert why(plan, MID).startswith("the choice is expected to cost $0.1")


def test_a_dearer_candidate_names_the_difference() -> None:
    """A candidate dearer than the request as asked is struck out with the amount."""
    options = (*OPTIONS[:2], option("gemini-4-argon", Tier.LONG, "google"))
    plan = decide(situation(measurement=DOCUMENT, need=SYNTHESIS, options=options))
    assert chosen(plan) == (MID, Way.WHOLE)
    assert why(plan, "gemini-4-argon").startswith("it would cost $0.0")


def test_observe_mode_changes_nothing_and_records_what_it_would_do() -> None:
    """In observe mode the choice is the request as asked and `would` the better plan."""
    policy = replace(POLICY, mode="observe")
    plan = decide(situation(policy=policy))
    assert chosen(plan) == (MID, Way.WHOLE)
    assert plan.would is not None
    assert plan.would.model == SMALL
    assert plan.fallbacks == ()


def test_a_prompt_beyond_every_window_is_trimmed_or_refused() -> None:
    """Too long for the asked-for model: a fit may serve it; without one NoCandidate says why."""
    huge = measured(2_000_000, document=1_999_000)
    plan = decide(situation(measurement=huge, need=LOOKUP))
    assert plan.choice.way is Way.TRIM
    assert plan.baseline_nano is None
    assert "beyond_window" in codes(plan)
    with pytest.raises(NoCandidate) as caught:
        decide(situation(measurement=huge, need=UNSURE))
    assert set(caught.value.exclusions) == {SMALL, MID, LONG}
    assert caught.value.unpriced is False


def test_an_unpriced_model_is_refused_not_free() -> None:
    """A named model without a price raises NoCandidate(unpriced); as a candidate it is out."""
    free = replace(OPTIONS[1], price=None)
    with pytest.raises(NoCandidate) as caught:
        decide(situation(options=(OPTIONS[0], free)))
    assert caught.value.unpriced is True
    small = replace(OPTIONS[0], price=None)
    plan = decide(situation(options=(small, OPTIONS[1])))
    assert chosen(plan) == (MID, Way.WHOLE)
    assert why(plan, SMALL).startswith("no price is known")


def test_an_unknown_name_lists_what_there_is() -> None:
    """A model that nobody declared raises UnknownModel with the known names."""
    with pytest.raises(UnknownModel, match=r"'nope' is not configured; known: auto, gemini"):
        decide(situation(facts=RequestFacts("nope")))


def test_a_declared_fallback_is_tried_last_even_if_dearer() -> None:
    """What the operator declared for an outage follows the cheaper candidates."""
    dearer = option("gpt-6-astra", Tier.MID, "openai")
    asked = replace(OPTIONS[1], fallbacks=("gpt-6-astra",))
    plan = decide(situation(options=(OPTIONS[0], asked, dearer)))
    assert [c.model for c in plan.fallbacks] == [MID, "gpt-6-astra"]


def test_images_go_only_to_models_that_read_them() -> None:
    """A small model that reads no images is struck out for a request with one."""
    blind = replace(OPTIONS[0], card=replace(OPTIONS[0].card, images=False))
    plan = decide(situation(options=(blind, OPTIONS[1]), facts=RequestFacts(MID, image_count=1)))
    assert chosen(plan) == (MID, Way.WHOLE)
    assert why(plan, SMALL) == "it does not read images"


def test_the_output_limit_is_the_tightest_one() -> None:
    """max_output_tokens obeys client, policy and brake; a missing one is filled."""
    assert decide(situation(output_limit=2_000)).max_output_tokens == 2_000
    asked = RequestFacts(MID, max_output_tokens=900)
    assert decide(situation(facts=asked, output_limit=2_000)).max_output_tokens == 900
    assert decide(situation(brake=Brake(max_output=50))).max_output_tokens == 50
    assert decide(situation()).max_output_tokens == CATALOG.lookup(SMALL).max_output


needs = st.builds(
    Need,
    kind=st.sampled_from(list(NeedKind)),
    confidence=st.floats(0, 1),
    identifiers=st.booleans(),
)
scores = st.builds(
    Complexity,
    p_small=st.floats(0, 1),
    p_large=st.floats(0, 1),
    small_is_enough=st.floats(0, 1),
    gain=st.floats(-1, 1),
    weak=st.sampled_from([None, "script", "follow_up", "tools"]),
    limits=st.just(((0.9, 0.1), (0.97, 0.05))),
)
policies = st.builds(
    RoutePolicy,
    mode=st.sampled_from(["route", "observe"]),
    baseline=st.just(MID),
    allow=st.permutations([Way.LOSSLESS, Way.TRIM, Way.COMPRESS]).map(tuple),
    forbid=st.frozensets(st.sampled_from(["trim", "compress", "downgrade", "route"])),
)
facts = st.builds(
    RequestFacts,
    requested_model=st.sampled_from([SMALL, MID, LONG, "auto"]),
    max_output_tokens=st.none() | st.integers(1, 4_000),
    choices=st.integers(1, 4),
    tool_count=st.integers(0, 40),
    mode=st.sampled_from(["route", "pass"]),
    fit=st.sampled_from(list(Way)),
    in_tool_loop=st.booleans(),
    signed_thinking=st.booleans(),
    human_turns=st.integers(1, 30),
)


@st.composite
def any_situation(draw: st.DrawFn) -> Situation:
    total = draw(st.integers(200, 400_000))
    document = draw(st.integers(0, total - 150))
    turns = draw(st.integers(1, 2))
    return Situation(
        facts=draw(facts),
        measurement=measured(total, document=document, turns=turns),
        complexity=draw(scores),
        need=draw(needs),
        options=OPTIONS,
        policy=draw(policies),
        brake=Brake(
            route=draw(st.sampled_from([None, "cheaper", "small"])),
            compress=draw(st.sampled_from([None, "soft", "hard"])),
        ),
        warm=draw(st.dictionaries(st.sampled_from([SMALL, MID, LONG]), st.integers(0, 500_000))),
        served_before=draw(st.sampled_from([None, SMALL, MID, LONG])),
        lossless_tokens=draw(st.none() | st.integers(100, total)),
    )


@settings(max_examples=250, deadline=None)
@given(any_situation())
def test_whatever_comes_the_plan_keeps_its_promises(case: Situation) -> None:
    """Never dearer than asked, the request whole in reach, forbidden things never done."""
    plan = decide(case)
    assert plan == decide(case)
    reachable = [plan.choice, *plan.fallbacks]
    assert (plan.baseline_model, Way.WHOLE) in [(c.model, c.way) for c in reachable]
    assert plan.baseline_nano is not None
    for candidate in reachable:
        assert candidate.ok
        assert candidate.expected_nano is not None
        assert candidate.expected_nano <= plan.baseline_nano
        assert candidate.way is Way.WHOLE or candidate.way in case.policy.ways()
        assert candidate.way is Way.WHOLE or candidate.recipe is not None
    if case.facts.mode == "pass" or "route" in case.policy.forbid:
        pinned = case.facts.in_tool_loop or case.facts.signed_thinking
        follows = case.complexity.weak == "follow_up"
        if case.facts.mode == "pass" or not (pinned or follows):
            assert plan.choice.model == plan.baseline_model
    if case.facts.mode == "pass" or case.policy.mode == "observe":
        assert plan.choice.way is Way.WHOLE
    if case.need.kind is NeedKind.UNKNOWN:
        assert plan.choice.way in (Way.WHOLE, Way.LOSSLESS)

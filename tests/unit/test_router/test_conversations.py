"""Prompts that users of routers say were misrouted, and what a conversation keeps.

The real score, the real need and real prices; every test is named after its complaint.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

import pytest

from billing.ladder import Brake
from billing.prices import PriceBook
from compressor.conversation import Conversation, Message, Part, PartKind
from compressor.measure import measure
from compressor.media import media_rule
from compressor.tokens import load_counter
from router.catalog import bundled_catalog
from router.complexity import WEAK, Complexity, ComplexityModel, bundled_complexity
from router.decide import ModelOption, Situation, decide
from router.need import classify
from router.plan import Plan, RequestFacts, Tier
from router.policy import FitSection, RoutingSection, narrow, route_policy
from router.thread import Thread

AT = datetime(2026, 11, 21, tzinfo=UTC)
SMALL, MID, LONG = "gpt-6-luna", "gpt-6.1-sol", "gemini-4-argon"
POLICY = route_policy(RoutingSection(baseline=MID), FitSection())
TOOL = (
    '{"type":"function","function":{"name":"tool_%d","description":"Does one thing of many, '
    'with care.","parameters":{"type":"object","properties":{"path":{"type":"string"}}}}}'
)


@cache
def score() -> ComplexityModel:
    return bundled_complexity()


@cache
def options() -> tuple[ModelOption, ...]:
    book, catalog = PriceBook.bundled(), bundled_catalog()
    rows = ((SMALL, Tier.SMALL, "openai"), (MID, Tier.MID, "openai"), (LONG, Tier.LONG, "google"))
    return tuple(
        ModelOption(name, tier, by, name, catalog.lookup(name), book.price(by, name, AT))
        for name, tier, by in rows
    )


def talk(*turns: str, tools: int = 0, last: str = "user") -> Conversation:
    """User and assistant in turn, the last one by ``last``."""
    roles = ["user" if n % 2 == 0 else "assistant" for n in range(len(turns))]
    roles[-1] = last
    kinds = [PartKind.TOOL_RESULT if role == "tool" else PartKind.TEXT for role in roles]
    messages = tuple(
        Message(role, (Part(kind, text, ("messages", n, "content")),))
        for n, (role, kind, text) in enumerate(zip(roles, kinds, turns, strict=True))
    )
    return Conversation(messages, tuple(TOOL % n for n in range(tools)))


def situation(conversation: Conversation, **changes: object) -> Situation:
    """The conversation as the gateway would put it to the decision."""
    facts = RequestFacts(
        MID,
        tool_count=len(conversation.tools),
        in_tool_loop=conversation.messages[-1].role == "tool",
        human_turns=sum(m.role == "user" for m in conversation.messages),
    )
    counter = load_counter("o200k_base")
    measurement = measure(conversation, counter, media_rule("openai_tiles"))
    base = Situation(
        facts=facts,
        measurement=measurement,
        complexity=score().score(measurement.question, facts, measurement),
        need=classify(measurement.question, facts, measurement),
        options=options(),
        policy=POLICY,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # fields by name


def plan(*turns: str, tools: int = 0, last: str = "user", **changes: object) -> Plan:
    return decide(situation(talk(*turns, tools=tools, last=last), **changes))


def why(found: Plan, model: str) -> str:
    return next(c.why_not or "" for c in found.candidates if c.model == model)


EASY = "Hello again! Who was the first person to walk on the surface of the moon?"


@pytest.mark.parametrize(
    "question",
    [
        (
            "A cyclic peroxide is warmed with two equivalents of triphenylphosphine in benzene. "
            "Which diastereomer of the ring-contracted ether predominates, and what does the "
            "stereochemical outcome tell about the order of the two phosphorus-oxygen steps?"
        ),
        (
            "Adding one equivalent of TMEDA speeds up the deprotonation tenfold, a second one "
            "slows it down again. The rate is half order in the base. What is the aggregate "
            "in the rate-limiting transition structure and why does the second equivalent matter?"
        ),
    ],
)
def test_graduate_chemistry_without_keywords(question: str) -> None:
    """A hard question of chemistry that holds no word of any list keeps the model asked for."""
    assert plan(question).choice.model == MID


@pytest.mark.parametrize(
    "question",
    [
        (
            "Prove that there are infinitely many primes p such that p + 2 has at most two prime "
            "factors, or explain precisely where the parity problem stops the argument."
        ),
        (
            "Show that for every odd prime p the sum of (k/p) * k over k from 1 to p - 1 is "
            "divisible by p when p is congruent to 1 mod 4."
        ),
    ],
)
def test_a_number_theory_proof(question: str) -> None:
    """A proof keeps the model asked for, however short its statement is."""
    assert plan(question).choice.model == MID


@pytest.mark.parametrize("greeting", ["good morning", "Good morning!", "hi", "thanks"])
def test_good_morning_with_32_tools_registered(greeting: str) -> None:
    """The tools that an agent registers do not make a greeting hard."""
    assert plan(greeting, tools=32).choice.model == SMALL


HARD = "Find and fix the race condition in this scheduler so that no task is lost on restart."
PATCH = "The lock is released too early:\n```python\nwith lock:\n    queue.commit()\n```"


@pytest.mark.parametrize("turn", ["commit it", "yes", "go ahead", "ok, do that", "push it please"])
def test_commit_it_after_a_hard_turn(turn: str) -> None:
    """A short follow-up stays with the model that did the hard work."""
    found = plan(HARD, PATCH, turn, served_before=MID)
    assert found.choice.model == MID
    assert "follow_up" in [reason.code for reason in found.reasons]


def test_commit_it_stays_where_the_work_was_cheap() -> None:
    """Inheritance goes both ways: what a small model answered, it goes on answering."""
    assert plan(EASY, "Neil Armstrong.", "and its size?", served_before=SMALL).choice.model == SMALL


@pytest.mark.parametrize("turn", ["prove it", "now implement it", "debug this code"])
def test_a_short_turn_that_asks_for_work_goes_up(turn: str) -> None:
    """Fast up: a short turn that asks a small model for a proof or code leaves it at once."""
    thread = Thread(number=2, easy=1, asks_work=True)
    found = plan(EASY, "Neil Armstrong.", turn, served_before=SMALL, thread=thread)
    assert found.choice.model == MID


@pytest.mark.parametrize("text", ["hi, step by step, pros and cons", "Hello! think step by step"])
def test_hi_step_by_step_pros_and_cons(text: str) -> None:
    """Words that sound like thinking do not make a greeting hard."""
    assert plan(text).choice.model == SMALL


def test_a_conversation_goes_up_fast() -> None:
    """After any number of easy turns a hard one is answered by the model asked for."""
    found = plan(
        EASY, "Neil Armstrong.", HARD, served_before=SMALL, thread=Thread(number=2, easy=9)
    )
    assert found.choice.model == MID


def test_a_conversation_comes_down_slowly() -> None:
    """The first easy turn after a hard one stays; the second goes down, and says why before."""
    turns = (HARD, PATCH, EASY)
    first = plan(*turns, served_before=MID, thread=Thread(number=2, easy=0))
    second = plan(*turns, served_before=MID, thread=Thread(number=3, easy=1))
    assert (first.choice.model, second.choice.model) == (MID, SMALL)
    assert first.reasons[-1].code == "comes_down_slowly"
    assert "comes down slowly" in why(first, SMALL)


def test_no_tier_below_the_one_that_wrote_the_code() -> None:
    """A turn that refers to code stays at the tier that wrote it, or at the one asked for."""
    turns = (HARD, PATCH, EASY)
    known, unknown, own = (
        plan(*turns, served_before=MID, thread=Thread(number=3, easy=5, floor=floor))
        for floor in ("mid", "asked", "small")
    )
    assert (known.choice.model, unknown.choice.model, own.choice.model) == (MID, MID, SMALL)
    assert known.reasons[-1].code == "work_of_larger_model"
    assert why(known, SMALL) == "it refers to code or a plan that a model of tier mid wrote"


def test_a_budgets_brake_overrides_the_slow_way_down() -> None:
    """Where the budget asks for the small tier, neither rule holds it up."""
    thread = Thread(number=2, easy=0, floor="mid")
    turns = (HARD, PATCH, EASY)
    found = plan(*turns, served_before=MID, thread=thread, brake=Brake(route="small"))
    assert found.choice.model == SMALL


def test_a_tool_result_starts_no_new_decision() -> None:
    """Inside a loop the model that began it goes on, in the way it began, whatever is warm."""
    turns = (EASY, "call", '{"rows": 3}')
    for before in (SMALL, MID):
        found = plan(*turns, last="tool", served_before=before, tools=3)
        assert found.choice.model == before
        assert found.reasons[0].code == "tool_loop"


def test_a_rewrite_is_not_begun_inside_a_tool_loop() -> None:
    """A loop that began whole stays whole; one that began with memories keeps them."""
    past = "Notes of the meeting, item by item, with all that was said. " * 150
    turns = [EASY, past] * 30 + ["Hello, what did we say about the budget of 2024?", "call", "{}"]
    conversation = talk(*turns, last="tool")
    whole = situation(conversation, served_before=MID, thread=Thread(way_before="whole"))
    begun = situation(conversation, served_before=MID, thread=Thread(way_before="compress"))
    fits = [c for c in decide(whole).candidates if c.way == "compress" and c.model == MID]
    assert [c.why_not for c in fits] == ["a rewrite is not begun inside a tool loop"]
    assert not any(
        c.why_not == "a rewrite is not begun inside a tool loop" for c in decide(begun).candidates
    )


def test_lossless_is_not_begun_inside_a_tool_loop() -> None:
    """A loop that began whole stays whole, the gentlest rewrite included; one begun goes on."""
    rows = json.dumps([{"name": f"n{n}", "value": n} for n in range(800)])
    conversation = talk(EASY, "call", rows, last="tool")
    found = {}
    for before in ("whole", "lossless"):
        thread = Thread(way_before=before, turns_left=4.0)
        made = situation(conversation, served_before=MID, thread=thread, lossless_tokens=2_000)
        found[before] = next(
            c for c in decide(made).candidates if c.way == "lossless" and c.model == MID
        )
    assert found["whole"].why_not == "a rewrite is not begun inside a tool loop"
    assert found["lossless"].why_not != "a rewrite is not begun inside a tool loop"


@pytest.mark.parametrize("asked", [SMALL, MID])
def test_a_client_that_names_another_model_inside_a_tool_loop_is_obeyed(asked: str) -> None:
    """The model that began the loop goes on only for who asks for the same as before."""
    other = MID if asked == SMALL else SMALL
    conversation = talk(EASY, "call", '{"rows": 3}', last="tool")
    facts = replace(situation(conversation).facts, requested_model=asked)
    made = situation(conversation, facts=facts, served_before=other, thread=Thread(asked=other))
    assert decide(made).choice.model == asked
    same = replace(facts, requested_model=MID)
    made = situation(conversation, facts=same, served_before=SMALL, thread=Thread(asked=MID))
    assert decide(made).choice.model == SMALL
    auto = replace(facts, requested_model="auto")
    made = situation(conversation, facts=auto, served_before=SMALL, thread=Thread(asked=MID))
    assert decide(made).choice.model == SMALL


LABELLED = Thread(small=(200.0, 0.98), large=(60.0, 0.97))


def test_labels_of_a_task_outweigh_the_score() -> None:
    """Enough good answers of small models on this very task prove what the score cannot."""
    before = plan("What does the invoice say about the delivery date?", tools=4)
    after = plan("What does the invoice say about the delivery date?", tools=4, thread=LABELLED)
    assert (before.choice.model, after.choice.model) == (MID, SMALL)


def test_labels_of_a_task_can_forbid_what_the_score_allows() -> None:
    """Bad answers of small models on this task keep the model asked for, and say so."""
    found = plan(EASY, thread=replace(LABELLED, small=(60.0, 0.7)))
    assert found.choice.model == MID
    assert why(found, SMALL).startswith("small models did well in 70% of 60 labelled answers")


def test_few_labels_change_nothing() -> None:
    """Below thirty labels the score decides."""
    assert plan(EASY, thread=replace(LABELLED, small=(29.0, 0.1))).choice.model == SMALL


def test_a_spent_budget_of_escalations_keeps_auto_small() -> None:
    """`auto` goes up no more once its key's budget for that is used up; a named model does."""
    spent = Thread(spent=True)
    auto = situation(talk(HARD), thread=spent)
    auto = replace(auto, facts=replace(auto.facts, requested_model="auto"))
    assert decide(auto).choice.model == SMALL
    assert plan(HARD, thread=spent).choice.model == MID


@pytest.mark.parametrize(("lever", "model"), [("switch", MID), ("rewrite", SMALL)])
def test_a_lever_that_lost_money_is_left_alone(lever: str, model: str) -> None:
    """Where switching lost money there is none; the receipt and the candidates say so."""
    found = plan(EASY, thread=Thread(off={lever: "session"}))
    assert found.choice.model == model
    assert found.reasons[0].code == "savings_negative"
    if lever == "switch":
        assert why(found, SMALL) == (
            "switching models is switched off for this session, since it has cost more than it "
            "saved here"
        )


def test_models_that_drifted_are_set_aside() -> None:
    """After an alarm nothing goes to a small model, and the sentence says why."""
    found = plan(EASY, thread=Thread(off={"switch": "drift"}))
    assert found.choice.model == MID
    assert found.reasons[0].code == "drift"
    assert why(found, SMALL) == (
        "small models are set aside for a day, since they did worse than was promised"
    )


def test_a_warm_prefix_holds_a_conversation_until_a_switch_pays() -> None:
    """A cheaper model that would read a long warm prefix anew waits until the turns left pay."""
    facts = RequestFacts(MID, human_turns=2)
    reads = options()[0].card.adjusted(window=None, effective=200_000)
    rival = ModelOption(
        "rival", Tier.SMALL, "x", "rival", reads,
        PriceBook.bundled().price("openai", "gpt-5-mini", AT),
    )  # fmt: skip
    base = situation(talk("word " * 60_000, "Yes.", EASY), facts=facts, served_before=MID)
    whole = narrow(POLICY, prefer_fit="off")
    base = replace(base, options=(rival, options()[1]), warm={MID: 59_000}, policy=whole)
    short = replace(base, thread=Thread(number=2, easy=5, turns_left=1.0))
    keeps = {MID: 0.9, "rival": 0.9}
    long = replace(base, thread=Thread(number=2, easy=5, turns_left=20, quick=0.95, keeps=keeps))
    first, second = decide(short), decide(long)
    cold = decide(replace(short, warm={}))
    assert (first.choice.model, second.choice.model, cold.choice.model) == (MID, "rival", "rival")
    assert "are warm at gpt-6.1-sol and would be read anew" in why(first, "rival")
    assert "pays_back" in [reason.code for reason in second.reasons]


def all_weak() -> list[Complexity]:
    """Every reason for which the score is not to be relied on."""
    base = score().score(EASY, RequestFacts(MID))
    return [replace(base, weak=name) for name in WEAK]


def test_every_candidate_answers_why_not_the_cheaper_one() -> None:
    """Each candidate but the choice has one plain sentence, in every conversation above."""
    cases = [
        situation(talk(HARD)),
        situation(talk(HARD, PATCH, "commit it"), served_before=MID),
        situation(talk(HARD, PATCH, EASY), served_before=MID, thread=Thread(easy=0)),
        situation(talk(EASY), thread=Thread(off={"switch": "team"})),
        situation(talk("word " * 30_000, "Yes.", EASY), served_before=MID, warm={MID: 29_000}),
        situation(talk("Summarise: " + "word " * 90_000)),
        situation(talk(HARD), brake=Brake(route="small")),
        situation(talk(EASY), policy=narrow(POLICY, forbid=["route"])),
        situation(talk(EASY), policy=narrow(POLICY, forbid=["downgrade"])),
        situation(talk(EASY), policy=narrow(POLICY, allow=[MID])),
        situation(talk(EASY), policy=replace(POLICY, mode="observe")),
        situation(talk(EASY, "call", "{}", last="tool"), served_before=MID),
        situation(talk(HARD), facts=RequestFacts(MID, mode="pass")),
        situation(talk(HARD), facts=RequestFacts("auto", image_count=2)),
        situation(talk(HARD), facts=RequestFacts(MID, signed_thinking=True)),
        situation(talk(EASY), facts=RequestFacts(MID, max_output_tokens=200_000)),
        situation(talk(EASY), facts=RequestFacts(SMALL)),
        *(situation(talk(EASY), complexity=weak) for weak in all_weak()),
    ]
    for case in cases:
        found = decide(case)
        for candidate in found.candidates:
            said = candidate.why_not
            if candidate.model == found.choice.model and candidate.way is found.choice.way:
                assert said is None
                continue
            assert said, candidate
            assert said[0].islower()
            assert said[-1] not in ".,;: "
            assert len(said) < 250
            assert "\n" not in said
            assert "{" not in said

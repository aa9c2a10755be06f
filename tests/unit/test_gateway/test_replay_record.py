"""The record of a decision: what it keeps, and that it gives the same plan back."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.ladder import Brake
from compressor.measure import Measurement
from compressor.recipe import Way
from gateway.replay_record import (
    Choice,
    Terms,
    brake_of,
    choice_of,
    facts_of,
    readable,
    recorded,
    restored,
)
from gateway.settings import parse
from gateway.snapshot import Snapshot, build_snapshot
from router.complexity import WEAK, Complexity
from router.decide import decide
from router.errors import NoCandidate
from router.need import Need, NeedKind
from router.plan import RequestFacts
from router.situation import Situation
from router.thread import Thread

CONFIG = """
version: 1
upstreams:
  openai: { kind: openai, api_key: x }
  google: { kind: openai, base_url: "http://127.0.0.1:1/v1", provider: google }
models:
  gpt-6-luna:     { upstream: openai, tier: small }
  gpt-6.1-sol:    { upstream: openai, tier: mid }
  gemini-4-argon: { upstream: google, tier: long }
routing: { mode: MODE, baseline: gpt-6.1-sol }
limits: { max_output: 4000 }
teams: { support: { keys: [main] } }
keys: { main: "sha256:0000000000000000000000000000000000000000000000000000000000000000" }
"""
AT_MS = 1_795_000_000_000
MODELS = ["gpt-6-luna", "gpt-6.1-sol", "gemini-4-argon", "auto"]
SNAPSHOTS = {
    mode: build_snapshot(parse(CONFIG.replace("MODE", mode), "weir.yaml"))
    for mode in ("route", "observe")
}


def terms(snapshot: Snapshot) -> Terms:
    key = snapshot.accounts.named("main")
    assert key is not None
    limits = snapshot.complexity.limits
    return Terms(snapshot.options(key, AT_MS), snapshot.policy(key), key.max_output, limits)


SHARES = st.integers(0, 1_000).map(lambda thousandths: thousandths / 1_000)
THREADS = st.builds(
    Thread,
    number=st.integers(1, 40),
    way_before=st.sampled_from([None, "whole", "compress"]),
    easy=st.none() | st.integers(0, 3),
    floor=st.sampled_from([None, "small", "mid", "asked"]),
    turns_left=st.integers(100, 2_000).map(lambda hundredths: hundredths / 100),
    quick=SHARES,
    ups=SHARES,
    warm_fit=st.sampled_from([{}, {"gpt-6.1-sol compress": 9_000}]),
    writes=st.sampled_from([{}, {"gpt-6.1-sol": "cache_write_5m"}]),
    keeps=st.sampled_from([{}, {"gpt-6.1-sol": 0.9, "gpt-6-luna": 0.5}]),
    off=st.sampled_from([{}, {"switch": "team"}, {"rewrite": "session"}, {"switch": "drift"}]),
    small=st.tuples(SHARES.map(lambda share: 100 * share), SHARES),
    large=st.tuples(SHARES.map(lambda share: 100 * share), SHARES),
    asks_work=st.booleans(),
    spent=st.booleans(),
)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Requests of every size, kind and circumstance."""
    system, document = draw(st.integers(0, 3_000)), draw(st.integers(0, 400_000))
    history = draw(st.lists(st.integers(4, 60_000), max_size=6))
    last = document + draw(st.integers(5, 400))
    messages = (*([system] if system else []), *history, last)
    snapshot = SNAPSHOTS[draw(st.sampled_from(["route", "observe"]))]
    said = terms(snapshot)
    weak = draw(st.sampled_from([None, *WEAK]))
    return Situation(
        facts=RequestFacts(
            requested_model=draw(st.sampled_from(MODELS)),
            max_output_tokens=draw(st.sampled_from([None, 1, 300, 100_000])),
            choices=draw(st.integers(1, 3)),
            tool_count=draw(st.integers(0, 2)),
            image_count=draw(st.integers(0, 1)),
            reasoning_effort=draw(st.sampled_from([None, "low", "x" * 500])),
            mode=draw(st.sampled_from(["route", "pass"])),
            fit=draw(st.sampled_from(list(Way))),
            in_tool_loop=draw(st.booleans()),
            human_turns=draw(st.integers(1, 9)),
        ),
        measurement=Measurement(
            prompt_tokens=sum(messages) + 3,
            message_tokens=messages,
            by_role={"system": system, "user": last, "assistant": sum(history)},
            tools_tokens=0,
            media_tokens=0,
            tokenizer=draw(st.sampled_from(["o200k_base", "o200k_base*1.20"])),
            exact=draw(st.booleans()),
            segments=draw(st.integers(0, 50)),
            question="Which clause is it?",
            document_tokens=document,
        ),
        complexity=Complexity(
            p_small=0.5,
            p_large=0.6,
            small_is_enough=draw(st.floats(0, 1)),
            gain=draw(st.floats(-0.2, 0.4)),
            weak=weak,
            limits=said.limits,
            features={"chars": 1.0},
        ),
        need=Need(
            draw(st.sampled_from(list(NeedKind))), draw(st.floats(0, 1)), draw(st.booleans())
        ),
        options=said.options,
        policy=said.policy,
        brake=draw(
            st.sampled_from(
                [
                    Brake(),
                    Brake(route="small", notify=("support/month 80%",)),
                    Brake(compress="hard"),
                ]
            )
        ),
        warm=draw(st.sampled_from([{}, {"gpt-6.1-sol": 40_000}])),
        output_limit=said.output_limit,
        served_before=draw(st.sampled_from([None, "gpt-6-luna"])),
        thread=draw(THREADS),
    )


@given(situations())
@settings(max_examples=150, deadline=None)
def test_a_record_gives_the_same_plan_back(situation: Situation) -> None:
    """Through JSON and back, a record makes the very plan that it was made of."""
    try:
        plan = decide(situation)
    except NoCandidate:
        return
    decision = orjson.loads(orjson.dumps(recorded(situation, plan)))
    back = terms(SNAPSHOTS[situation.policy.mode])
    again = decide(restored(decision, facts_of(decision), back))
    assert again.choice == plan.choice
    assert again.would == plan.would
    assert again.fallbacks == plan.fallbacks
    assert again.candidates == plan.candidates
    assert again.reasons == plan.reasons
    assert choice_of(decision) == Choice.of(plan.choice)
    assert brake_of(decision) == situation.brake
    assert len(orjson.dumps(decision)) < 1_300
    assert b"clause" not in orjson.dumps(decision)


@pytest.mark.parametrize("name", ["output_tokens_expected", "lossless_tokens"])
def test_what_is_known_only_sometimes_is_kept_when_known(name: str) -> None:
    """Optional figures of a situation are kept where they were there."""
    snapshot = SNAPSHOTS["route"]
    said = terms(snapshot)
    plain = Situation(
        facts=RequestFacts("gpt-6.1-sol"),
        measurement=Measurement(
            900,
            (900,),
            {"user": 900},
            0,
            0,
            "o200k_base",
            exact=True,
            segments=1,
            question="",
            document_tokens=0,
        ),
        complexity=Complexity(0.5, 0.5, 0.9, 0.0, limits=said.limits),
        need=Need(NeedKind.CHAT, 0.9),
        options=said.options,
        policy=said.policy,
        output_limit=said.output_limit,
    )
    situation = replace(plain, **{name: 321})
    decision = orjson.loads(orjson.dumps(recorded(situation, decide(situation))))
    back = restored(decision, facts_of(decision), said)
    assert getattr(back, name) == 321
    assert name not in recorded(plain, decide(plain))


def test_a_holdout_keeps_what_the_client_allowed() -> None:
    """The facts of a held-out request are those of its own headers, not of the arm."""
    decision = {
        "facts": {"requested_model": "auto", "mode": "pass", "fit": "whole"},
        "asked": {"mode": "route", "fit": "trim"},
    }
    facts = facts_of(decision)
    assert (facts.mode, facts.fit) == ("route", Way.TRIM)


def test_another_version_of_the_record_is_not_read() -> None:
    """A record of an unknown version is none, instead of a wrong one."""
    assert not readable({"v": 2})
    assert not readable({})

"""What a past request cost and would have cost: figures that can be worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from billing.money import nano
from billing.usage import Usage
from gateway.audit_judge import Judge
from gateway.audit_policy import (
    Declared,
    assumed,
    judged,
    key_for,
    keys_by_team,
    provider_of,
)
from gateway.audit_row import AuditRow
from gateway.demo_traffic import bundled
from gateway.settings import parse

CONFIG = """
version: 1
upstreams:
  openai:    { kind: openai, api_key: x }
  anthropic: { kind: anthropic, api_key: x }
models:
  big:   { upstream: openai, model: gpt-6.1-sol, price: { input: 2, output: 10, cache_read: 0.1 } }
  small: { upstream: openai, model: gpt-6-luna, tier: small, price: { input: 0.1, output: 0.5 } }
  other: { upstream: anthropic, model: claude-sonnet-5-5, tier: mid }
routing: { mode: observe, baseline: big }
teams:
  support: { keys: [main] }
  claims: { keys: [strict], forbid: [downgrade] }
  locked: { keys: [locked], allow: [other] }
keys:
  main: "sha256:1000000000000000000000000000000000000000000000000000000000000000"
  strict: "sha256:2000000000000000000000000000000000000000000000000000000000000000"
  locked: "sha256:3000000000000000000000000000000000000000000000000000000000000000"
"""
NOW_MS = 1_795_000_000_000
EASY = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}
PROOF = {"messages": [{"role": "user", "content": "Prove that there are infinitely many primes."}]}


@pytest.fixture(scope="module")
def judge() -> Judge:
    settings = parse(CONFIG, "weir.yaml")
    return Judge(judged(settings), key_for(settings, None), NOW_MS, fit=True)


def row(body: Any = None, **more: Any) -> AuditRow:
    plain = AuditRow("r", NOW_MS, "support", "big", "big", "", body, None)
    return replace(plain, **more)


def test_an_easy_question_goes_to_the_small_model(judge: Judge) -> None:
    """The same tokens at the small model's price; observe mode is judged as if it acted."""
    usage = Usage(input_tokens=1000, output_tokens=100)
    found = judge.judge(row(EASY, usage=usage))
    assert (found.basis, found.action, found.model) == ("body", "route", "small")
    assert found.as_was_nano == nano("0.003")  # 1000 at 2 and 100 at 10 USD a million
    assert found.policy_nano == nano("0.00015")  # 1000 at 0.1 and 100 at 0.5
    assert (found.reason, found.refused, found.estimated) == ("small_is_enough", "", False)


def test_a_proof_stays_and_costs_what_it_cost(judge: Judge) -> None:
    """Weak evidence keeps the model that was asked for, and says which kind it was."""
    found = judge.judge(row(PROOF, usage=Usage(input_tokens=1000, output_tokens=100)))
    assert (found.action, found.model, found.reason) == ("pass", "big", "weak_evidence:open_task")
    assert found.as_was_nano == found.policy_nano == nano("0.003")


def test_a_team_is_judged_by_its_own_rules(judge: Judge) -> None:
    """A team that forbids a smaller model keeps its own, whoever else may switch."""
    usage = Usage(input_tokens=1000, output_tokens=100)
    assert judge.judge(row(EASY, usage=usage, team="claims")).action == "pass"
    assert judge.judge(row(EASY, usage=usage, team="nobody knows")).action == "route"


def test_a_warm_prefix_weighs_against_a_switch(judge: Judge) -> None:
    """Cached tokens are worth money: a switch is priced without them on its own side."""
    cold = judge.judge(row(EASY, usage=Usage(input_tokens=10_000, output_tokens=10)))
    warm = judge.judge(
        row(EASY, usage=Usage(input_tokens=0, cache_read_tokens=10_000, output_tokens=10))
    )
    assert warm.as_was_nano == nano("0.0011")  # 10,000 at 0.1, 10 at 10
    assert cold.as_was_nano == nano("0.0201")
    assert cold.policy_nano == nano("0.001005")  # cold at the small model, either way
    assert warm.policy_nano in {nano("0.0011"), nano("0.001005")}
    assert warm.cached_tokens == 10_000


def test_a_log_without_usage_is_estimated_and_says_so(judge: Judge) -> None:
    """A body alone is counted by ourselves, the same length of answer on both sides."""
    found = judge.judge(row(EASY))
    assert found.estimated
    assert 5 < found.prompt_tokens < 40
    assert found.completion_tokens > 0
    expected = found.prompt_tokens * 2_000 + found.completion_tokens * 10_000
    assert found.as_was_nano == expected


def test_counts_alone_claim_no_saving(judge: Judge) -> None:
    """Without the text nothing proves that less is enough; a bound is all that is given."""
    found = judge.judge(row(usage=Usage(input_tokens=3_000, output_tokens=100)))
    assert (found.basis, found.action) == ("counts", "pass")
    assert found.as_was_nano == found.policy_nano == nano("0.007")
    assert found.bound_nano == nano("0.00035")
    strict = judge.judge(row(usage=Usage(input_tokens=3_000, output_tokens=100), team="claims"))
    assert strict.bound_nano is None


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"model": "gpt-4o", "served": "gpt-4o"}, "model_not_declared"),
        ({"team": "locked"}, "no_model_may_serve_it"),
        ({"body": {"messages": [{"role": "wizard", "content": "x"}]}}, "invalid_request"),
    ],
)
def test_what_the_policy_refuses_is_no_saving(
    judge: Judge, change: dict[str, Any], refused: str
) -> None:
    """A refused request has a code and no cost under the policy, but still what it cost."""
    usage = Usage(input_tokens=1000, output_tokens=100)
    found = judge.judge(replace(row(EASY, usage=usage), **change))
    assert (found.action, found.refused, found.policy_nano) == ("refused", refused, None)
    assert found.as_was_nano
    assert found.as_was_nano > 0


def test_an_unknown_price_is_never_zero(judge: Judge) -> None:
    """A model that the book does not know is named, and its cost stays unknown."""
    unknown = row(EASY, model="acme-7", served="acme-7", usage=Usage(input_tokens=10))
    found = judge.judge(unknown)
    assert (found.unpriced, found.as_was_nano, found.policy_nano) == ("acme-7", None, None)


def test_auto_is_compared_with_the_baseline(judge: Judge) -> None:
    """Where a log says `auto` and not what answered, the baseline's price is what it was."""
    usage = Usage(input_tokens=1000, output_tokens=100)
    found = judge.judge(row(EASY, usage=usage, model="auto", served="auto"))
    assert (found.as_was_nano, found.action) == (nano("0.003"), "route")


@pytest.mark.parametrize("kind", ["failed", "from_cache"])
def test_what_no_provider_billed_costs_nothing(judge: Judge, kind: str) -> None:
    """A failure and an answer from the log's own cache cost nothing on either side."""
    found = judge.judge(row(EASY, usage=Usage(input_tokens=1000), **{kind: True}))
    assert (found.basis, found.as_was_nano, found.policy_nano) == ("none", 0, 0)


def test_the_price_is_that_of_the_requests_own_date() -> None:
    """A price that changed is taken as it stood when the request was made."""
    text = assumed([("gemini-4-argon", "google"), ("deepseek-chat", "deepseek")])
    settings = parse(text, "weir.yaml")
    judge = Judge(judged(settings), key_for(settings, None), NOW_MS, fit=True)
    usage = Usage(input_tokens=1_000_000, output_tokens=1000)
    old = row(usage=usage, model="deepseek-chat", served="deepseek-chat", at_ms=1_735_000_000_000)
    new = replace(old, at_ms=NOW_MS)
    costs = judge.judge(old).as_was_nano, judge.judge(new).as_was_nano
    assert None not in costs
    assert costs[0] != costs[1]


def test_a_fit_is_made_or_planned() -> None:
    """A look-up in a long document is trimmed; --quick takes the size that was planned."""
    documents = [item for item in bundled() if item["kind"] == "document"]
    body = next(d["body"] for d in documents if 50_000 < len(json.dumps(d["body"])) < 55_000)
    settings = parse(CONFIG, "weir.yaml")
    key = key_for(settings, "main")
    made, planned = (
        Judge(judged(settings), key, NOW_MS, fit=fit).judge(row(body)) for fit in (True, False)
    )
    assert "trim" in made.action
    assert "trim" in planned.action
    assert made.sent_tokens < made.prompt_tokens * 0.6
    assert made.policy_nano is not None
    assert made.as_was_nano is not None
    assert made.policy_nano < made.as_was_nano * 0.6


@pytest.mark.parametrize(
    ("model", "said", "provider"),
    [
        ("gpt-6.1-sol", "", "openai"),
        ("o3-mini", "", "openai"),
        ("claude-sonnet-5-5-20260101", "", "anthropic"),
        ("vertex_ai/gemini-2.5-pro", "", "vertex_ai"),
        ("gpt-4o", "azure", "azure"),
        ("acme-7", "", ""),
    ],
)
def test_providers(model: str, said: str, provider: str) -> None:
    """The log's word, the name's prefix, the name itself: in this order."""
    assert provider_of(model, said) == provider


def test_a_dated_or_prefixed_name_is_the_declared_model() -> None:
    """The same model under another spelling is found; another model is not."""
    declared = Declared(parse(CONFIG, "weir.yaml"))
    assert declared.find("openai/gpt-6.1-sol-2026-09-01") == "big"
    assert declared.find("big") == "big"
    assert declared.find("auto") == "auto"
    assert declared.find("gpt-6.1") is None


def test_an_assumed_policy_declares_what_the_log_has() -> None:
    """Every model of the log is declared, with a small one of its provider beside it."""
    settings = parse(assumed([("gpt-4o", ""), ("it's $odd", "acme"), ("x", "")]), "weir.yaml")
    assert set(settings.models) == {"gpt-4o", "gpt-6-luna", "it's odd"}
    assert settings.models["gpt-4o"].tier.value == "mid"
    assert settings.models["gpt-6-luna"].tier.value == "small"
    assert set(parse(assumed([]), "weir.yaml").models) == {"gpt-6.1-sol", "gpt-6-luna"}


def test_keys() -> None:
    """A named key, each team's own, and one without rules where none is declared."""
    settings = parse(CONFIG, "weir.yaml")
    assert key_for(settings, "strict").team == "claims"
    assert set(keys_by_team(settings)) == {"support", "claims", "locked"}
    with pytest.raises(KeyError):
        key_for(settings, "nobody")
    bare = parse(CONFIG.split("teams:", maxsplit=1)[0], "weir.yaml")
    assert key_for(bare, None).name == "audit"

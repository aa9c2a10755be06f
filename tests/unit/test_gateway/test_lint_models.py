"""Keys that nothing may serve are found before their first request."""

from __future__ import annotations

import pytest

from gateway.lint_models import lint_models
from gateway.settings import parse, served_in

HASH = "sha256:" + "a" * 64
POLICY = """
upstreams:
  here: {{ kind: openai, base_url: "http://127.0.0.1:9/v1", region: EU }}
  there: {{ kind: openai, base_url: "http://127.0.0.1:9/v1", region: us }}
  anywhere: {{ kind: openai, base_url: "http://127.0.0.1:9/v1" }}
  told: {{ kind: anthropic }}
models:
  one: {{ upstream: here }}
  two: {{ upstream: there }}
  three: {{ upstream: anywhere }}
  four: {{ upstream: anywhere, region: eu }}
  claude-sonnet-5-5: {{ upstream: told }}
teams: {{ t: {{ keys: [k], {rules} }} }}
keys: {{ k: "{hash}" }}
"""


def settings_of(rules: str):
    return parse(POLICY.format(rules=rules, hash=HASH), "weir.yaml", {})


def test_what_is_served_in_a_region() -> None:
    """Declared at the model or its upstream, or told in each request; never by silence."""
    settings = settings_of("holdout: 0%")
    found = served_in("eu", settings.models, settings.upstreams)
    assert found == {"one", "four", "claude-sonnet-5-5"}


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("allow: [one], region: eu", None),
        ("region: jp, allow: [claude-sonnet-5-5]", None),
        ("allow: [three], region: eu", "in region 'eu' there is claude-sonnet-5-5, four, one"),
        ("allow: [small]", "`allow` of its levels have none in common"),
    ],
)
def test_a_key_that_nothing_may_serve(rules: str, said: str | None) -> None:
    """It is an error of the policy, with what would mend it."""
    found = list(lint_models(settings_of(rules)))
    assert [one.error for one in found] == ([] if said is None else [True])
    if said is not None:
        assert said in found[0].text
        assert found[0].where == "keys.k"

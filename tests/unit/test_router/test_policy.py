"""The sections of weir.yaml that this package owns, and how policies narrow."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from compressor.recipe import Way
from router.errors import PolicyInvalid
from router.plan import Tier
from router.policy import FitSection, ModelEntry, RoutingSection, narrow, route_policy

POLICY = route_policy(RoutingSection(), FitSection())


def test_the_documented_sections_are_read() -> None:
    """The example of the policy documentation gives the policy it describes."""
    routing = RoutingSection.model_validate(
        {"mode": "observe", "baseline": "m", "quality": {"floor": "95% of requested"}}
    )
    fit = FitSection.model_validate({"allow": ["trim"], "keep_recent": 2048, "ratio": 4})
    policy = route_policy(routing, fit)
    assert (policy.mode, policy.baseline, policy.floor) == ("observe", "m", 0.95)
    assert policy.allow == (Way.TRIM,)
    assert (policy.keep_recent, policy.ratio, policy.margin) == (2048, 4.0, 0.10)


@pytest.mark.parametrize(
    "section",
    [
        {"quality": {"floor": "high"}},
        {"quality": {"floor": "30% of requested"}},
        {"quality": {"floor": True}},
        {"mode": "on"},
        {"bseline": "m"},
    ],
)
def test_a_bad_routing_section_is_refused(section: dict[str, object]) -> None:
    """Unknown keys and unreadable floors are errors."""
    with pytest.raises(ValidationError):
        RoutingSection.model_validate(section)


@pytest.mark.parametrize(
    "section",
    [
        {"allow": ["shred"]},
        {"allow": ["trim", "trim"]},
        {"ratio": 1},
        {"summarizer": {"backend": "torch"}},
        {"summarizer": {"backend": "openai", "model": "m"}},
    ],
)
def test_a_bad_fit_section_is_refused(section: dict[str, object]) -> None:
    """A way nobody knows, a ratio that makes nothing smaller, half a summarizer."""
    with pytest.raises(ValidationError):
        FitSection.model_validate(section)


def test_a_model_is_free_only_where_it_is_written() -> None:
    """`free: true` is a price of zero; nothing written is no price at all."""
    free = ModelEntry.model_validate({"upstream": "x", "free": True})
    assert free.terms is not None
    assert free.terms.free
    assert ModelEntry.model_validate({"upstream": "x"}).terms is None
    with pytest.raises(ValidationError, match="either free or has a price"):
        ModelEntry.model_validate({"upstream": "x", "free": True, "price": {"input": "1"}})


def test_permissions_of_all_levels_must_agree() -> None:
    """A tier allowed above and a model of that tier allowed below leave that model."""
    policy = narrow(narrow(POLICY, allow=["small", "mid"]), allow=["claude-sonnet-5-5"])
    assert policy.permits("claude-sonnet-5-5", Tier.MID)
    assert not policy.permits("claude-sonnet-5-5", Tier.LONG)
    assert not policy.permits("gpt-6.1-sol", Tier.MID)


def test_forbidden_things_add_up_and_cannot_be_lifted() -> None:
    """A level below can forbid more; nothing it prefers brings a way back."""
    policy = narrow(narrow(POLICY, forbid=["trim"]), forbid=["compress"], prefer_fit="hard")
    assert policy.ways() == (Way.LOSSLESS,)
    assert narrow(policy, prefer_fit="compress").ways() == (Way.LOSSLESS,)


def test_preferences_only_tighten_the_ways_and_may_fit_harder() -> None:
    """`hard` compresses more; a named way is the strongest still allowed."""
    hard = narrow(POLICY, prefer_fit="hard")
    assert (hard.ratio, hard.keep_recent) == (20.0, 2048)
    assert narrow(POLICY, prefer_fit="lossless").ways() == (Way.LOSSLESS,)
    assert narrow(POLICY, prefer_fit="off").ways() == ()


def test_words_that_nothing_knows_are_refused() -> None:
    """A misspelt prohibition is an error, not a permission."""
    with pytest.raises(PolicyInvalid, match="cannot forbid trimm"):
        narrow(POLICY, forbid=["trimm"])
    with pytest.raises(PolicyInvalid, match="unknown fit 'soft'"):
        narrow(POLICY, prefer_fit="soft")


def test_a_team_has_recent_tokens_and_a_ratio_of_its_own() -> None:
    """The nearest figure holds, `hard` is reckoned from it, and a wrong one is refused."""
    own = narrow(POLICY, prefer_recent=8192, prefer_ratio=4)
    assert (own.keep_recent, own.ratio) == (8192, 4.0)
    hard = narrow(POLICY, prefer_recent=8192, prefer_ratio=4, prefer_fit="hard")
    assert (hard.keep_recent, hard.ratio) == (4096, 8.0)
    for wrong in ({"prefer_recent": 10}, {"prefer_ratio": 1}, {"prefer_ratio": "x"}):
        with pytest.raises(PolicyInvalid, match=r"prefer\.\w+ is .*expected a number"):
            narrow(POLICY, **wrong)

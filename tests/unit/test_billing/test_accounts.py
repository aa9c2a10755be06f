"""Accounts: what comes down the tree to a key, and what a policy may not say."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from billing.accounts import BillingSection, build_accounts
from billing.budget import Span

POLICY: dict[str, Any] = {
    "timezone": "Europe/Berlin",
    "ladders": {"steady": {"80%": "notify"}, "strict": {"50%": "reject"}},
    "budget": "60000 per month",
    "at": "steady",
    "limits": {"max_request": 5.0, "max_output": 16000},
    "holdout": "5% of sessions",
    "prices": {"contracts": ["contracts/openai.yaml"], "unpriced": "reject"},
    "record": {"bodies": "7 days"},
    "teams": {
        "support": {
            "cost_center": "CC-1200",
            "owner": "ana@acme.example",
            "budget": ["18000 per month", "1200 per day"],
            "allow": ["small", "mid"],
            "projects": {
                "chat": {"budget": "12000 per month", "keys": ["chat-prod"]},
                "mail": {"keys": ["mail-prod"], "prefer": {"fit": "hard"}, "allow": ["mid"]},
            },
        },
        "engineering": {
            "budget": ["25000 per month", "60 per user per day"],
            "keys": ["ide"],
            "limits": {"rpm": 600, "tpm": 2_000_000, "concurrency": 50, "max_request": 2.5},
            "timezone": "America/New_York",
        },
        "claims": {
            "keys": ["claims-prod"],
            "at": "strict",
            "allow": ["claude-sonnet-5-5"],
            "forbid": ["trim", "compress", "downgrade", "response_cache"],
            "holdout": "0%",
            "region": "eu",
        },
    },
    "keys": {
        name: f"sha256:{number:064x}"
        for number, name in enumerate(["chat-prod", "mail-prod", "ide", "claims-prod"])
    },
}


def accounts(**changes: Any) -> Any:
    return build_accounts(BillingSection.model_validate({**POLICY, **changes}))


def test_a_key_is_found_by_its_hash() -> None:
    """The hash names the key; anything else names nothing."""
    tree = accounts()
    key = tree.key(f"{0:064X}")
    assert key is not None
    assert (key.name, key.team, key.project) == ("chat-prod", "support", "chat")
    assert key.path == ("organisation", "support", "support/chat", "support/chat/chat-prod")
    assert key.cost_center == "CC-1200"
    assert tree.key("f" * 64) is None
    assert tree.named("ide").path == ("organisation", "engineering", "engineering/ide")


def test_permissions_intersect() -> None:
    """A level may only narrow what the one above allows, by name or tier."""
    tree = accounts()
    mail, chat, claims = (tree.named(n) for n in ("mail-prod", "chat-prod", "claims-prod"))
    assert chat.allows("gpt-6-luna", "small")
    assert not chat.allows("gemini-4-argon", "long")
    assert mail.allows("gpt-6.1-sol", "mid")
    assert not mail.allows("gpt-6-luna", "small")
    assert claims.allows("claude-sonnet-5-5", "mid")
    assert not claims.allows("gpt-6.1-sol", "mid")
    assert tree.named("ide").allows("anything", "long")


def test_forbidding_adds_up_and_preferences_are_the_nearest() -> None:
    """forbid is permanent; ladder, holdout and preferences come from the nearest that has one."""
    tree = accounts()
    claims, mail, chat = (tree.named(n) for n in ("claims-prod", "mail-prod", "chat-prod"))
    assert claims.forbid == {"trim", "compress", "downgrade", "response_cache"}
    assert (claims.holdout, chat.holdout) == (Decimal(0), Decimal("0.05"))
    assert (claims.ladder.name, chat.ladder.name) == ("strict", "steady")
    assert (mail.prefer, chat.prefer) == ({"fit": "hard"}, {})
    assert claims.region == "eu"


def test_ceilings_are_the_tightest() -> None:
    """max_request and max_output are the least on the path; rates are listed by node."""
    ide, chat = accounts().named("ide"), accounts().named("chat-prod")
    assert (ide.max_request_nano, ide.max_output) == (2_500_000_000, 16000)
    assert (chat.max_request_nano, chat.max_output) == (5_000_000_000, 16000)
    rates = {node: limits.rpm for node, limits in ide.limits}
    assert rates == {"organisation": None, "engineering": 600}


def test_windows_follow_the_team_zone() -> None:
    """A team's own zone holds for its windows; the organisation keeps its own."""
    tree = accounts()
    assert tree.nodes["engineering"].zone.key == "America/New_York"
    assert tree.nodes["engineering/ide"].zone.key == "America/New_York"
    assert tree.nodes["organisation"].zone.key == "Europe/Berlin"
    assert [b.span for b in tree.nodes["support"].budgets] == [Span.MONTH, Span.DAY]


def test_without_teams_all_keys_are_one_team() -> None:
    """The smallest policy is a key."""
    tree = build_accounts(BillingSection.model_validate({"keys": {"dev": f"sha256:{7:064x}"}}))
    key = tree.named("dev")
    assert key is not None
    assert key.path == ("organisation", "default", "default/dev")
    assert tree.config.holdout == 0
    assert tree.config.record.bodies == 0


def test_revoked_and_expired_keys_are_not_usable() -> None:
    """A key says itself whether it may be used."""
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    keys = {
        "old": {"hash": f"sha256:{1:064x}", "expires": "2026-11-21T11:00:00Z"},
        "gone": {"hash": f"sha256:{2:064x}", "revoked": True},
        "good": {"hash": f"sha256:{3:064x}", "expires": "2027-01-01T00:00:00+01:00"},
    }
    tree = build_accounts(BillingSection.model_validate({"keys": keys}))
    usable = {key.name: key.usable(noon) for key in tree.keys.values()}
    assert usable == {"old": False, "gone": False, "good": True}


def with_team(**said: Any) -> dict[str, Any]:
    return {"teams": {**POLICY["teams"], "extra": said}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (with_team(keys=["ghost"]), "weir keys new ghost"),
        (with_team(keys=["ide"]), "is in engineering and in extra"),
        (with_team(at="nowhere"), "declared: steady, strict"),
        (with_team(keys=[], region="us", projects={}), ""),
        ({"teams": {"only": {"keys": ["ide"]}}}, "belong to no team"),
        ({"teams": {"organisation": {}}}, "whole's own name"),
        ({"keys": {**POLICY["keys"], "ide": f"sha256:{0:064x}"}}, "same hash"),
    ],
)
def test_a_tree_that_makes_no_sense_says_why(changes: dict[str, Any], message: str) -> None:
    """A key lost, doubled or unknown, an unknown ladder: an error with the fix."""
    if not message:
        assert accounts(**changes).nodes["extra"].id == "extra"
        return
    with pytest.raises(ValueError, match=message):
        accounts(**changes)


def test_regions_that_exclude_each_other() -> None:
    """A project cannot be elsewhere than its team."""
    team = {"region": "eu", "projects": {"p": {"region": "us", "keys": ["ide"]}}}
    keys = {"ide": POLICY["keys"]["ide"]}
    with pytest.raises(ValueError, match="exclude each other"):
        accounts(teams={"t": team}, keys=keys)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timezone": "Mars/Olympus"}, "IANA"),
        ({"budget": "many per month"}, "is not a budget"),
        ({"budget": 5}, "is not a budget"),
        ({"budgets": "5 per day"}, "Extra inputs"),
        ({"holdout": "half"}, "is not a share"),
        ({"holdout": "101%"}, "more than everything"),
        ({"limits": {"rpm": 0}}, "greater than 0"),
        ({"limits": {"max_request": -1}}, "greater than or equal to 0"),
        ({"record": {"bodies": "always"}}, "length of time"),
        ({"on_store_failure": "open"}, "length of time"),
        ({"on_store_failure": "ajar"}, "closed"),
        ({"keys": {"k": "secret"}}, "weir keys new NAME"),
        ({"keys": {"k y": f"sha256:{1:064x}"}}, "is not a name"),
        ({"keys": {"k": {"hash": f"sha256:{1:064x}", "expires": "2027-01-01"}}}, "time zone"),
        ({"ladders": {"l": {"80%": "explode"}}}, "no action"),
        ({"teams": {"t": {"forbid": ["compres"]}}}, "compress"),
        ({"teams": {"a/b": {}}}, "is not a name"),
        ({"prices": {"unpriced": "free"}}, "reject"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, Any], message: str) -> None:
    """Every section refuses what it does not understand and says what it wants."""
    with pytest.raises(ValidationError, match=message):
        accounts(**changes)


def test_lengths_of_time() -> None:
    """`7 days` and `open 5m` are seconds."""
    assert accounts().config.record.bodies == 7 * 86400
    assert accounts(on_store_failure="open 5m").config.on_store_failure == 300
    assert accounts(on_store_failure="closed").config.on_store_failure == 0
    assert accounts(record={"bodies": "never"}).config.record.bodies == 0


@pytest.mark.parametrize(
    ("said", "share"), [("2 points", "0.02"), ("1.5%", "0.015"), (None, "0.02")]
)
def test_how_clean_savings_must_be(said: str | None, share: str) -> None:
    """`savings.delta` is a distance of two success rates; two points where nothing is said."""
    tree = accounts(**({} if said is None else {"savings": {"delta": said}}))
    assert tree.config.savings.delta == Decimal(share)

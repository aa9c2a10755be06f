"""Who may look at what."""

from __future__ import annotations

import hashlib

import pytest
from pydantic import ValidationError

from billing.access import EVERYBODY, NotAllowed, Viewer, viewer_of
from billing.policy_schema import BillingSection, PersonConfig, Role
from billing.scope import Scope


def hashed(secret: str) -> str:
    """A secret as the policy holds it."""
    return "sha256:" + hashlib.sha256(secret.encode()).hexdigest()


PEOPLE = BillingSection.model_validate(
    {
        "people": {
            "ada": {"key": hashed("one"), "role": "finance"},
            "bo": {"key": hashed("two").upper().replace("SHA256", "sha256"), "role": "owner",
                   "teams": "support"},
            "cy": {"key": hashed("three")},
        }
    }
).people  # fmt: skip


def test_a_key_opens_what_its_role_says() -> None:
    """The hash alone is known; no key, or another, opens nothing."""
    assert viewer_of(PEOPLE, "one") == Viewer("ada", Role.FINANCE)
    assert viewer_of(PEOPLE, " two ") == Viewer("bo", Role.OWNER, ("support",))
    assert viewer_of(PEOPLE, "three") == Viewer("cy", Role.VIEWER)
    for wrong in ("", "four", hashed("one")):
        assert viewer_of(PEOPLE, wrong) is None


@pytest.mark.parametrize(
    ("role", "requests", "chargeback"),
    [("viewer", False, False), ("owner", True, False), ("finance", True, True),
     ("admin", True, True)],
)  # fmt: skip
def test_a_role_has_its_views(role: str, requests: bool, chargeback: bool) -> None:
    """Everybody sees sums; single requests and the money of all are for some."""
    who = Viewer("x", Role(role))
    assert who.may("compare")
    assert (who.may("requests"), who.may("chargeback")) == (requests, chargeback)
    assert who.may("playground") == requests
    if not chargeback:
        with pytest.raises(NotAllowed, match="may not see chargeback"):
            who.need("chargeback")


def test_an_owner_asks_for_own_teams_alone() -> None:
    """Another team's scope, or that of all teams together, is refused."""
    bo = Viewer("bo", Role.OWNER, ("support", "search"))
    assert bo.scope(Scope(team="search")).team == "search"
    for other in (Scope(), Scope(team="legal"), Scope(team="")):
        with pytest.raises(NotAllowed, match="only support, search"):
            bo.scope(other)
    assert [bo.sees_node(node) for node in ("support", "support/chat", "supporters", "legal")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert EVERYBODY.scope(Scope()) == Scope()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"role": "owner"}, "owns at least one team"),
        ({"role": "finance", "teams": ["a"]}, "sees every team"),
        ({"role": "boss"}, "viewer"),
        ({"key": "plain-secret"}, "weir keys new"),
    ],
)
def test_a_wrong_entry_says_what_is_wrong(fields: dict[str, object], words: str) -> None:
    """Each mistake names its remedy, and a secret in place of its hash is refused."""
    with pytest.raises(ValidationError, match=words):
        PersonConfig.model_validate({"key": hashed("one"), **fields})

"""Secret -> key: by hash alone, never kept."""

from __future__ import annotations

import hashlib

import pytest

from gateway import auth
from gateway.errors import KeyDisabled, NotAuthenticated
from gateway.settings import parse

GOOD, REVOKED, EXPIRED = (auth.new_secret() for _ in range(3))
TEXT = f"""\
upstreams: {{ u: {{ kind: openai, base_url: "http://127.0.0.1:9/v1" }} }}
models: {{ m: {{ upstream: u }} }}
teams: {{ t: {{ keys: [good, revoked, expired] }} }}
keys:
  good: {auth.hash_of(GOOD)}
  revoked: {{ hash: "{auth.hash_of(REVOKED)}", revoked: true }}
  expired: {{ hash: "{auth.hash_of(EXPIRED)}", expires: "2026-01-31T00:00:00Z" }}
"""
ACCOUNTS = parse(TEXT, "weir.yaml", {}).accounts
JANUARY_MS, JUNE_MS = 1_767_225_600_000, 1_780_272_000_000


def test_a_good_secret_is_its_key() -> None:
    """The key of the policy whose hash matches."""
    assert auth.identify(GOOD, ACCOUNTS, JUNE_MS).name == "good"


@pytest.mark.parametrize(
    "secret",
    [None, "", "weir-nobody", GOOD[:-1], GOOD + "x", "\xff\xfe"],
    ids=["none", "empty", "unknown", "a part", "more", "no text"],
)
def test_anything_else_is_nobody(secret: str | None) -> None:
    """No secret, a part of one, or bytes that are none: not authenticated, nothing repeated."""
    with pytest.raises(NotAuthenticated) as caught:
        auth.identify(secret, ACCOUNTS, JUNE_MS)
    assert not secret or len(secret) < 5 or secret not in str(caught.value)


def test_a_hash_is_no_secret() -> None:
    """Who has read the policy file cannot use what stands in it."""
    with pytest.raises(NotAuthenticated):
        auth.identify(auth.hash_of(GOOD), ACCOUNTS, JUNE_MS)
    with pytest.raises(NotAuthenticated):
        auth.identify(auth.hash_of(GOOD).removeprefix("sha256:"), ACCOUNTS, JUNE_MS)


def test_a_revoked_key_is_known_and_disabled() -> None:
    """It was issued, so the answer says so by name."""
    with pytest.raises(KeyDisabled, match="'revoked'"):
        auth.identify(REVOKED, ACCOUNTS, JUNE_MS)


def test_a_key_ends_at_its_time() -> None:
    """Before its end a key serves, from that instant on it does not."""
    assert auth.identify(EXPIRED, ACCOUNTS, JANUARY_MS).name == "expired"
    with pytest.raises(KeyDisabled):
        auth.identify(EXPIRED, ACCOUNTS, JUNE_MS)


def test_secrets_are_long_random_and_marked() -> None:
    """A fresh secret has 256 random bits behind a prefix, and is hashed as it stands."""
    made = {auth.new_secret() for _ in range(50)}
    assert len(made) == 50
    assert all(secret.startswith("weir-") and len(secret) >= 48 for secret in made)
    assert auth.hash_of("weir-a") == "sha256:" + hashlib.sha256(b"weir-a").hexdigest()

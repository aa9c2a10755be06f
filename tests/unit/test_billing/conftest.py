"""Small factories for accounts, receipts and ledgers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from billing.accounts import Accounts, BillingSection, build_accounts
from billing.ledger import HoldRequest, Ledger
from billing.receipt import Attempt, Line, Receipt
from billing.schema import database_path, upgrade

NOON = 1_795_348_800_000
"""2026-11-22T12:00:00Z."""


class Clock:
    """Milliseconds that move only when told."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        """The instant it stands at."""
        return self.now


class Money:
    """Makes what the tests of money need."""

    noon = NOON

    def accounts(self, **sections: Any) -> Accounts:
        """A tree with one team, project and key, and whatever sections are given."""
        document = {
            "keys": {"k": "sha256:" + "a" * 64},
            "teams": {"t": {"projects": {"p": {"keys": ["k"]}}}},
            **sections,
        }
        return build_accounts(BillingSection.model_validate(document))

    def budgeted(self, *budgets: str, **sections: Any) -> Accounts:
        """The same tree with budgets on the team."""
        team = {"budget": list(budgets), "projects": {"p": {"keys": ["k"]}}}
        return self.accounts(teams={"t": team}, **sections)

    path = ("organisation", "t", "t/p", "t/p/k")

    def request(
        self, request_id: str, amount: int, at_ms: int = NOON, user: str | None = None
    ) -> HoldRequest:
        """A hold for the one key."""
        return HoldRequest(request_id, self.path, user, amount, at_ms, "gpt-6-luna", "openai")

    def receipt(self, request_id: str, cost: int = 1000, **fields: Any) -> Receipt:
        """A receipt of the one key: one line of ``cost`` nano-USD at one a token."""
        plain: dict[str, Any] = {
            "request_id": request_id,
            "at_ms": NOON,
            "team": "t",
            "project": "p",
            "key": "k",
            "user": None,
            "session": "s1",
            "task": None,
            "tags": {"a": "b"},
            "requested_model": "gpt-6.1-sol",
            "served_model": "gpt-6-luna",
            "tier": "small",
            "upstream": "openai",
            "action": "route+trim",
            "arm": "routed",
            "reasons": ({"code": "small_is_enough", "p": 0.94},),
            "candidates": ({"model": "gpt-6.1-sol", "expected_usd": "0.1912"},),
            "original_prompt_tokens": 2 * cost,
            "sent_prompt_tokens": cost,
            "cached_tokens": 0,
            "completion_tokens": 0,
            "reasoning_tokens": 0,
            "effective_tokens": cost,
            "billed_tokens": cost,
            "cost_nano": cost,
            "gateway_cost_nano": 0,
            "baseline_nano": 3 * cost,
            "baseline_model": "gpt-6.1-sol",
            "waste_nano": 0,
            "usage_source": "provider",
            "lines": (Line(f"{request_id}-a", "input", cost, "0.001", cost, "sha256:b", "r"),)
            if cost
            else (),
            "attempts": (
                Attempt(f"{request_id}-a", "gpt-6-luna", "openai", 200, "ok", 1.5, 2.5, "p1"),
            ),
            "overhead_ms": 1.9,
            "status": 200,
            "policy_hash": "sha256:p",
            "prices_hash": "sha256:b",
            "catalog_hash": "sha256:c",
        }
        return Receipt(**{**plain, **fields})


@pytest.fixture
def money() -> Money:
    """Factories."""
    return Money()


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still at noon."""
    return Clock()


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database that does not exist yet."""
    return f"sqlite:///{tmp_path / 'weir.db'}"


@pytest.fixture
def made(url: str) -> None:
    """That database, empty."""
    upgrade(database_path(url))


OpenLedger = Callable[..., Ledger]


@pytest.fixture
def open_ledger(url: str, clock: Clock) -> Iterator[OpenLedger]:
    """Opens ledgers on the one database and closes them afterwards."""
    opened: list[Ledger] = []

    def make(accounts: Accounts, **options: Any) -> Ledger:
        ledger = Ledger(url, accounts, clock, **options).open()
        opened.append(ledger)
        return ledger

    yield make
    for ledger in opened:
        ledger.close()

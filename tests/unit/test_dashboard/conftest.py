"""A small ledger with known figures, posted through the real one, and the app on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from billing.accounts import Accounts, BillingSection, build_accounts
from billing.ledger import HoldRequest, Ledger
from billing.receipt import Attempt, Line, Receipt

APP = Path(__file__).parents[3] / "dashboard" / "app.py"
_POLICY = """\
timezone: UTC
budget: 100 per year
teams:
  support: { budget: [10 per day], projects: { chat: { keys: [chat-prod] } } }
  search: { keys: [search-prod] }
keys:
  chat-prod: sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
  search-prod: sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
"""


@dataclass(frozen=True)
class Asked:
    """One request of the golden ledger; money in micro-USD, to be read at a glance."""

    name: str
    day: int
    team: str
    served: str
    action: str
    paid: int
    baseline: int | None
    prompt: int = 1000
    sent: int = 1000


# Eight requests over three days of March 2025. Sums are worked out by hand in the tests.
GOLDEN = (
    Asked("R1", 3, "support", "gpt-6-luna", "route", 2_000, 40_000),
    Asked("R2", 3, "support", "gpt-6-luna", "route+trim", 1_000, 190_000, 90_000, 8_000),
    Asked("R3", 3, "search", "gpt-6.1-sol", "pass", 50_000, 50_000),
    Asked("R4", 4, "support", "gpt-6-luna", "route", 3_000, 45_000),
    Asked("R5", 4, "search", "gpt-6.1-sol", "pass", 60_000, 60_000),
    Asked("R6", 6, "search", "gemini-4-argon", "route", 400_000, None, 900_000, 900_000),
    Asked("R7", 6, "support", "gpt-6-luna", "compress", 12_000, 9_000),
    Asked("R8", 6, "support", "gpt-6-luna", "route", 2, 20),
)


def noon(day: int) -> int:
    """Noon UTC of a day of March 2025, epoch milliseconds."""
    return int(datetime(2025, 3, day, 12, tzinfo=UTC).timestamp() * 1000)


def receipt_of(asked: Asked, **fields: Any) -> Receipt:
    """The receipt of one golden request."""
    nano = asked.paid * 1000
    line = Line(f"{asked.name}-a", "input", nano, "0.001", nano, "sha256:" + "b" * 64, "list")
    base: dict[str, Any] = {
        "request_id": asked.name,
        "at_ms": noon(asked.day),
        "team": asked.team,
        "project": "chat" if asked.team == "support" else None,
        "key": "chat-prod" if asked.team == "support" else "search-prod",
        "user": None,
        "session": f"s-{asked.day}",
        "task": None,
        "tags": {},
        "requested_model": "gpt-6.1-sol",
        "served_model": asked.served,
        "tier": "small" if asked.served == "gpt-6-luna" else "mid",
        "upstream": "openai",
        "action": asked.action,
        "arm": "routed",
        "reasons": ({"code": "small_is_enough", "p": 0.94, "gain": 0.031},),
        "candidates": (
            {"model": "gpt-6-luna", "way": "trim", "expected_usd": "0.0012", "rejected": None},
            {
                "model": "gpt-6.1-sol",
                "way": "whole",
                "expected_usd": "0.1912",
                "rejected": "the choice is expected to cost $0.19 less",
            },
        ),
        "original_prompt_tokens": asked.prompt,
        "sent_prompt_tokens": asked.sent,
        "cached_tokens": 0,
        "completion_tokens": 100,
        "reasoning_tokens": 0,
        "effective_tokens": asked.sent + 100,
        "billed_tokens": asked.sent + 100,
        "cost_nano": nano,
        "gateway_cost_nano": 0,
        "baseline_nano": None if asked.baseline is None else asked.baseline * 1000,
        "baseline_model": "gpt-6.1-sol",
        "waste_nano": 0,
        "usage_source": "estimated" if asked.name == "R4" else "provider",
        "lines": (line,),
        "attempts": (
            Attempt(f"{asked.name}-a", asked.served, "openai", 200, "ok", 120.0, 900.0, "p"),
        ),
        "overhead_ms": 1.9,
        "status": 200,
        "policy_hash": "sha256:" + "1" * 64,
        "prices_hash": "sha256:" + "2" * 64,
        "catalog_hash": "sha256:" + "3" * 64,
        "cuts": (
            {"message": 1, "segment": 17, "tokens": 240, "way": "trim", "score": 0.02,
             "sha256": "c" * 64},
        ) if "trim" in asked.action else (),
    }  # fmt: skip
    return Receipt(**{**base, **fields})


@dataclass(frozen=True)
class House:
    """A golden ledger on disk with its policy."""

    url: str
    policy: Path
    accounts: Accounts


def post(ledger: Ledger, receipt: Receipt) -> None:
    """Hold and settle one receipt."""
    middle = (f"{receipt.team}/{receipt.project}",) if receipt.project else ()
    path = ("organisation", receipt.team, *middle, f"{(*middle, receipt.team)[0]}/{receipt.key}")
    request = HoldRequest(
        receipt.request_id, path, receipt.user, receipt.cost_nano, receipt.at_ms,
        receipt.served_model, receipt.upstream,
    )  # fmt: skip
    ledger.settle(ledger.hold(request), receipt)


@pytest.fixture(scope="session")
def accounts() -> Accounts:
    """The tree of the golden policy."""
    from ruamel.yaml import YAML

    return build_accounts(BillingSection.model_validate(YAML(typ="safe", pure=True).load(_POLICY)))


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, accounts: Accounts) -> House:
    """The golden ledger."""
    folder = tmp_path_factory.mktemp("golden")
    policy = folder / "weir.yaml"
    policy.write_text(_POLICY, encoding="utf-8")
    url = f"sqlite:///{folder / 'weir.db'}"
    ledger = Ledger(url, accounts, lambda: noon(3)).open()
    for asked in GOLDEN:
        post(ledger, receipt_of(asked))
    ledger.close()
    return House(url, policy, accounts)


@pytest.fixture
def empty_house(tmp_path: Path, accounts: Accounts) -> House:
    """A ledger without any request."""
    url = f"sqlite:///{tmp_path / 'weir.db'}"
    Ledger(url, accounts, lambda: noon(7)).open().close()
    return House(url, tmp_path / "none.yaml", accounts)


Open = Callable[..., AppTest]


@pytest.fixture
def open_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the app: ``open_app(house, view, **query)``."""

    def make(house: House | None, view: str = "compare", **query: str) -> AppTest:
        if house is None:
            monkeypatch.delenv("WEIR_DATABASE", raising=False)
        else:
            monkeypatch.setenv("WEIR_DATABASE", house.url)
            monkeypatch.setenv("WEIR_CONFIG", str(house.policy) if house.policy.exists() else "")
        app = AppTest.from_file(str(APP), default_timeout=30)
        for name, value in query.items():
            app.query_params[name] = value
        app.run()
        return app if view == "compare" else app.switch_page(f"views/{view}.py").run()

    return make


@pytest.fixture
def golden() -> Callable[..., Receipt]:
    """Receipts of the golden ledger by name, with fields changed."""
    by_name = {asked.name: asked for asked in GOLDEN}
    return lambda name, **fields: receipt_of(by_name[name], **fields)

"""Our side of a reconciliation: every charge is of the account that its attempt went to."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from billing.account_days import ours
from billing.booking import Question, book, booked, day_ms, reconcile
from billing.provider_exports import read_export
from billing.reader import reading
from billing.receipt import Attempt, Line, held_line
from billing.reports import Scope
from billing.verify import verify

NOW = datetime(2026, 12, 3, tzinfo=UTC)
DAY = date(2026, 11, 22)
BOTH = ("backup", "openai")


def attempt(name: str, upstream: str, state: str = "settled") -> Attempt:
    """A call to an account."""
    return Attempt(name, f"model-{upstream}", upstream, 200, "ok", 1.0, 2.0, state=state)


def line(name: str, amount: int, component: str = "input") -> Line:
    """A nano-dollar a token."""
    return Line(name, component, amount, "0.001", amount, "b", "r")


def of_days(url: str, *accounts: str) -> dict[str, Any]:
    """Our side of the one day, by account."""
    with reading(url) as db:
        found = ours(db, accounts, day_ms(DAY), day_ms(DAY) + 86_400_000)
    assert {day for _, day in found} <= {DAY}
    return {account: one for (account, _), one in found.items()}


def ask(account: str, usd: str) -> Question:
    """A bill of one day, to the nano."""
    export = read_export(f"day,cost_usd\n{DAY},{usd}\n".encode())
    return Question(export, (account,), 0, NOW)


@pytest.fixture
def posted(money: Any, open_ledger: Any) -> Any:
    """Posts one receipt with these attempts and lines."""
    ledger = open_ledger(money.accounts())

    def post(name: str, attempts: list[Attempt], lines: list[Line], **fields: Any) -> None:
        cost = sum(one.amount_nano for one in lines)
        own = sum(one.amount_nano for one in lines if one.component.startswith("gateway:"))
        made = money.receipt(
            name, cost, gateway_cost_nano=own, attempts=tuple(attempts), lines=tuple(lines),
            **fields,
        )  # fmt: skip
        ledger.settle(ledger.hold(money.request(name, 10**6)), made)
        ledger.flush()

    return post


def test_each_attempt_is_charged_to_its_own_account(posted: Any, url: str) -> None:
    """What a call cost before a fallback answered is on the first account's side."""
    calls = [attempt("a", "backup"), attempt("b", "openai")]
    lines = [line("a", 700), line("b", 40), line("b", 5, "output")]
    posted("fallback", calls, lines)
    posted("plain", [attempt("c", "openai")], [line("c", 1000)])
    found = of_days(url, *BOTH)
    first, last = found["backup"], found["openai"]
    assert (first.cost_nano, first.prompt_tokens, first.requests) == (700, 700, 1)
    assert (last.cost_nano, last.prompt_tokens, last.completion_tokens) == (1045, 1040, 5)
    assert (last.requests, last.models) == (2, {"model-openai"})
    assert (first.models, first.doubtful, last.doubtful) == ({"model-backup"}, (), ())
    for account, bill in (("backup", "0.0000007"), ("openai", "0.000001045")):
        assert [delta.delta_nano for delta in reconcile(url, ask(account, bill))] == [0]


def test_an_attempt_in_doubt_is_set_right_on_its_own_account(posted: Any, url: str) -> None:
    """The one that timed out is doubted alone; booked, both accounts are what they bill."""
    calls = [attempt("a", "backup", "provisional"), attempt("b", "openai")]
    posted("r", calls, [line("a", 700), line("b", 40)], usage_source="estimated")
    found = of_days(url, *BOTH)
    (doubt,) = found["backup"].doubtful
    assert (doubt.kind, doubt.cost_nano, doubt.model) == ("provisional", 700, "model-backup")
    assert found["openai"].doubtful == ()
    book(url, ask("backup", "0.0000003"))
    book(url, ask("openai", "0.00000004"))
    rows = [(row.account, row.request_id, row.amount_nano) for row in booked(url, Scope())]
    assert rows == [("backup", "r", -700), ("backup", "r", 300)]
    found = of_days(url, *BOTH)
    assert (found["backup"].cost_nano, found["openai"].cost_nano) == (300, 40)
    assert found["backup"].doubtful == ()
    assert verify(url) == []


def test_one_request_may_be_in_doubt_on_two_accounts(posted: Any, url: str) -> None:
    """Setting one account right leaves the other's doubt where it is."""
    calls = [attempt("a", "backup", "provisional"), attempt("b", "openai", "estimated")]
    posted("r", calls, [line("a", 700), line("b", 40)], usage_source="estimated")
    book(url, ask("backup", "0"))
    found = of_days(url, *BOTH)
    assert found["backup"].doubtful == ()
    assert [(one.kind, one.cost_nano) for one in found["openai"].doubtful] == [("estimated", 40)]


def test_a_charge_at_the_hold_beside_sure_lines_is_doubted_alone(posted: Any, url: str) -> None:
    """What has no price is unpriced; the attempts that have one are sure."""
    calls = [attempt("a", "openai"), attempt("b", "openai")]
    posted("r", calls, [line("a", 40), held_line("b", 700, "b", "no price")])
    (doubt,) = of_days(url, "openai")["openai"].doubtful
    assert (doubt.kind, doubt.cost_nano) == ("unpriced", 700)


def test_an_own_call_is_on_the_bill_of_the_account_it_went_to(posted: Any, url: str) -> None:
    """A summary that the gateway paid for counts there; one of no known account nowhere."""
    calls = [attempt("g", "backup"), attempt("a", "openai")]
    lines = [line("g", 30, "gateway:input"), line("g", 4, "gateway:output"), line("a", 500)]
    posted("r", calls, lines)
    posted("old", [attempt("b", "openai")], [line("b", 1), line("x", 9, "gateway:input")])
    found = of_days(url, *BOTH)
    own = found["backup"]
    assert (own.cost_nano, own.prompt_tokens, own.completion_tokens) == (34, 30, 4)
    assert found["openai"].cost_nano == 501


def test_only_the_accounts_asked_for(posted: Any, url: str) -> None:
    """An attempt elsewhere does not bring its account along."""
    posted("r", [attempt("a", "backup"), attempt("b", "openai")], [line("a", 700), line("b", 40)])
    assert set(of_days(url, "openai")) == {"openai"}

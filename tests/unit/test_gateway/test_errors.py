"""The one table: every class that can reach a client has its status and words."""

from __future__ import annotations

import inspect
import json
from types import ModuleType

import pytest

import billing.errors
import compressor.errors
import gateway.errors
import router.errors
from billing.errors import BudgetExhausted, BudgetFigures, LedgerUnavailable, Throttled
from gateway.errors import (
    TABLE,
    InvalidRequest,
    NotAuthenticated,
    Overloaded,
    UpstreamAuth,
    UpstreamFailed,
    place,
    render,
    row_for,
)
from router.errors import NoCandidate

# Never on their way to a client: bases, what stops a start, and what is our own mistake.
NOT_TOLD = {
    "BillingError", "RouterError", "CompressorError", "GatewayError",
    "ConfigError", "CatalogInvalid", "PolicyInvalid", "TooFewLabels", "WeightsInvalid",
}  # fmt: skip


def classes(module: ModuleType) -> list[type[Exception]]:
    """The exception classes that a module defines."""
    return [
        found
        for _, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, Exception) and found.__module__ == module.__name__
    ]


@pytest.mark.parametrize(
    "module", [gateway.errors, router.errors, compressor.errors, billing.errors],
    ids=lambda module: module.__name__,
)  # fmt: skip
def test_every_class_stands_in_the_table_or_is_known_not_to_need_it(module: ModuleType) -> None:
    """A new exception class is either given a row or listed here as never told."""
    found = classes(module)
    assert found
    for cls in found:
        assert (cls in TABLE) != (cls.__name__ in NOT_TOLD), cls.__name__


@pytest.mark.parametrize(
    ("cls", "row"), TABLE.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_each_row_is_one_a_client_library_understands(
    cls: type[Exception], row: gateway.errors.Row
) -> None:
    """Client mistakes are 4xx that say not to retry, throttling and our troubles may be retried."""
    assert 400 <= row.status < 600
    assert row.code == row.code.lower()
    retry = row.headers.get("x-should-retry")
    if row.status in {400, 401, 402, 403, 404, 405, 413, 415}:
        assert retry == "false"
    if row.status in {429, 504}:
        assert retry is None
    assert cls.__doc__


def test_an_unknown_error_says_nothing_of_its_inside() -> None:
    """A bug is a 500 whose body holds the request id and not the message."""
    rendered = render(ValueError("prompt text and sk-secret"), "chat", "R1")
    body = json.loads(rendered.body)
    assert rendered.status == 500
    assert "secret" not in rendered.body.decode()
    assert "R1" in body["error"]["message"]
    assert body["error"]["code"] == "internal_error"


def test_an_unknown_error_is_logged_by_its_place() -> None:
    """The log names class and line, never the message that may quote a prompt."""
    try:
        int("a prompt")
    except ValueError as error:
        said = place(error)
    assert said.startswith("ValueError at test_errors.py:")
    assert "prompt" not in said
    assert "\n" not in said


def test_an_exhausted_budget_carries_its_figures() -> None:
    """All the fields a client needs stand beside the message, money as decimal text."""
    figures = BudgetFigures(
        "support/month", 17_999_000_000, 500_000, 18_000_000_000, "2026-12-01T00:00+01:00"
    )
    rendered = render(BudgetExhausted("used up", figures), "chat", "R1")
    assert rendered.status == 402
    assert dict(rendered.headers)[b"x-should-retry"] == b"false"
    assert json.loads(rendered.body) == {
        "error": {
            "message": "used up", "type": "budget_exhausted", "param": None,
            "code": "budget_exhausted", "request_id": "R1", "budget": "support/month",
            "spent_usd": "17.999", "held_usd": "0.0005", "limit_usd": "18",
            "resets_at": "2026-12-01T00:00+01:00",
        },
        "request_id": "R1",
    }  # fmt: skip


def test_the_other_wire_has_its_own_shape() -> None:
    """On Anthropic's wire the error has its type, its message and the request id."""
    body = json.loads(render(NotAuthenticated("no key"), "messages", "R1").body)
    assert body == {
        "type": "error",
        "error": {"type": "authentication_error", "message": "no key"},
        "request_id": "R1",
    }


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (Throttled("slow down", 12.4), b"12"),
        (Throttled("slow down", 0.2), b"1"),
        (Overloaded("full", 3), b"3"),
        (LedgerUnavailable("disk full"), b"1"),
        (InvalidRequest("no"), None),
        (NoCandidate({"a": "too long"}), None),
    ],
)
def test_waiting_times_are_whole_seconds_where_a_retry_can_help(
    error: Exception, wait: bytes | None
) -> None:
    """Retry-After is sent with what passes by itself, and is never 0."""
    assert dict(render(error, "chat", "R1").headers).get(b"retry-after") == wait


def test_only_a_missing_price_is_a_402() -> None:
    """When a price alone is missing the answer is 402, else a model could not serve."""
    assert row_for(NoCandidate({"a": "no price"}, unpriced=True)).status == 402
    assert row_for(NoCandidate({"a": "too long"})).status == 503


def test_a_subclass_has_its_own_row() -> None:
    """The nearest class wins: a refused credential is not any failure."""
    assert row_for(UpstreamAuth("x")).code == "upstream_auth"
    assert row_for(UpstreamFailed("x")).code == "upstream_failed"


def test_an_invalid_request_names_its_field() -> None:
    """param and code come from the error itself."""
    body = json.loads(render(InvalidRequest("bad", param="n", code="c"), "chat", "R1").body)
    assert (body["error"]["param"], body["error"]["code"]) == ("n", "c")

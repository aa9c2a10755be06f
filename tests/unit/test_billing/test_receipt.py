"""Receipts: parts that add up, rendered as the contract has them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from billing.errors import ReceiptInvalid
from billing.receipt import (
    Attempt,
    Line,
    Receipt,
    check,
    from_fields,
    held_line,
    iso_ms,
    metered,
    ms_of,
    to_fields,
)
from billing.receipt_json import from_json, to_json


@pytest.fixture
def receipt(money: Any) -> Receipt:
    """The contract's example."""
    found: Receipt = money.receipt(
        "01J",
        996_000,
        at_ms=ms_of("2026-11-21T10:00:00.000Z"),
        baseline_nano=188_000_000,
        lines=(
            Line("a", "input", 7900, "0.1", 790_000, "sha256:b", "r"),
            Line("a", "output", 412, "0.5", 206_000, "sha256:b", "r"),
        ),
        completion_tokens=412,
    )
    return found


def test_the_contract_example(receipt: Receipt) -> None:
    """Money is decimal text, times are ISO UTC with milliseconds, saved is baseline less cost."""
    shown = to_json(receipt)
    assert shown["at"] == "2026-11-21T10:00:00.000Z"
    assert shown["cost_usd"] == "0.000996"
    assert shown["gateway_cost_usd"] == "0"
    assert (shown["baseline_usd"], shown["saved_usd"]) == ("0.188", "0.187004")
    assert shown["lines"][0] == {
        "attempt": "a",
        "component": "input",
        "quantity": 7900,
        "unit_price_usd_per_mtok": "0.1",
        "amount_usd": "0.00079",
        "price_book": "sha256:b",
        "rule": "r",
    }
    wanted = (
        "request_id at team project key session task tags requested_model served_model tier "
        "upstream action arm reasons candidates tokens cost_usd gateway_cost_usd baseline_usd "
        "saved_usd waste_usd usage_source lines attempts overhead_ms status policy prices catalog "
        "state"
    )
    assert set(wanted.split()) <= shown.keys()
    tokens = "original_prompt sent_prompt cached completion reasoning effective billed"
    assert set(tokens.split()) == shown["tokens"].keys()


def test_json_comes_back(receipt: Receipt) -> None:
    """What was rendered reads back as the same receipt, through text."""
    assert from_json(orjson.loads(orjson.dumps(to_json(receipt)))) == receipt
    whole = replace(receipt, cuts=({"message": 1},), session_key="abc", user="ana")
    again, fields = to_fields(whole)
    assert again is whole
    assert from_fields(orjson.loads(fields)) == whole


def test_negative_savings_are_shown(receipt: Receipt) -> None:
    """Nothing is floored at zero; without a baseline nothing is claimed."""
    assert to_json(replace(receipt, baseline_nano=1000))["saved_usd"] == "-0.000995"
    shown = to_json(replace(receipt, baseline_nano=None))
    assert (shown["baseline_usd"], shown["saved_usd"]) == (None, None)


def test_gateway_calls_are_inside_the_cost(receipt: Receipt) -> None:
    """Cost is the providers' lines and the gateway's own calls, listed or not."""
    check(replace(receipt, cost_nano=996_500, gateway_cost_nano=500))
    own = Line("g", "gateway:input", 500, "0.001", 500, "sha256:b", "r")
    whole = replace(receipt, cost_nano=996_500, gateway_cost_nano=500, lines=(*receipt.lines, own))
    check(whole)
    with pytest.raises(ReceiptInvalid, match="gateway lines sum to 500"):
        check(replace(whole, cost_nano=996_501, gateway_cost_nano=501))
    assert metered(whole.lines) == (7900, 412)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"cost_nano": 996_001}, "lines sum to 996000"),
        ({"lines": ()}, "lines sum to 0"),
        ({"cached_tokens": -1}, "cached_tokens is negative"),
        ({"billed_tokens": 1 << 70}, "beyond any bill"),
    ],
)
def test_a_receipt_that_contradicts_itself(
    receipt: Receipt, changes: dict[str, Any], problem: str
) -> None:
    """What does not add up is named."""
    with pytest.raises(ReceiptInvalid, match=problem):
        check(replace(receipt, **changes))


def test_a_line_is_its_own_product(receipt: Receipt) -> None:
    """A line whose amount is not quantity times rate, or that stands twice, is refused."""
    wrong = replace(receipt.lines[0], amount_nano=790_001)
    with pytest.raises(ReceiptInvalid, match="are not 790001 nano"):
        check(replace(receipt, lines=(wrong, receipt.lines[1]), cost_nano=996_001))
    twice = (*receipt.lines, receipt.lines[1])
    with pytest.raises(ReceiptInvalid, match="stands twice"):
        check(replace(receipt, lines=twice, cost_nano=1_202_000))


def test_a_charge_at_the_hold_is_a_line(receipt: Receipt) -> None:
    """Where no amount is known the hold itself is the line, and it adds up."""
    line = held_line("a", 123_456, "sha256:b", "unpriced")
    check(replace(receipt, lines=(line,), cost_nano=123_456))
    assert metered([line]) == (0, 0)


def test_attempts_are_shown(receipt: Receipt) -> None:
    """Every call to a provider stands on the receipt, failed ones too."""
    failed = Attempt("b", "m", "u", 503, "error", None, 12.5)
    shown = to_json(replace(receipt, attempts=(failed, *receipt.attempts)))
    assert [(a["id"], a["outcome"]) for a in shown["attempts"]] == [("b", "error"), ("01J-a", "ok")]


def test_instants() -> None:
    """Milliseconds and ISO text are the same instant; an offset is required."""
    assert iso_ms(0) == "1970-01-01T00:00:00.000Z"
    assert ms_of("2026-11-21T11:00:00+01:00") == ms_of("2026-11-21T10:00:00Z")
    with pytest.raises(ValueError, match="offset"):
        ms_of("2026-11-21T11:00:00")


def test_causes_must_add_up(money: Any) -> None:
    """A receipt whose causes are not its saving is refused; a whole one survives its rendering."""
    causes = {"saved_trim_nano": 500, "saved_model_nano": 2_000, "saved_cache_nano": -400}
    good = money.receipt("r", 1000, **causes, saved_retries_nano=-100)
    check(good)
    assert good.saved_by == {
        "trim": 500, "model": 2000, "cache": -400, "retries": -100, "gateway": 0,
    }  # fmt: skip
    again = from_json(to_json(good))
    assert (again.saved_by, again.saved_nano) == (good.saved_by, 2_000)
    with pytest.raises(ReceiptInvalid, match="causes sum to 2001 nano, saved is 2000"):
        check(money.receipt("r", 1000, **causes, saved_retries_nano=-99))

"""Dated rates and what is converted by them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from pydantic import ValidationError

from billing.currency import CurrencyConfig, rate_on

_SAID = {
    "code": "EUR",
    "rates": [{"from": "2026-11-01", "usd_per": 1.25}, {"from": "2026-01-01", "usd_per": "1.1"}],
}


def test_the_rate_is_the_last_one_that_has_begun() -> None:
    """Whatever their order in the file; before the first there is none."""
    config = CurrencyConfig.model_validate(_SAID)
    assert rate_on(config, date(2025, 12, 31)) is None
    old, new = rate_on(config, date(2026, 10, 31)), rate_on(config, date(2026, 11, 1))
    assert old is not None
    assert new is not None
    assert (old.usd_per, old.since) == (Decimal("1.1"), date(2026, 1, 1))
    assert (new.usd_per, new.sign) == (Decimal("1.25"), "\u20ac")


def test_amounts_are_divided_exactly_and_rounded_once() -> None:
    """A dollar and a quarter is a euro; a nano-dollar rounds half to even."""
    rate = rate_on(CurrencyConfig.model_validate(_SAID), date(2026, 11, 22))
    assert rate is not None
    assert rate.nano(1_250_000_000) == 1_000_000_000
    assert rate.nano(-1_250_000_000) == -1_000_000_000
    assert rate.nano(1) == 1
    assert rate.nano(0) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"code": "USD", "rates": _SAID["rates"]},
        {"code": "euro", "rates": _SAID["rates"]},
        {"code": "EUR", "rates": []},
        {"code": "EUR", "rates": [{"from": "2026-01-01", "usd_per": 0}]},
        {"code": "EUR", "rates": [{"from": "2026-01-01", "usd_per": 1}] * 2},
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, object]) -> None:
    """No rate, a rate of nothing, two on one day, the ledger's own currency, no code."""
    with pytest.raises(ValidationError):
        CurrencyConfig.model_validate(wrong)

"""Money: integer nano-USD, one half-even rounding, no float."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import amount, half_even, nano, rate_text, usd, usd_cents

rates = st.decimals(min_value=0, max_value=10_000, places=6)


@given(st.integers(-(10**20), 10**20))
def test_usd_and_nano_are_inverse(value: int) -> None:
    """Every amount is written exactly and read back as itself."""
    text = usd(value)
    assert nano(text) == value
    assert "e" not in text.lower()
    assert not ("." in text and text.endswith(("0", ".")))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (996_000, "0.000996"), (1_215_000_000, "1.215"), (-1, "-0.000000001")],
)
def test_usd_is_plain_and_shortest(value: int, text: str) -> None:
    """A written amount has no exponent and no trailing zeros."""
    assert usd(value) == text


@given(st.integers(0, 10**9), rates)
def test_an_amount_is_the_exact_product_rounded_once(quantity: int, rate: Decimal) -> None:
    """A line's amount is quantity times rate, half to even, whatever the digits."""
    exact = Fraction(quantity) * Fraction(rate) * 1000
    expected = Decimal(exact.numerator) / Decimal(exact.denominator)
    assert amount(quantity, rate) == int(expected.quantize(Decimal(1), ROUND_HALF_EVEN))


@pytest.mark.parametrize(
    ("numerator", "denominator", "result"),
    [(5, 2, 2), (7, 2, 4), (-5, 2, -2), (1, 3, 0), (2, 3, 1)],
)
def test_ties_go_to_the_even_neighbour(numerator: int, denominator: int, result: int) -> None:
    """Half a nano-dollar is rounded to the even one."""
    assert half_even(numerator, denominator) == result


@pytest.mark.parametrize("value", [0.1, 1.0, True])
def test_a_float_is_no_money(value: object) -> None:
    """A float is refused, since it has lost the amount already."""
    with pytest.raises(TypeError, match="money must be"):
        nano(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "abc", "NaN", "Infinity", "1e400", "1,000"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    """Text that is not a finite decimal raises ValueError."""
    with pytest.raises(ValueError, match=r"amount|money"):
        nano(text)


def test_a_twenty_token_embedding_is_not_free() -> None:
    """20 tokens at 0.02 USD per million are 400 nano-USD, which micro-USD would lose."""
    assert amount(20, Decimal("0.02")) == 400


def test_cents_are_for_reading() -> None:
    """Two places, half to even."""
    assert usd_cents(18_000_000_000_000) == "18000.00"
    assert usd_cents(5_000_000) == "0.00"
    assert usd_cents(15_000_000) == "0.02"
    assert usd_cents(-1_234_567_890) == "-1.23"


def test_a_rate_is_written_plainly() -> None:
    """Rates have no exponent and no trailing zeros."""
    assert rate_text(Decimal("0.0625")) == "0.0625"
    assert rate_text(Decimal("1E+3")) == "1000"
    assert rate_text(Decimal("2.50")) == "2.5"

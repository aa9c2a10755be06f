"""USD as integer nano-dollars: the only place where money is rounded.

One nano-dollar is 10^-9 USD. Rates are ``Decimal`` USD per million units; an amount is
``quantity x rate`` rounded once, half to even. No float comes in or goes out.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from functools import lru_cache
from math import gcd

Nano = int

NANO_PER_USD = 1_000_000_000
_NANO_PER_MILLIONTH = 1_000
_MAX_DIGITS = 60


def half_even(numerator: int, denominator: int) -> int:
    """The integer nearest to ``numerator / denominator``, ties to the even one.

    ``denominator`` > 0.
    """
    if denominator == 1:
        return numerator
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    if twice > denominator or (twice == denominator and quotient & 1):
        quotient += 1
    return quotient


def decimal_of(value: Decimal | str | int) -> Decimal:
    """``value`` as a finite Decimal, exactly as written.

    Raises:
        TypeError: a float (it has already lost the amount) or another type.
        ValueError: not a number, not finite, or of more than 60 digits.
    """
    if isinstance(value, bool) or not isinstance(value, Decimal | str | int):
        raise TypeError(f"money must be Decimal, str or int, never {type(value).__name__}")
    try:
        number = Decimal(value)
    except InvalidOperation as error:
        raise ValueError(f"{value!r} is not an amount of money") from error
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError(f"{value!r} is not a finite amount")
    if max(len(digits) + max(exponent, 0), -exponent) > _MAX_DIGITS:
        raise ValueError(f"{value!r} has more digits than any amount of money")
    return number


def nano(value: Decimal | str | int) -> Nano:
    """USD as nano-dollars, rounded half to even.

    Raises:
        TypeError: a float. ValueError: not a finite number.
    """
    numerator, denominator = decimal_of(value).as_integer_ratio()
    return half_even(numerator * NANO_PER_USD, denominator)


def usd(amount: Nano) -> str:
    """Nano-dollars as a plain decimal string of USD.

    Exact, no exponent, at most 9 places, no trailing zeros, ``"0"`` for nothing, so that
    equal amounts are equal strings: ``usd(996_000) == "0.000996"``.
    """
    whole, part = divmod(abs(amount), NANO_PER_USD)
    sign = "-" if amount < 0 else ""
    if not part:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{part:09d}".rstrip("0")


def usd_cents(amount: Nano) -> str:
    """Nano-dollars as USD with exactly two places, half to even, for people to read."""
    cents = half_even(amount, NANO_PER_USD // 100)
    whole, part = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole}.{part:02d}"


def rate_text(rate: Decimal) -> str:
    """A rate as plain decimal text, no exponent, no trailing zeros."""
    text = f"{rate:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@lru_cache(maxsize=4096)
def rate_ratio(rate: Decimal) -> tuple[int, int]:
    """Nano-dollars a unit, as an exact ratio in lowest terms, of USD per million units."""
    numerator, denominator = rate.as_integer_ratio()
    shared = gcd(numerator * _NANO_PER_MILLIONTH, denominator)
    return numerator * _NANO_PER_MILLIONTH // shared, denominator // shared


@lru_cache(maxsize=4096)
def text_ratio(rate: str) -> tuple[int, int]:
    """``rate_ratio`` of a rate written as decimal text."""
    return rate_ratio(Decimal(rate))


def amount(quantity: int, rate: Decimal) -> Nano:
    """What ``quantity`` units cost at ``rate`` USD per million units; rounded once."""
    numerator, denominator = rate_ratio(rate)
    return half_even(quantity * numerator, denominator)

"""A currency to show money in, by dated rates of the operator's own. Pure.

The ledger is in USD and stays so: a conversion is for the eye and for added columns, always
with the date of its rate, and never posted, summed or compared with a budget.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

_STRICT = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
_CODE = re.compile(r"^[A-Z]{3}$")
_SIGNS = {"EUR": "\u20ac", "GBP": "\u00a3", "JPY": "\u00a5", "INR": "\u20b9"}


def _code(value: str) -> str:
    if not _CODE.match(value):
        raise ValueError(f"{value!r} is no currency: write its three letters, such as EUR")
    if value == "USD":
        raise ValueError("USD is what the ledger is in: leave `currency` out")
    return value


def _exact(value: object) -> object:
    """A number of YAML as the decimal that was written."""
    return str(value) if isinstance(value, float) else value


class RateConfig(BaseModel):
    """``usd_per``: what one unit of the currency costs in USD from a day on."""

    model_config = _STRICT

    since: date = Field(alias="from")
    usd_per: Decimal = Field(gt=0)

    @field_validator("usd_per", mode="before")
    @classmethod
    def _as_written(cls, value: object) -> object:
        return _exact(value)


class CurrencyConfig(BaseModel):
    """``currency``: the code of a currency and its rates, by the day from which each holds."""

    model_config = _STRICT

    code: Annotated[str, AfterValidator(_code)]
    rates: tuple[RateConfig, ...] = Field(min_length=1)

    @field_validator("rates")
    @classmethod
    def _one_a_day(cls, value: tuple[RateConfig, ...]) -> tuple[RateConfig, ...]:
        days = [rate.since for rate in value]
        if len(set(days)) != len(days):
            raise ValueError("two rates begin on the same day: keep one")
        return tuple(sorted(value, key=lambda rate: rate.since))


@dataclass(frozen=True, slots=True)
class Rate:
    """One rate in force: USD a unit of ``code``, since a day."""

    code: str
    usd_per: Decimal
    since: date

    @property
    def sign(self) -> str:
        """What stands before an amount: a sign, or the code and a space."""
        return _SIGNS.get(self.code, f"{self.code}\u00a0")

    def nano(self, usd_nano: int) -> int:
        """An amount in billionths of the currency, rounded half to even."""
        exact = Decimal(usd_nano) / self.usd_per
        return int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))


def rate_on(config: CurrencyConfig, day: date) -> Rate | None:
    """The rate in force on a day, or None before the first."""
    held = [rate for rate in config.rates if rate.since <= day]
    return Rate(config.code, held[-1].usd_per, held[-1].since) if held else None

"""The shape of weir.yaml's money sections: accounts, budgets, ladders, limits, keys.

One pydantic model a section, unknown keys refused. ``BillingSection`` holds them all;
``accounts.build_accounts`` turns it into the frozen tree that requests are checked against.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from billing.budget import Budget, parse_budget
from billing.contracts import OverrideTerms
from billing.currency import CurrencyConfig
from billing.ladder import Ladder, parse_ladder
from billing.money import decimal_of
from billing.price_layers import PriceDecimal, PriceTerms

Forbidden = Literal[
    "route", "downgrade", "lossless", "trim", "compress", "response_cache", "fallback", "shadow"
]
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
_HASH = re.compile(r"^sha256:([0-9a-fA-F]{64})$")
_SHARE = re.compile(r"^\s*(\d{1,3}(?:\.\d+)?)\s*%\s*(?:of\s+sessions)?\s*$")
_POINTS = re.compile(r"^\s*(\d{1,2}(?:\.\d+)?)\s*(?:%|points?)\s*$")
_DURATION = re.compile(r"^\s*(\d+)\s*(s|m|h|d|seconds?|minutes?|hours?|days?)\s*$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_STRICT = ConfigDict(extra="forbid", frozen=True)


def _listed(value: object) -> object:
    """One thing where a list may stand."""
    return [value] if isinstance(value, str | int | float) else value


def _budget(value: object) -> Budget:
    if isinstance(value, Budget):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a budget: write for example `18000 per month`")
    return parse_budget(value)


def _share(value: object) -> Decimal:
    """``5% of sessions`` as 0.05."""
    if isinstance(value, Decimal):
        return value
    found = _SHARE.match(str(value))
    if found is None:
        raise ValueError(f"{value!r} is not a share: write for example `5% of sessions` or `0%`")
    share = decimal_of(found[1]) / 100
    if share > 1:
        raise ValueError(f"{value!r} is more than everything")
    return share


def _points(value: object) -> Decimal:
    """``2 points`` (of a success rate) as 0.02."""
    if isinstance(value, Decimal):
        return value
    found = _POINTS.match(str(value))
    if found is None:
        raise ValueError(f"{value!r} is no distance of two rates: write for example `2 points`")
    return decimal_of(found[1]) / 100


def _days(value: object) -> int:
    """``never`` as 0 seconds, ``7 days`` as seconds."""
    if value == "never":
        return 0
    return _seconds(value)


def _seconds(value: object) -> int:
    found = _DURATION.match(str(value))
    if found is None:
        raise ValueError(f"{value!r} is not a length of time: write for example `7 days` or `5m`")
    return int(found[1]) * _SECONDS[found[2][0]]


def _name(value: str) -> str:
    if not _NAME.match(value):
        raise ValueError(f"{value!r} is not a name: letters, digits, `.`, `_`, `-`, at most 64")
    return value


def _hex(value: str) -> str:
    """The 64 digits of ``sha256:...``, lower case."""
    found = _HASH.match(value)
    if found is None:
        raise ValueError(
            "a key is written as `sha256:` and 64 hex digits; `weir keys new NAME` prints it "
            "(never put the secret itself here)"
        )
    return found[1].lower()


def _hash(value: object) -> object:
    """``sha256:...`` alone stands for the whole key entry."""
    return {"hash": value} if isinstance(value, str) else value


def _store_failure(value: object) -> int:
    """``closed`` as 0, ``open 5m`` as the seconds it may stay open."""
    if value == "closed":
        return 0
    word, _, length = str(value).partition(" ")
    if word != "open":
        raise ValueError(f"{value!r}: write `closed` or, for example, `open 5m`")
    return _seconds(length)


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"{value!r} is not a time zone: write an IANA name such as `Europe/Berlin` or `UTC`"
        ) from error
    return value


Name = Annotated[str, AfterValidator(_name)]
KeyHash = Annotated[str, AfterValidator(_hex)]
BudgetText = Annotated[Budget, BeforeValidator(_budget)]
Budgets = Annotated[tuple[BudgetText, ...], BeforeValidator(_listed)]
Share = Annotated[Decimal, BeforeValidator(_share)]
Zone = Annotated[str, AfterValidator(_zone)]


class Limits(BaseModel):
    """Ceilings other than budgets: USD a request, output tokens, requests and tokens a minute."""

    model_config = _STRICT

    max_request: PriceDecimal | None = None
    max_output: int | None = Field(default=None, gt=0)
    rpm: int | None = Field(default=None, gt=0)
    tpm: int | None = Field(default=None, gt=0)
    concurrency: int | None = Field(default=None, gt=0)


class RecordConfig(BaseModel):
    """``record``: how long request bodies are kept, seconds; 0 is never."""

    model_config = _STRICT

    bodies: Annotated[int, BeforeValidator(_days)] = 0


class NodeConfig(BaseModel):
    """What any node of the tree may say."""

    model_config = _STRICT

    budget: Budgets = ()
    at: str | None = None
    limits: Limits = Limits()
    allow: tuple[str, ...] | None = None
    forbid: tuple[Forbidden, ...] = ()
    prefer: dict[str, str | int | bool] = Field(default_factory=dict)
    holdout: Share | None = None
    region: str | None = None
    record: RecordConfig | None = None
    keys: tuple[Name, ...] = ()


class ProjectConfig(NodeConfig):
    """A project of a team."""


class TeamConfig(NodeConfig):
    """A team: who pays and who answers for it."""

    cost_center: str | None = None
    owner: str | None = None
    baseline: str | None = None
    timezone: Zone | None = None
    projects: dict[Name, ProjectConfig] = Field(default_factory=dict)


class KeyConfig(BaseModel):
    """A virtual key: the hash of its secret, perhaps with limits of its own."""

    model_config = _STRICT

    hash: KeyHash
    revoked: bool = False
    expires: datetime | None = None
    budget: Budgets = ()
    limits: Limits = Limits()

    @field_validator("expires")
    @classmethod
    def _has_zone(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("`expires` needs a time zone, such as 2027-01-31T00:00:00Z")
        return value


class PricesConfig(BaseModel):
    """``prices``: contract files, overrides, and what to do with a model that has no price.

    ``unpriced`` is "reject", or the ceiling at which an unpriced request is held and booked.
    """

    model_config = _STRICT

    contracts: tuple[str, ...] = ()
    overrides: tuple[OverrideTerms, ...] = ()
    unpriced: Literal["reject"] | PriceTerms = "reject"


class Role(StrEnum):
    """``viewer`` sees sums, ``owner`` all of own teams, ``finance`` and ``admin`` everything."""

    VIEWER = "viewer"
    OWNER = "owner"
    FINANCE = "finance"
    ADMIN = "admin"


class PersonConfig(BaseModel):
    """One person who may open the dashboard; ``teams`` narrows what they see to these."""

    model_config = _STRICT

    key: KeyHash
    role: Role = Role.VIEWER
    teams: Annotated[tuple[Name, ...], BeforeValidator(_listed)] = ()

    @model_validator(mode="after")
    def _fits_the_role(self) -> PersonConfig:
        if self.role is Role.OWNER and not self.teams:
            raise ValueError("an owner owns at least one team: write `teams: [NAME]`")
        if self.role in (Role.FINANCE, Role.ADMIN) and self.teams:
            raise ValueError(f"{self.role.value} sees every team: leave `teams` out")
        return self


class SavingsConfig(BaseModel):
    """``savings``: how far below the holdout's the routed success rate may be and be clean."""

    model_config = _STRICT

    delta: Annotated[Decimal, BeforeValidator(_points)] = Decimal("0.02")


Keys = Annotated[dict[Name, Annotated[KeyConfig, BeforeValidator(_hash)]], Field(default={})]


class BillingSection(BaseModel):
    """Every section of weir.yaml that this package owns; they stand at its top level."""

    model_config = _STRICT

    timezone: Zone = "UTC"
    budget: Budgets = ()
    at: str | None = None
    ladders: dict[Name, Ladder] = Field(default_factory=dict)
    limits: Limits = Limits()
    teams: dict[Name, TeamConfig] = Field(default_factory=dict)
    keys: Keys
    holdout: Share = Decimal(0)
    prices: PricesConfig = PricesConfig()
    record: RecordConfig = RecordConfig()
    savings: SavingsConfig = SavingsConfig()
    people: dict[Name, PersonConfig] = Field(default_factory=dict)
    currency: CurrencyConfig | None = None
    on_store_failure: Annotated[int, BeforeValidator(_store_failure)] = 0

    @field_validator("ladders", mode="before")
    @classmethod
    def _parse_ladders(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        rows: dict[Any, Any] = value
        return {
            name: parse_ladder(str(name), rungs) if isinstance(rungs, dict) else rungs
            for name, rungs in rows.items()
        }

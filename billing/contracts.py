"""Negotiated prices: clauses of contracts, regional uplifts and overrides over the price book.

A clause speaks of one account or provider, of one model or of all, for a time, perhaps at
certain hours only, for one service tier, for batches or for one region. It scales what
stands below it (``discount``, ``uplift``) and replaces the components that it names;
everything else, long-context steps included, stays as it was. Text in, values out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from billing.money import decimal_of, rate_text
from billing.price_layers import PriceTerms, Rate
from billing.price_match import provider_id

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_PERCENT = re.compile(r"^\s*(\d{1,3}(?:\.\d{1,6})?)\s*%\s*$")
_HOURS = re.compile(r"^\s*([01]?\d|2[0-4]):([0-5]\d)\s*-\s*([01]?\d|2[0-4]):([0-5]\d)\s*$")
_DAY_MINUTES = 1440
_CALLS = ("tool_call:", "request")


@dataclass(frozen=True, slots=True)
class Span:
    """When a clause holds: ``[start, end)`` by date, on some days, between two minutes.

    Dates, days and minutes are those of ``zone``. ``minutes`` may pass midnight; the day
    is that on which the instant lies.
    """

    start: date | None = None
    end: date | None = None
    days: tuple[int, ...] = ()
    minutes: tuple[int, int] | None = None
    zone: str = "UTC"

    def holds(self, at: datetime) -> bool:
        """Whether an instant (with a time zone) lies in the span."""
        local = at.astimezone(ZoneInfo(self.zone))
        if not self.lives(local.date()) or (self.days and local.weekday() not in self.days):
            return False
        if self.minutes is None:
            return True
        begin, end = self.minutes
        minute = local.hour * 60 + local.minute
        return begin <= minute < end if begin <= end else minute >= begin or minute < end

    def lives(self, day: date) -> bool:
        """Whether a date lies between start and end."""
        return (self.start is None or day >= self.start) and (self.end is None or day < self.end)


@dataclass(frozen=True, slots=True)
class Clause:
    """One negotiated change; ``layer`` names it on every line that it prices.

    ``accounts``: names of upstreams, empty for all. ``provider`` None and ``model`` "*" mean
    any. ``factor`` multiplies the rates of tokens, never fees by the call. ``when`` are the
    dimensions (service tier, batch) it is for, none being the standard ones. ``public``: the
    provider's own uplift, part of its list price.
    """

    layer: str
    accounts: tuple[str, ...] = ()
    provider: str | None = None
    model: str = "*"
    rates: Mapping[str, Rate] = field(default_factory=dict)
    factor: Decimal = Decimal(1)
    free: bool = False
    when: Mapping[str, str] = field(default_factory=dict)
    region: str | None = None
    span: Span = Span()
    author: str = ""
    final: bool = False
    public: bool = False

    def covers(self, account: str | None, provider: str, names: tuple[str, ...]) -> bool:
        """Whether it speaks of a model, by any of its names, on an account."""
        if self.accounts and account not in self.accounts:
            return False
        if self.provider is not None and self.provider != provider_id(provider):
            return False
        return self.model == "*" or self.model.lower() in names

    def holds(self, at: datetime, region: str | None) -> bool:
        """Whether it is in force at an instant, for a request served in ``region``."""
        return (self.region is None or self.region == region) and self.span.holds(at)

    def scaled(self, rates: Mapping[str, Rate]) -> dict[str, Rate]:
        """The rates with this clause's factor on those of tokens."""
        if self.factor == 1:
            return dict(rates)
        return {
            name: rate if name.startswith(_CALLS) else rate.scaled(self.factor, self.layer)
            for name, rate in rates.items()
        }

    def laid(self, rates: Mapping[str, Rate]) -> dict[str, Rate]:
        """The rates scaled, then with what this clause names in their place."""
        below = self.scaled(rates)
        return below | {name: rate.over(below.get(name)) for name, rate in self.rates.items()}

    def canonical(self) -> str:
        """The same text for the same clause."""
        rates = {
            name: [rate_text(rate.base), *((s.start, s.inclusive, s.rate) for s in rate.steps)]
            for name, rate in sorted(self.rates.items())
        }
        return repr(
            (
                self.layer, self.accounts, self.provider, self.model, rates,
                rate_text(self.factor), self.free, sorted(self.when.items()), self.region,
                self.span, self.author, self.final,
            )
        )  # fmt: skip


def _percent(value: object) -> object:
    """``15%`` as 0.15."""
    if isinstance(value, Decimal):
        return value
    found = _PERCENT.match(str(value))
    if found is None:
        raise ValueError(f"{value!r} is not a share: write for example `15%`")
    return decimal_of(found[1]) / 100


def _hours(value: object) -> object:
    """``22:00-06:00`` as minutes after midnight."""
    if not isinstance(value, str):
        return value
    found = _HOURS.match(value)
    if found is None:
        raise ValueError(f"{value!r} are not hours: write for example `22:00-06:00`")
    begin, end = (int(found[n]) * 60 + int(found[n + 1]) for n in (1, 3))
    if max(begin, end) > _DAY_MINUTES or begin == end:
        raise ValueError(f"{value!r} are not hours: they end where they begin, or after 24:00")
    return (begin, end)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str | Mapping) else value


Percent = Annotated[Decimal, BeforeValidator(_percent), Field(ge=0)]
Hours = Annotated[tuple[int, int], BeforeValidator(_hours)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class ClauseTerms(PriceTerms):
    """What a contract says of a model: prices, or a share of what stands below, and when."""

    discount: Percent | None = Field(default=None, le=1)
    uplift: Percent | None = None
    service_tier: str | None = None
    batch: bool = False
    region: str | None = None
    start: date | None = Field(default=None, alias="from")
    until: date | None = None
    hours: Hours | None = None
    weekdays: tuple[Day, ...] = ()
    timezone: str = "UTC"

    @model_validator(mode="after")
    def _says_something(self) -> ClauseTerms:
        named = bool(self.components())
        scales = self.discount is not None or self.uplift is not None
        if self.free and (named or scales):
            raise ValueError("`free: true` stands alone: remove the prices, or `free`")
        if not (self.free or named or scales):
            raise ValueError("name a price, a `discount`, an `uplift`, or write `free: true`")
        if self.start and self.until and self.until <= self.start:
            raise ValueError(f"`until` {self.until} is not after `from` {self.start}")
        _zone(self.timezone)
        return self

    @property
    def factor(self) -> Decimal:
        """What the rates below are multiplied by."""
        return (1 - (self.discount or Decimal(0))) * (1 + (self.uplift or Decimal(0)))

    def span(self) -> Span:
        """When it holds."""
        days = tuple(sorted(DAYS.index(day) for day in self.weekdays))
        return Span(self.start, self.until, days, self.hours, self.timezone)

    def when(self) -> dict[str, str]:
        """The dimensions it is for."""
        tier = {"service_tier": self.service_tier} if self.service_tier else {}
        return tier | ({"processing": "batch"} if self.batch else {})


def _zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not a time zone: write an IANA name or `UTC`") from error


class OverrideTerms(ClauseTerms):
    """``prices.overrides[]``: a price that somebody answers for, until a day."""

    author: str = Field(min_length=1)
    until: date
    upstream: Names = ()
    model: str
    why: str = ""


class ContractFile(BaseModel):
    """A contract: whose terms, with whom, from when until when, and the clauses by model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$", max_length=64)
    author: str = Field(min_length=1)
    source: str = ""
    upstream: Names = ()
    provider: str | None = None
    start: date | None = Field(default=None, alias="from")
    until: date | None = None
    models: dict[str, Annotated[tuple[ClauseTerms, ...], BeforeValidator(_listed)]]

    @model_validator(mode="after")
    def _with_somebody(self) -> ContractFile:
        if not self.upstream and self.provider is None:
            raise ValueError("say with whom: `upstream: NAME` (one account) or `provider: NAME`")
        return self


def parse_contract(text: str, name: str) -> tuple[Clause, ...]:
    """The clauses of a contract file, in the order in which they are laid over one another.

    Args:
        text: YAML. name: what it is called where it names itself nothing.

    Raises:
        ValueError: not YAML, an unknown key, a wrong value; the message names the place.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ="safe", pure=True).load(text)
        file = ContractFile.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"]) or "the file"
        raise ValueError(f"{place}: {str(first['msg']).removeprefix('Value error, ')}") from None
    except YAMLError as error:
        raise ValueError(f"not valid YAML: {str(error).splitlines()[0]}") from None
    layer = f"contract:{file.name or name}"
    return tuple(
        _clause(layer, model, terms, file) for model, listed in file.models.items()
        for terms in listed
    )  # fmt: skip


def _clause(layer: str, model: str, terms: ClauseTerms, file: ContractFile) -> Clause:
    span = terms.span()
    starts = [day for day in (span.start, file.start) if day is not None]
    ends = [day for day in (span.end, file.until) if day is not None]
    return Clause(
        layer=layer,
        accounts=tuple(sorted(file.upstream)),
        provider=provider_id(file.provider) if file.provider else None,
        model=model,
        rates=terms.rates(layer),
        factor=terms.factor,
        free=terms.free,
        when=terms.when(),
        region=terms.region,
        span=Span(
            max(starts, default=None), min(ends, default=None), span.days, span.minutes, span.zone
        ),
        author=file.author,
    )


def override_clauses(terms: tuple[OverrideTerms, ...]) -> tuple[Clause, ...]:
    """The clauses of ``prices.overrides``; they lie over everything else."""
    made = []
    for one in terms:
        layer = f"override:{one.author}"
        made.append(
            Clause(
                layer=layer,
                accounts=tuple(sorted(one.upstream)),
                model=one.model,
                rates=one.rates(layer),
                factor=one.factor,
                free=one.free,
                when=one.when(),
                region=one.region,
                span=one.span(),
                author=one.author,
                final=True,
            )
        )
    return tuple(made)


def parse_regions(text: str) -> tuple[Clause, ...]:
    """Regional uplifts that providers publish, each with source and date of checking.

    Raises:
        ValueError: a row without id, provider, model, region, uplift, source or checked.
    """
    from ruamel.yaml import YAML

    rows: list[dict[str, Any]] = YAML(typ="safe", pure=True).load(text) or []
    made = []
    for row in rows:
        lacking = {"id", "provider", "model", "region", "uplift", "source", "checked"} - row.keys()
        if lacking:
            raise ValueError(f"regional uplift {row.get('id')!r} lacks {sorted(lacking)}")
        terms = ClauseTerms.model_validate({"uplift": row["uplift"], "from": row.get("from")})
        made.append(
            Clause(
                layer=f"patch:{row['id']}",
                provider=provider_id(row["provider"]),
                model=row["model"],
                factor=terms.factor,
                region=row["region"],
                span=terms.span(),
                author=row["source"],
                public=True,
            )
        )
    return tuple(made)


def today(at: datetime) -> date:
    """The UTC date of an instant."""
    return at.astimezone(UTC).date()

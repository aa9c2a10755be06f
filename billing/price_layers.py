"""What a price book is made of: entries of the base, patches, overrides of a configuration.

Text in, values out: nothing here opens a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from billing.money import decimal_of, rate_text
from billing.price_match import dashed_date, matches, provider_id


@dataclass(frozen=True, slots=True)
class Step:
    """Above (``inclusive``: from) ``start`` prompt tokens every token costs ``rate``."""

    start: int
    inclusive: bool
    rate: Decimal

    def holds(self, prompt_tokens: int) -> bool:
        """Whether a prompt of this size is over the step."""
        return prompt_tokens >= self.start if self.inclusive else prompt_tokens > self.start


@dataclass(frozen=True, slots=True)
class Rate:
    """USD per million units, perhaps stepped by the request's total prompt tokens.

    ``layer`` names where it comes from: base, a patch, a contract, the configuration.
    """

    base: Decimal
    steps: tuple[Step, ...] = ()
    layer: str = "base"

    def at(self, prompt_tokens: int) -> Decimal:
        """The rate for a request with this many prompt tokens, cached ones included."""
        rate = self.base
        for step in self.steps:
            if step.holds(prompt_tokens):
                rate = step.rate
        return rate

    def scaled(self, factor: Decimal, layer: str) -> Rate:
        """The same, steps included, times ``factor``; both layers are named."""
        steps = tuple(Step(s.start, s.inclusive, s.rate * factor) for s in self.steps)
        return Rate(self.base * factor, steps, f"{self.layer}*{layer}")

    def over(self, below: Rate | None) -> Rate:
        """This rate in place of ``below``; where it names no steps, those of below stay.

        A step that stays never makes a longer prompt cheaper than this rate.
        """
        if below is None or self.steps or not below.steps:
            return self
        steps = tuple(Step(s.start, s.inclusive, max(s.rate, self.base)) for s in below.steps)
        return Rate(self.base, steps, self.layer)

    def taken(self, prompt_tokens: int) -> int:
        """The number of the step that holds at this size, -1 for none."""
        found = -1
        for number, step in enumerate(self.steps):
            if step.holds(prompt_tokens):
                found = number
        return found

    def rule(self, prompt_tokens: int) -> str:
        """The layer, and the step taken if any, as short text."""
        taken = ""
        for step in self.steps:
            if step.holds(prompt_tokens):
                taken = f"{'>=' if step.inclusive else '>'}{step.start}"
        return f"{self.layer}{taken}"


Rates = Mapping[str, Rate]


@dataclass(frozen=True, slots=True)
class Period:
    """Prices with the time they hold: from a UTC date on, or between minutes of a UTC day."""

    rates: Rates
    start: date | None = None
    minutes: tuple[int, int] | None = None
    when: Mapping[str, str] = field(default_factory=dict)

    def active(self, at: datetime) -> bool:
        """Whether these prices hold at an instant."""
        moment = at.astimezone(UTC)
        if self.start is not None:
            return moment.date() >= self.start
        if self.minutes is None:
            return True
        begin, end = self.minutes
        minute = moment.hour * 60 + moment.minute
        return begin <= minute < end if begin <= end else minute >= begin or minute < end


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the base: its periods (the last active one holds) and variants."""

    provider: str
    model: str
    periods: tuple[Period, ...]
    variants: tuple[Period, ...]


@dataclass(frozen=True, slots=True)
class Patch:
    """A correction of ours: rates that replace the base's, component by component.

    ``model`` is the base's canonical name, or "*" for all of the provider's.
    """

    id: str
    provider: str
    model: str
    period: Period
    source: str
    checked: date

    def covers(self, entry: Entry) -> bool:
        """Whether this patch speaks of an entry."""
        return self.provider == entry.provider and self.model in ("*", entry.model)


class Base:
    """The snapshot: provider lines, parsed the first time a provider is priced."""

    def __init__(self, snapshot: bytes) -> None:
        head, _, body = snapshot.partition(b"\n")
        about: dict[str, Any] = orjson.loads(head)
        self.name = f"{about['package']}@{about['version']}"
        self.digest = hashlib.sha256(snapshot).hexdigest()
        if hashlib.sha256(body).hexdigest() != about["sha256"]:
            raise ValueError("the price snapshot does not match its own hash")
        self._lines = {_line_provider(line): line for line in body.split(b"\n") if line}
        self._parsed: dict[str, dict[str, Any]] = {}

    def providers(self) -> tuple[str, ...]:
        """Names of all providers."""
        return tuple(self._lines)

    def models(self, provider: str) -> tuple[str, ...]:
        """Canonical names of a provider's models; empty for an unknown provider."""
        name = provider_id(provider)
        return tuple(row["id"] for row in self._provider(name)["models"])

    def find(self, provider: str, model: str) -> Entry | None:
        """The entry that a provider's model name means, or None.

        A provider that resells others' models is asked first, then those others; last, a
        name such as ``gemini/gemini-2.5-pro`` names its provider itself.
        """
        found = self._find(provider_id(provider), model.lower())
        prefix, slash, rest = model.lower().partition("/")
        if found is None and slash:
            found = self._find(provider_id(prefix), rest)
        return found

    def _find(self, provider: str, model: str) -> Entry | None:
        for name in dict.fromkeys((model, dashed_date(model))):
            for owner in (provider, *self._provider(provider)["fallback"]):
                for row in self._provider(owner)["models"]:
                    if matches(row["match"], name):
                        return _entry(owner, row)
        return None

    def _provider(self, name: str) -> dict[str, Any]:
        if name not in self._parsed:
            if name not in self._lines:
                return {"models": [], "fallback": []}
            self._parsed[name] = orjson.loads(self._lines[name])
        return self._parsed[name]


def _line_provider(line: bytes) -> str:
    """The provider of a line, without parsing all of it."""
    return line[: line.index(b",")].split(b'"')[3].decode()


def _entry(provider: str, row: Mapping[str, Any]) -> Entry:
    return Entry(
        provider,
        row["id"],
        tuple(_period(item, "base") for item in row["prices"]),
        tuple(_period(item, "base") for item in row.get("variants", ())),
    )


def _period(row: Mapping[str, Any], layer: str) -> Period:
    minutes = row.get("minutes")
    return Period(
        {name: _rate(value, layer) for name, value in row["rates"].items()},
        date.fromisoformat(row["from"]) if "from" in row else None,
        (minutes[0], minutes[1]) if minutes else None,
        row.get("when", {}),
    )


def _rate(value: str | list[Any], layer: str) -> Rate:
    if isinstance(value, str):
        return Rate(decimal_of(value), (), layer)
    base, *steps = value
    return Rate(
        decimal_of(base),
        tuple(Step(start, sign == ">=", decimal_of(rate)) for start, sign, rate in steps),
        layer,
    )


def parse_patches(text: str) -> tuple[Patch, ...]:
    """Patches from YAML text; each must name its source and when it was checked.

    Raises:
        ValueError: a patch without id, provider, model, source, checked or rates.
    """
    from ruamel.yaml import YAML

    rows = YAML(typ="safe", pure=True).load(text) or []
    patches = []
    for row in rows:
        lacking = {"id", "provider", "model", "source", "checked", "rates"} - row.keys()
        if lacking:
            raise ValueError(f"price patch {row.get('id')!r} lacks {sorted(lacking)}")
        plain = {**row, "from": str(row["from"])} if "from" in row else row
        patches.append(
            Patch(
                row["id"],
                row["provider"],
                row["model"],
                _period(plain, f"patch:{row['id']}"),
                row["source"],
                date.fromisoformat(str(row["checked"])),
            )
        )
    return tuple(patches)


_MILLION = Decimal(1_000_000)


def _exact(value: object) -> object:
    """YAML numbers as the decimal that was written."""
    return str(value) if isinstance(value, float) else value


PriceDecimal = Annotated[
    Decimal, BeforeValidator(_exact), Field(ge=0, le=1_000_000, allow_inf_nan=False)
]


class TokenRates(BaseModel):
    """USD per million tokens of each kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: PriceDecimal | None = None
    output: PriceDecimal | None = None
    cache_read: PriceDecimal | None = None
    cache_write: PriceDecimal | None = None
    cache_write_5m: PriceDecimal | None = None
    cache_write_30m: PriceDecimal | None = None
    cache_write_1h: PriceDecimal | None = None
    cache_write_12h: PriceDecimal | None = None
    reasoning: PriceDecimal | None = None
    input_audio: PriceDecimal | None = None
    input_image: PriceDecimal | None = None
    output_audio: PriceDecimal | None = None
    output_image: PriceDecimal | None = None


class Above(TokenRates):
    """Prices above a prompt size: they hold for every token of such a request."""

    tokens: int = Field(gt=0)
    inclusive: bool = False


class PriceTerms(TokenRates):
    """``models.<name>.price`` of weir.yaml: what is named is in force, the rest is inherited.

    ``request`` is USD a request, ``tool_calls`` USD a call, by kind of call, ``image`` USD a
    picture, ``second`` USD a second of sound, ``character`` USD a million characters of speech.
    """

    free: bool = False
    above: tuple[Above, ...] = ()
    request: PriceDecimal | None = None
    image: PriceDecimal | None = None
    second: PriceDecimal | None = None
    character: PriceDecimal | None = None
    tool_calls: dict[str, PriceDecimal] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_something(self) -> PriceTerms:
        named = self.components()
        if self.free and named:
            raise ValueError("`free: true` stands alone: remove the prices, or `free`")
        if not self.free and not named:
            raise ValueError("name at least one price, or write `free: true`")
        return self

    def components(self) -> dict[str, Decimal]:
        """Every price named, by component, USD per million units."""
        named = {name: getattr(self, name) for name in TokenRates.model_fields}
        rates = {name: decimal_of(rate) for name, rate in named.items() if rate is not None}
        for name in ("request", "image", "second"):
            if (fee := getattr(self, name)) is not None:
                rates[name] = decimal_of(fee) * _MILLION
        if self.character is not None:
            rates["character"] = decimal_of(self.character)
        for kind, fee in self.tool_calls.items():
            rates[f"tool_call:{kind}"] = decimal_of(fee) * _MILLION
        return rates

    def rates(self, layer: str) -> dict[str, Rate]:
        """The same as rates, steps included."""
        found = {}
        for name, base in self.components().items():
            steps = tuple(
                Step(step.tokens, step.inclusive, rate)
                for step in sorted(self.above, key=lambda step: step.tokens)
                if (rate := getattr(step, name, None)) is not None
            )
            found[name] = Rate(base, steps, layer)
        return found

    def canonical(self) -> str:
        """The same text for the same terms."""
        steps = [
            {key: _canon(value) for key, value in step.model_dump(exclude_none=True).items()}
            for step in self.above
        ]
        named = {name: rate_text(rate) for name, rate in self.components().items()}
        return json.dumps([self.free, named, steps], sort_keys=True)


def _canon(value: object) -> object:
    return rate_text(value) if isinstance(value, Decimal) else value

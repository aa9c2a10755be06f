"""What a model costs: an immutable, content-hashed, layered price book.

Layers, each by component: base (a pinned snapshot of genai-prices) < patches (ours, with
source and date) < contracts < a configuration's ``price:`` < overrides with author and
expiry. An unknown model, an unknown service tier or a component without a price raises
``PriceMissing``; nothing is ever $0 unless ``free: true`` was written. Where a ceiling is
declared for unpriced models, it prices them, and says so.

A named price is for the standard tier: what is served otherwise keeps its list price,
unless a clause names that tier, and discounts hold for all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime

from billing.bundled import bundled_text
from billing.contracts import Clause, parse_regions
from billing.errors import PriceMissing
from billing.price import Price
from billing.price_layers import (
    Base,
    Entry,
    Patch,
    PriceTerms,
    Rate,
    parse_patches,
)
from billing.price_match import provider_id

__all__ = [
    "ACCOUNT",
    "REGION",
    "REGION_FIELD",
    "STANDARD_TIERS",
    "UNPRICED",
    "Price",
    "PriceBook",
]

STANDARD_TIERS = frozenset({"default", "standard", "auto", ""})
ACCOUNT, REGION = "account", "region"
"""Keys of a price's context: the upstream that serves, and the region it served in."""
REGION_FIELD = "inference_geo"
"""What Anthropic calls a region, in a request and in its usage."""
UNPRICED = "unpriced:"
"""How the rule of a line begins that a declared ceiling priced."""
_CACHED_PRICES = 4096


class PriceBook:
    """Prices of every model at every instant; ``hash`` names the content.

    Immutable: ``with_overrides`` gives another book. Lookups are cached inside.
    """

    def __init__(
        self,
        base: Base,
        patches: tuple[Patch, ...] = (),
        overrides: Mapping[str, PriceTerms] | None = None,
        clauses: tuple[Clause, ...] = (),
        ceiling: PriceTerms | None = None,
    ) -> None:
        self._base = base
        self._patches = patches
        self._overrides = dict(overrides or {})
        self._clauses = clauses
        self._ceiling = ceiling
        parts = [base.digest, *(repr(patch) for patch in patches)]
        parts += [f"{name}={self._overrides[name].canonical()}" for name in sorted(self._overrides)]
        parts += [clause.canonical() for clause in clauses]
        parts += [f"ceiling={ceiling.canonical()}"] if ceiling is not None else []
        self.hash = "sha256:" + hashlib.sha256("\n".join(parts).encode()).hexdigest()
        self._entries: dict[tuple[str, str], Entry | None] = {}
        self._prices: dict[tuple[object, ...], tuple[int, Price]] = {}

    @classmethod
    def bundled(cls, overrides: Mapping[str, PriceTerms] | None = None) -> PriceBook:
        """The book that this package ships, with a configuration's overrides."""
        patches = parse_patches(bundled_text("patches.yaml").decode())
        regions = parse_regions(bundled_text("regions.yaml").decode())
        return cls(Base(bundled_text("prices.jsonl")), patches, overrides, regions)

    def with_overrides(self, overrides: Mapping[str, PriceTerms]) -> PriceBook:
        """This book with further overrides, by model name, ``provider/model`` or
        ``account@provider/model``.
        """
        every = {**self._overrides, **overrides}
        return PriceBook(self._base, self._patches, every, self._clauses, self._ceiling)

    def with_clauses(self, clauses: tuple[Clause, ...]) -> PriceBook:
        """This book with further clauses, laid over those it has."""
        every = (*self._clauses, *clauses)
        return PriceBook(self._base, self._patches, self._overrides, every, self._ceiling)

    def with_ceiling(self, ceiling: PriceTerms | None) -> PriceBook:
        """This book, in which ``ceiling`` prices what has no price; None: nothing does."""
        return PriceBook(self._base, self._patches, self._overrides, self._clauses, ceiling)

    def price(
        self,
        provider: str,
        model: str,
        at: datetime,
        *,
        service_tier: str | None = "default",
        batch: bool = False,
        context: Mapping[str, str] | None = None,
    ) -> Price:
        """The prices in force at an instant.

        Args:
            provider: the upstream's provider (``openai``, ``anthropic``, ``gemini``...).
            model: the name the provider knows, or one that an override names.
            at: with a time zone.
            service_tier: as served; None and "auto" are the standard tier.
            context: further exact dimensions, such as ``{"speed": "fast"}``; ``account`` is
                the upstream that serves, ``region`` where it served.

        Raises:
            PriceMissing: no such model, tier, or dimension in force.
        """
        if at.tzinfo is None:
            raise ValueError("the instant of a price needs a time zone")
        when = dict(context or {})
        if (service_tier or "") not in STANDARD_TIERS:
            when["service_tier"] = service_tier or ""
        if batch:
            when["processing"] = "batch"
        key = (provider, model, *sorted(when.items()))
        minute = int(at.timestamp()) // 60
        cached = self._prices.get(key)
        if cached is not None and cached[0] == minute:
            return cached[1]
        price = self._or_ceiling(provider, model, at, when)
        if len(self._prices) >= _CACHED_PRICES:
            self._prices.clear()
        self._prices[key] = (minute, price)
        return price

    def known(self, provider: str, model: str) -> bool:
        """Whether the book holds any price of this model, at any time."""
        found = self._terms(provider, model, None) is not None
        return found or self._entry(provider, model) is not None

    def changes(self, provider: str, model: str) -> tuple[date, ...]:
        """The dates on which a listed model's standard price changes, oldest first."""
        entry = self._entry(provider, model)
        periods = entry.periods if entry is not None else ()
        return tuple(sorted({p.start for p in periods if p.start is not None and not p.when}))

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """Every clause, in the order in which they are laid."""
        return self._clauses

    def _or_ceiling(
        self, provider: str, model: str, at: datetime, when: Mapping[str, str]
    ) -> Price:
        """The price, or the declared ceiling for what has none. Raises PriceMissing."""
        try:
            return self._price(provider, model, at, when)
        except PriceMissing:
            if self._ceiling is None:
                raise
            rates = self._ceiling.rates("ceiling")
            rule = f"{UNPRICED}{provider}/{model}"
            return Price(provider, model, rates, self.hash, rule, unpriced=True)

    def _price(self, provider: str, model: str, at: datetime, context: Mapping[str, str]) -> Price:
        when = {name: value for name, value in context.items() if name not in (ACCOUNT, REGION)}
        account, region = context.get(ACCOUNT), context.get(REGION)
        entry = self._entry(provider, model)
        names = (model.lower(), *((entry.model.lower(),) if entry is not None else ()))
        said = [
            clause
            for clause in self._clauses
            if clause.covers(account, provider, names) and clause.holds(at, region)
        ]
        layers = [clause for clause in said if not clause.final]
        terms = self._terms(provider, model, account)
        if terms is not None:
            layers.append(Clause("override", rates=terms.rates("override"), free=terms.free))
        layers += [clause for clause in said if clause.final]
        if _free(layers, when):
            return Price(provider, model, {}, self.hash, f"{provider}/{model}", free=True)
        rates: dict[str, Rate] = {}
        found: dict[str, Rate] = {}
        listed: dict[str, Rate] = {}
        rule = f"{provider}/{model}"
        if entry is not None:
            rates, found = self._base_rates(entry, at, when, layers)
            rule = f"{self._base.name}:{entry.provider}/{entry.model}"
            rule += "".join(f";{name}={value}" for name, value in sorted(when.items()))
            if not all(clause.public for clause in layers):
                listed = _laid(rates, found, [c for c in layers if c.public], when)
        elif not all(any(c.when.get(n) == v for c in layers) for n, v in when.items()):
            raise PriceMissing(provider, model, _dimensions(when))
        rates = _laid(rates, found, layers, when)
        if not rates:
            raise PriceMissing(provider, model)
        return Price(provider, model, rates, self.hash, rule, listed=listed)

    def _base_rates(
        self, entry: Entry, at: datetime, when: Mapping[str, str], layers: Sequence[Clause]
    ) -> tuple[dict[str, Rate], dict[str, Rate]]:
        """Base and patches: the standard rates, and those of the variants asked for.

        Every variant asked for must exist, here or in a clause. Raises PriceMissing.
        """
        active = [period for period in entry.periods if period.active(at)]
        rates = dict((active[-1] if active else entry.periods[0]).rates)
        patches = [
            patch.period
            for patch in self._patches
            if patch.covers(entry) and patch.period.active(at)
        ]
        for patch in patches:
            if not patch.when:
                rates |= patch.rates
        variants = [v for v in (*reversed(patches), *entry.variants) if v.when and v.active(at)]
        found: dict[str, Rate] = {}
        for variant in variants:
            if all(when.get(name) == value for name, value in variant.when.items()):
                found = {**variant.rates, **found}
        dimensions = [v.when for v in variants] + [clause.when for clause in layers]
        for name, value in when.items():
            if not any(known.get(name) == value for known in dimensions):
                raise PriceMissing(entry.provider, entry.model, f"{name}={value}")
        return rates, found

    def _terms(self, provider: str, model: str, account: str | None) -> PriceTerms | None:
        named = f"{provider}/{model}"
        own = self._overrides.get(f"{account}@{named}") if account else None
        return own or self._overrides.get(named) or self._overrides.get(model)

    def _entry(self, provider: str, model: str) -> Entry | None:
        key = (provider_id(provider), model)
        if key not in self._entries:
            if len(self._entries) >= _CACHED_PRICES:
                self._entries.clear()
            self._entries[key] = self._base.find(provider, model)
        return self._entries[key]


def _laid(
    rates: dict[str, Rate],
    found: dict[str, Rate],
    layers: Sequence[Clause],
    when: Mapping[str, str],
) -> dict[str, Rate]:
    """Standard rates and those of a variant with every clause over them, in order."""
    for clause in layers:
        if not clause.when:
            rates, found = clause.laid(rates), clause.scaled(found)
        elif _served(clause, when):
            found = clause.laid(rates | found)
    return rates | found


def _free(layers: Sequence[Clause], when: Mapping[str, str]) -> bool:
    """Whether the last word on a price is that there is none to pay."""
    words = [clause for clause in layers if (clause.free or clause.rates) and _served(clause, when)]
    return bool(words) and words[-1].free


def _served(clause: Clause, when: Mapping[str, str]) -> bool:
    """Whether a clause is for what was served: its own dimensions, or any where it has none."""
    return all(when.get(name) == value for name, value in clause.when.items())


def _dimensions(when: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(when.items()))

"""One immutable view of configuration, prices and catalog; a request reads it once.

A reload builds a new one and swaps the reference, so no request sees two policies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from billing.accounts import VirtualKey
from billing.errors import PriceMissing
from billing.price_layers import PriceTerms
from billing.prices import ACCOUNT, REGION, Price, PriceBook
from compressor.media import MediaRule, media_rule
from compressor.tokens import TokenCounter, load_counter
from gateway.settings import Settings, policy_of
from router.catalog import Catalog, ModelCard, bundled_catalog
from router.complexity import Complexity, Limits, bundled_complexity
from router.correction import Scorer, corrected
from router.decide import ModelOption
from router.policy import ModelEntry, RoutePolicy

# Prices change by the minute at the finest, so options are kept for one.
_MINUTE_MS = 60_000
_KEPT_PRICES = 1_024


@dataclass(frozen=True, slots=True)
class Gauge:
    """How one model counts a prompt; ``tokenizer`` and ``ratio`` make the counter again."""

    counter: TokenCounter
    media: MediaRule
    tokenizer: str
    ratio: float


class Snapshot:
    """Settings, prices, cards and what is derived from them for each key."""

    def __init__(self, settings: Settings, prices: PriceBook, catalog: Catalog) -> None:
        self.settings = settings
        self.accounts = settings.accounts
        self.prices = prices
        self.catalog = catalog
        self.complexity: Scorer = corrected(bundled_complexity(), settings.weights)
        self.cards: Mapping[str, ModelCard] = {
            name: card_of(name, entry, catalog) for name, entry in settings.models.items()
        }
        self.catalog_hash = _catalog_hash(catalog, settings.models)
        self.secrets = settings.secrets
        self._gauges: dict[str, Gauge] = {}
        self._policies: dict[str, RoutePolicy] = {}
        self._served: dict[tuple[str, str, int, str, str | None], Price] = {}
        self._options = lru_cache(maxsize=4096)(self._build_options)

    @property
    def limits(self) -> Limits:
        """The highest gain that keeps each quality floor: one's own calibration, or ours."""
        own = self.settings.routing.quality.limits
        return tuple(sorted(own.items())) or self.complexity.limits

    def limit_at(self, floor: float) -> float:
        """The highest gain at which a small model keeps ``floor`` of the quality."""
        return Complexity(0.0, 1.0, 0.0, 0.0, limits=self.limits).gain_limit(floor)

    def option(self, key: VirtualKey, model: str, at_ms: int) -> ModelOption:
        """One model as this key may use it."""
        return next(o for o in self.options(key, at_ms) if o.name == model)

    def options(self, key: VirtualKey, at_ms: int) -> tuple[ModelOption, ...]:
        """Every declared model, priced at this minute, None where no price is in force."""
        return self._options(at_ms // _MINUTE_MS)

    def _build_options(self, minute: int) -> tuple[ModelOption, ...]:
        at = datetime.fromtimestamp(minute * _MINUTE_MS / 1000, UTC)
        return tuple(
            ModelOption(
                name=name,
                tier=entry.tier,
                provider=self.settings.upstreams[entry.upstream].provider,
                provider_model=entry.model or name,
                card=self.cards[name],
                price=self._price(name, entry, at),
                fallbacks=entry.fallbacks,
            )
            for name, entry in self.settings.models.items()
        )

    def _price(self, name: str, entry: ModelEntry, at: datetime) -> Price | None:
        provider = self.settings.upstreams[entry.upstream].provider
        context = {ACCOUNT: entry.upstream}
        try:
            return self.prices.price(provider, entry.model or name, at, context=context)
        except PriceMissing:
            return None

    def price(
        self, model: str, at_ms: int, service_tier: str | None, region: str | None = None
    ) -> Price:
        """The price of what was served. Raises PriceMissing for an unknown tier."""
        own = self.settings.models[model].model or model
        return self.price_of(model, own, at_ms, service_tier, region)

    def price_of(
        self, model: str, own: str, at_ms: int, service_tier: str | None, region: str | None = None
    ) -> Price:
        """The price of a provider's own name, on the account that serves ``model``.

        Raises:
            PriceMissing: no such name, or tier.
        """
        tier = service_tier or "default"
        asked = (model, own, at_ms // _MINUTE_MS, tier, region)
        found = self._served.get(asked)
        if found is not None:
            return found
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
        context = {ACCOUNT: self.settings.models[model].upstream}
        if region is not None:
            context[REGION] = region
        found = self.prices.price(self.provider(model), own, at, service_tier=tier, context=context)
        if len(self._served) >= _KEPT_PRICES:  # a new minute makes new ones
            self._served.clear()
        self._served[asked] = found
        return found

    def provider(self, model: str) -> str:
        """The price book's name of the provider behind a declared model."""
        return self.settings.upstreams[self.settings.models[model].upstream].provider

    def policy(self, key: VirtualKey) -> RoutePolicy:
        """The routing policy as it holds for one key."""
        policy = self._policies.get(key.name)
        if policy is None:
            settings = self.settings
            policy = policy_of(settings.policy, key, settings.models, settings.upstreams)
            self._policies[key.name] = policy
        return policy

    def gauge(self, model: str) -> Gauge:
        """How ``model`` counts; the baseline's way for ``auto``."""
        gauge = self._gauges.get(model)
        if gauge is None:
            name = model if model in self.cards else self.default_model()
            card = self.cards[name]
            gauge = Gauge(
                load_counter(card.tokenizer, ratio=card.token_ratio),
                media_rule(card.media_rule, **card.media_figures),
                card.tokenizer,
                card.token_ratio,
            )
            self._gauges[model] = gauge
        return gauge

    def default_model(self) -> str:
        """What ``auto`` is compared with: the declared baseline, else the first mid model."""
        settings = self.settings
        if settings.routing.baseline:
            return settings.routing.baseline
        mids = [name for name, entry in settings.models.items() if entry.tier.value == "mid"]
        return next(iter(mids or settings.models))


def card_of(name: str, entry: ModelEntry, catalog: Catalog) -> ModelCard:
    """The catalog's card with the operator's own figures put in."""
    card = catalog.lookup(entry.model or name)
    return card.adjusted(window=entry.context_window, effective=entry.lengths)


def _catalog_hash(catalog: Catalog, models: Mapping[str, ModelEntry]) -> str:
    own = {
        name: entry.model_dump(mode="json", include={"context_window", "effective_context"})
        for name, entry in sorted(models.items())
    }
    text = catalog.hash + json.dumps(own, sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def price_overrides(settings: Settings) -> dict[str, PriceTerms]:
    """The prices declared under ``models:``, by ``account@provider/model``."""
    terms = {}
    for name, entry in settings.models.items():
        provider = settings.upstreams[entry.upstream].provider
        key = f"{entry.upstream}@{provider}/{entry.model or name}"
        if entry.free:
            terms[key] = PriceTerms(free=True)
        elif entry.price is not None:
            terms[key] = entry.price
    return terms


def book_of(settings: Settings) -> PriceBook:
    """The price book as one configuration has it: contracts, own prices, overrides, ceiling."""
    book = PriceBook.bundled(price_overrides(settings))
    clauses = settings.contracts.clauses
    return (book.with_clauses(clauses) if clauses else book).with_ceiling(settings.ceiling)


def build_snapshot(settings: Settings) -> Snapshot:
    """Everything a request needs to know, from one configuration."""
    prices = book_of(settings)
    return Snapshot(settings, prices, bundled_catalog())

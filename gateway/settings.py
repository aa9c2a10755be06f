"""weir.yaml -> frozen Settings. Strict and atomic: one mistake, one message, nothing loaded.

Each package owns the schema of its own section; this file composes them and turns every
error into file, line, key and fix.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from billing.accounts import Accounts, BillingSection, Node, VirtualKey, build_accounts
from billing.policy_schema import Limits, NodeConfig
from billing.price_layers import PriceTerms
from billing.schema import check_url, url_beside
from gateway.card_files import read_cards
from gateway.contract_files import Contracts, read_contracts
from gateway.notify import NotifySection
from gateway.settings_fit import check_fit
from gateway.upstream.protocol import Timeouts
from gateway.weights_file import read_weights
from gateway.yaml_text import Document, Location
from router.correction import Correction
from router.errors import PolicyInvalid
from router.plan import Tier
from router.policy import (
    RULE,
    SHADOW_ACCOUNT,
    FitSection,
    ModelEntry,
    RoutePolicy,
    RoutingSection,
    ShadowSection,
    narrow,
    route_policy,
)

TIERS = tuple(tier.value for tier in Tier)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TimeoutsSection(_Strict):
    """Seconds."""

    connect: float = Field(default=5.0, gt=0, le=3600)
    first_byte: float = Field(default=60.0, gt=0, le=3600)
    idle: float = Field(default=60.0, gt=0, le=3600)
    total: float = Field(default=600.0, gt=0, le=86400)


class EndpointSection(_Strict):
    """One of several addresses or credentials of an upstream, and its share of the load."""

    base_url: str | None = None
    api_key: str | None = None
    weight: int = Field(default=1, ge=1, le=1000)


class UpstreamSection(_Strict):
    """One provider: where it is and how it is spoken to."""

    kind: Literal["openai", "anthropic", "litellm"]
    base_url: str | None = None
    api_key: str | None = None
    provider: str | None = None
    output_limit_field: Literal["max_completion_tokens", "max_tokens"] | None = None
    region: str | None = None
    endpoints: tuple[EndpointSection, ...] = ()
    retries: int = Field(default=1, ge=0, le=5)
    timeouts: TimeoutsSection = TimeoutsSection()


class ServerSection(_Strict):
    """The process: where it listens and what it refuses."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    max_body_mb: float = Field(default=32, gt=0, le=1024)
    max_file_mb: float = Field(default=512, gt=0, le=65536)
    max_concurrent: int = Field(default=2000, ge=1)
    drain_seconds: float = Field(default=30, ge=0)
    heartbeat_seconds: float = Field(default=15, ge=0, le=3600)
    sweep_seconds: float = Field(default=60, gt=0, le=86400)
    hold_expiry_seconds: float | None = Field(default=None, gt=0)


class AnswersSection(_Strict):
    """Answers that are kept for the same request of the same key."""

    exact: bool = False
    ttl_seconds: float = Field(default=3600, gt=0, le=30 * 86400)
    max_mb: float = Field(default=256, gt=0, le=65536)


class RootSection(BillingSection):
    """The whole file; the billing sections (teams, keys, budgets) stand at its top level."""

    version: Literal[1] = 1
    database: str = "sqlite:///weir.db"
    shared_state: str | None = Field(default=None, pattern=r"^(redis|rediss|unix)://")
    journal: str = "weir-journal"
    server: ServerSection = ServerSection()
    upstreams: dict[str, UpstreamSection]
    models: dict[str, ModelEntry]
    routing: RoutingSection = RoutingSection()
    fit: FitSection = FitSection()
    notify: NotifySection = NotifySection()
    answers: AnswersSection = AnswersSection()

    @field_validator("database")
    @classmethod
    def _is_supported(cls, value: str) -> str:
        check_url(value)
        return value


@dataclass(frozen=True, slots=True)
class UpstreamSpec:
    """A provider ready to be connected; ``provider`` names it in the price book."""

    name: str
    kind: str
    base_url: str | None
    api_key: str | None
    provider: str
    output_limit_field: str
    timeouts: Timeouts
    region: str | None = None
    endpoints: tuple[EndpointSection, ...] = ()
    retries: int = 1

    @property
    def told_region(self) -> bool:
        """Whether each request itself says in which region it must be served."""
        return self.provider == "anthropic"


@dataclass(frozen=True, slots=True)
class Settings:
    """One valid configuration and the hash that stands on every receipt."""

    source: str
    database: str
    shared_state: str | None
    journal: str
    server: ServerSection
    upstreams: Mapping[str, UpstreamSpec]
    models: Mapping[str, ModelEntry]
    routing: RoutingSection
    fit: FitSection
    policy: RoutePolicy
    accounts: Accounts
    contracts: Contracts
    ceiling: PriceTerms | None
    notify: NotifySection
    answers: AnswersSection
    hash: str
    weights: Correction | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every credential in use, for scrubbing."""
        found = [u.api_key for u in self.upstreams.values()]
        found += [e.api_key for u in self.upstreams.values() for e in u.endpoints]
        keys = tuple(key for key in found if key)
        return keys + self.notify.secrets


def parse(text: str, source: str, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from the text of a weir.yaml.

    Raises:
        ConfigError: unknown or duplicate key, wrong value, missing reference, unset
            ``${ENV}``; with the line and what would fix it.
    """
    document = Document(text, source, os.environ if environ is None else environ, RootSection)
    try:
        root = RootSection.model_validate(document.plain)
    except ValidationError as error:
        raise document.explain(error) from None
    upstreams = {n: _upstream(n, spec, document) for n, spec in root.upstreams.items()}
    check_fit(root.fit, root.models, upstreams, document)
    _check_references(root, document)
    contracts = read_contracts(root.prices, document, root.upstreams)
    models, cards = read_cards(root.models, document)
    weights, trained = read_weights(root.routing.weights, document)
    try:
        accounts = _with_shadow(build_accounts(root), root.routing.shadow)
        policy = route_policy(root.routing, root.fit)
        for key in accounts.keys.values():
            policy_of(policy, key, root.models, upstreams)
    except (ValueError, PolicyInvalid) as error:
        raise document.named(str(error)) from None
    return Settings(
        source=source,
        database=url_beside(root.database, Path(source).parent),
        shared_state=root.shared_state,
        journal=str(Path(source).parent / root.journal),
        server=root.server,
        upstreams=upstreams,
        models=models,
        routing=root.routing,
        fit=root.fit,
        policy=policy,
        accounts=accounts,
        contracts=contracts,
        notify=root.notify,
        answers=root.answers,
        weights=weights,
        ceiling=None if root.prices.unpriced == "reject" else root.prices.unpriced,
        hash="sha256:"
        + hashlib.sha256((text + contracts.text + cards + trained).encode()).hexdigest(),
    )


_PROVIDER_HOSTS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "google",
    "api.x.ai": "x-ai",
    "api.mistral.ai": "mistral",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "openrouter.ai": "openrouter",
    "api.together.xyz": "together",
    "api.fireworks.ai": "fireworks",
}


def policy_of(
    policy: RoutePolicy,
    key: VirtualKey,
    models: Mapping[str, ModelEntry],
    upstreams: Mapping[str, UpstreamSpec],
) -> RoutePolicy:
    """The routing policy as it holds for one key; a region is one more `allow`.

    Raises:
        PolicyInvalid: the key's team or project forbids or prefers what nothing knows.
    """
    for level in key.allow:
        policy = narrow(policy, allow=level)
    if key.region is not None:
        policy = narrow(policy, allow=served_in(key.region, models, upstreams))
    word = key.prefer.get("fit")
    return narrow(
        policy,
        forbid=key.forbid,
        prefer_fit=None if word is None else str(word),
        prefer_recent=key.prefer.get("keep_recent"),
        prefer_ratio=key.prefer.get("ratio"),
    )


def served_in(
    region: str, models: Mapping[str, ModelEntry], upstreams: Mapping[str, UpstreamSpec]
) -> frozenset[str]:
    """The models that stay in a region: declared to be there, or told so in each request.

    What nobody said the region of is in none.
    """
    found = set()
    for name, entry in models.items():
        upstream = upstreams[entry.upstream]
        declared = entry.region or upstream.region
        if upstream.told_region if declared is None else declared.lower() == region.lower():
            found.add(name)
    return frozenset(found)


def _upstream(name: str, spec: UpstreamSection, document: Document) -> UpstreamSpec:
    where: Location = ("upstreams", name)
    base = spec.base_url
    if spec.kind == "openai" and base is None:
        base = "https://api.openai.com/v1"
    if spec.kind == "anthropic" and base is None:
        base = "https://api.anthropic.com"
    if base is not None and not re.match(r"^https?://[^/\s]+", base):
        raise document.error(
            (*where, "base_url"), "this is no http(s) address", "write https://host/v1"
        )
    host = re.sub(r"^https?://([^/:]+).*$", r"\1", base or "")
    provider = spec.provider or _PROVIDER_HOSTS.get(host)
    if provider is None:
        provider = "anthropic" if spec.kind == "anthropic" else name
    official = provider == "openai" or spec.kind != "openai"
    limit_field = "max_completion_tokens" if official else "max_tokens"
    return UpstreamSpec(
        name=name,
        kind=spec.kind,
        base_url=base,
        api_key=spec.api_key,
        provider=provider,
        output_limit_field=spec.output_limit_field or limit_field,
        timeouts=Timeouts(**spec.timeouts.model_dump()),
        region=spec.region,
        endpoints=spec.endpoints,
        retries=spec.retries,
    )


def _check_references(root: RootSection, document: Document) -> None:
    if not root.models:
        raise document.error(("models",), "no model is declared", "declare at least one model")
    for name, entry in root.models.items():
        if entry.upstream not in root.upstreams:
            raise document.missing(
                ("models", name, "upstream"), entry.upstream, "upstream", root.upstreams
            )
        for n, fallback in enumerate(entry.fallbacks):
            if fallback not in root.models:
                raise document.missing(
                    ("models", name, "fallbacks", n), fallback, "model", root.models
                )
        if name == "auto":
            raise document.error(
                ("models", name), "`auto` means that the gateway chooses", "use another name"
            )
    for where, baseline in _baselines(root):
        if baseline is not None and baseline not in root.models:
            raise document.missing(where, baseline, "model", root.models)
    shadow = root.routing.shadow
    if shadow is not None and shadow.judge not in {RULE, *root.models}:
        raise document.missing(
            ("routing", "shadow", "judge"), shadow.judge, "model", [RULE, *root.models]
        )
    for where, word in _allowed(root):
        if word not in root.models and word not in TIERS:
            raise document.missing(where, word, "model or tier", [*root.models, *TIERS])


def _with_shadow(accounts: Accounts, section: ShadowSection | None) -> Accounts:
    """The accounts with the gateway's own, which pays for shadow labels."""
    if section is None:
        return accounts
    node = Node(SHADOW_ACCOUNT, section.budget, Limits(), accounts.zone)
    return replace(accounts, nodes={**accounts.nodes, SHADOW_ACCOUNT: node})


def _baselines(root: RootSection) -> Iterator[tuple[Location, str | None]]:
    """Every place that names a baseline."""
    yield ("routing", "baseline"), root.routing.baseline
    for name, team in root.teams.items():
        yield ("teams", name, "baseline"), team.baseline


def _allowed(root: RootSection) -> Iterator[tuple[Location, str]]:
    """Every word of every `allow`."""
    for name, team in root.teams.items():
        nodes: list[tuple[Location, NodeConfig]] = [(("teams", name), team)]
        nodes += [
            (("teams", name, "projects", child), project)
            for child, project in team.projects.items()
        ]
        for where, node in nodes:
            for number, word in enumerate(node.allow or ()):
                yield (*where, "allow", number), word

"""Routing and fit preferences: the sections of weir.yaml, and the frozen policy made of them.

This package owns the entries of ``models:`` and the sections ``routing:`` and ``fit:``.
Permissions intersect downward, ``forbid`` accumulates and is permanent, preferences are
the nearest one's, and a client may only tighten.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from billing.budget import Budget, Span
from billing.money import nano
from billing.policy_schema import Budgets, Share
from billing.price_layers import PriceTerms
from compressor.recipe import Way
from router.effective import EffectiveLengths
from router.errors import PolicyInvalid
from router.plan import Tier

FORBIDDABLE = frozenset(
    {
        "lossless", "trim", "compress", "route", "downgrade", "response_cache", "fallback",
        "shadow",
    }
)  # fmt: skip
RULE = "rule"  # a judge that is no model
SHADOW_ACCOUNT = "gateway:shadow"  # no team can be called so: a name holds no colon
MARGIN = 0.10
_STRENGTH = {way: number for number, way in enumerate(Way)}
HARD_RATIO = 2.0  # `prefer: {fit: hard}` compresses this many times harder
_FLOOR = re.compile(r"^\s*(\d{1,3}(?:\.\d+)?)\s*%(?:\s+of\s+requested)?\s*$")


def _floor(value: object) -> float:
    """``97% of requested`` as 0.97."""
    if isinstance(value, str):
        match = _FLOOR.match(value)
        if match is None:
            raise ValueError(f"a quality floor is written like '97% of requested', not {value!r}")
        value = float(match.group(1)) / 100
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.5 <= value <= 1:
        raise ValueError(f"a quality floor lies between 50% and 100% of requested, not {value!r}")
    return float(value)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelEntry(_Section):
    """One entry of ``models:``: where a public name is served and what it is for.

    ``model`` is the provider's own name, by default the public one. ``fallbacks`` are
    public names tried when the upstream fails. ``effective_context`` replaces the catalog's
    figures: one number, lengths by kind of reading, or the path of a card file.
    ``free: true`` says that it costs nothing; else a price must be known.
    """

    upstream: str
    model: str | None = None
    tier: Tier = Tier.MID
    fallbacks: tuple[str, ...] = ()
    context_window: int | None = Field(default=None, gt=0)
    effective_context: int | EffectiveLengths | str | None = None
    region: str | None = None
    price: PriceTerms | None = None
    free: bool = False

    @model_validator(mode="after")
    def _one_price(self) -> ModelEntry:
        if self.free and self.price is not None:
            raise ValueError("a model is either free or has a price, not both")
        reads = self.effective_context
        if isinstance(reads, int) and reads <= 0:
            raise ValueError("effective_context is a number of tokens above 0")
        longest = reads.longest if isinstance(reads, EffectiveLengths) else reads
        window = self.context_window
        if window is not None and isinstance(longest, int) and longest > window:
            raise ValueError("effective_context lies beyond context_window")
        return self

    @property
    def lengths(self) -> int | EffectiveLengths | None:
        """The declared effective context. A card file is read before (gateway.card_files)."""
        return None if isinstance(self.effective_context, str) else self.effective_context

    @property
    def terms(self) -> PriceTerms | None:
        """The declared price, or None where the price book must know one."""
        return PriceTerms(free=True) if self.free else self.price


class QualitySection(_Section):
    """``quality:``: how much of the asked-for model's quality a cheaper one must keep.

    ``unproven: keep`` stays with the asked-for model where the evidence is weak
    (an unknown script, tools, no signal); ``route`` believes the score there too. ``limits``:
    the highest gain that keeps a floor, from one's own labels (`weir router calibrate`).
    """

    floor: Annotated[float, BeforeValidator(_floor)] = 0.97
    unproven: Literal["keep", "route"] = "keep"
    limits: dict[Annotated[float, BeforeValidator(_floor)], float] = Field(default_factory=dict)


class ShadowSection(_Section):
    """``routing.shadow:``: cheap-routed requests that the model asked for is asked, too.

    ``share`` of them; ``budget`` of their own, such as ``2 per day``; ``judge``: ``rule``, or a
    declared model, which compares where no rule can.
    """

    share: Share
    budget: Budgets
    judge: str = RULE

    @field_validator("budget")
    @classmethod
    def _bounded(cls, budget: tuple[Budget, ...]) -> tuple[Budget, ...]:
        if not budget or any(one.per_user or one.span is Span.REQUEST for one in budget):
            raise ValueError("shadow labels need a budget for a time, such as `2 per day`")
        return budget


class ExploreSection(_Section):
    """``routing.explore:``: a share of choices that the score alone made is turned round.

    ``budget_usd`` is what may be put at stake in a UTC day.
    """

    share: Share
    budget_usd: Decimal = Field(gt=0)

    @field_validator("share")
    @classmethod
    def _some(cls, share: Decimal) -> Decimal:
        if not 0 < share <= Decimal("0.5"):
            raise ValueError("explore a share above 0% and up to 50%")
        return share


class RoutingSection(_Section):
    """``routing:``. ``baseline`` is what ``model: auto`` is compared with.

    ``escalations``: USD that one key may spend in a UTC day on going up under ``auto``.
    ``escalate``: whether a cheaper answer that fails a plain check is asked for once more.
    ``shadow``: labels from asking twice; None for none. ``weights``: the path of a file that
    `weir router train` wrote. ``explore``: now and then the other choice; None for never.
    """

    mode: Literal["route", "observe"] = "route"
    baseline: str | None = None
    quality: QualitySection = QualitySection()
    escalations: Decimal | None = Field(default=None, ge=0)
    escalate: Literal["on_fault", "never"] = "on_fault"
    shadow: ShadowSection | None = None
    weights: str | None = None
    explore: ExploreSection | None = None

    @property
    def escalations_nano(self) -> int | None:
        """The same in nano-USD."""
        return None if self.escalations is None else nano(self.escalations)


class SummarizerSection(_Section):
    """``fit.summarizer:``: who writes the memories of ``compress``."""

    backend: Literal["torch", "openai", "extractive"] = "extractive"
    model: str | None = None
    upstream: str | None = None
    device: str = "auto"

    @model_validator(mode="after")
    def _complete(self) -> SummarizerSection:
        if self.backend != "extractive" and not self.model:
            raise ValueError(f"backend {self.backend} needs a model")
        if self.backend == "openai" and not self.upstream:
            raise ValueError("backend openai needs an upstream (a name under `upstreams:`)")
        return self


class EmbedderSection(_Section):
    """``fit.embedder:`` where a server embeds: text-embeddings-inference or OpenAI's wire.

    ``timeout_s`` is for all pieces of one request together; later, ranking does without.
    """

    backend: Literal["openai", "tei"]
    upstream: str
    model: str | None = None
    timeout_s: float = Field(default=0.5, gt=0, le=60)

    @model_validator(mode="after")
    def _complete(self) -> EmbedderSection:
        if self.backend == "openai" and not self.model:
            raise ValueError("backend openai needs a model")
        return self

    @property
    def name(self) -> str:
        """The model as `models:` must name it."""
        return self.model or "tei"


class FitSection(_Section):
    """``fit:``: what may be done to a prompt, in this order of preference.

    ``embedder``: ``auto`` is the packaged MiniLM where there is a GPU and none where there
    is not (on a CPU it is slower than what it adds is worth, docs/concepts/context-fit.md),
    ``packaged`` is MiniLM anyway, ``none``, the name of a sentence-transformers model, or a
    server (``EmbedderSection``).
    """

    allow: tuple[Literal["lossless", "trim", "compress"], ...] = ("lossless", "trim", "compress")
    keep_recent: int = Field(default=4096, ge=256)
    ratio: float = Field(default=10.0, gt=1, le=100)
    summarizer: SummarizerSection = SummarizerSection()
    embedder: Annotated[
        Annotated[str, Tag("name")] | Annotated[EmbedderSection, Tag("server")],
        Discriminator(lambda given: "name" if isinstance(given, str) else "server"),
    ] = "auto"

    @field_validator("allow")
    @classmethod
    def _no_twins(cls, allow: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(allow)) != len(allow):
            raise ValueError("a way is named twice")
        return allow


@dataclass(frozen=True, slots=True)
class RoutePolicy:
    """What a decision may do for one caller.

    ``floor`` and ``margin`` are shares (0 to 1); ``allow`` the ways of fitting in order of
    preference; ``permitted`` one set of public names and tiers a level, all of which must
    name a model or its tier; ``forbid`` holds words of ``FORBIDDABLE``.
    """

    mode: str = "route"
    baseline: str | None = None
    floor: float = 0.97
    unproven: str = "keep"
    margin: float = MARGIN
    allow: tuple[Way, ...] = (Way.LOSSLESS, Way.TRIM, Way.COMPRESS)
    keep_recent: int = 4096
    ratio: float = 10.0
    forbid: frozenset[str] = frozenset()
    permitted: tuple[frozenset[str], ...] = ()

    def permits(self, model: str, tier: Tier) -> bool:
        """Whether ``model`` of ``tier`` may be used at all."""
        return all(model in level or tier.value in level for level in self.permitted)

    def ways(self) -> tuple[Way, ...]:
        """The ways that are allowed and not forbidden, in order of preference."""
        if not self.forbid:
            return self.allow
        return tuple(way for way in self.allow if way.value not in self.forbid)


def route_policy(routing: RoutingSection, fit: FitSection) -> RoutePolicy:
    """The organisation's policy, before any team narrows it."""
    return RoutePolicy(
        mode=routing.mode,
        baseline=routing.baseline,
        floor=routing.quality.floor,
        unproven=routing.quality.unproven,
        allow=tuple(Way(way) for way in fit.allow),
        keep_recent=fit.keep_recent,
        ratio=fit.ratio,
    )


def narrow(
    policy: RoutePolicy,
    *,
    allow: Collection[str] | None = None,
    forbid: Collection[str] = (),
    prefer_fit: str | None = None,
    prefer_recent: object = None,
    prefer_ratio: object = None,
) -> RoutePolicy:
    """``policy`` as it holds one level further down (team, project or key).

    Args:
        allow: model names and tiers permitted here, on top of what is permitted above;
            None adds no limit.
        forbid: words of ``FORBIDDABLE``, added for good.
        prefer_fit: ``hard`` fits harder; ``off``, ``lossless``, ``trim`` or ``compress``
            name the strongest way wanted. Never adds a way that was not allowed above.
        prefer_recent, prefer_ratio: ``fit.keep_recent`` and ``fit.ratio`` of this level.
    Raises:
        PolicyInvalid: a word that nothing knows, a figure out of range.
    """
    unknown = sorted(set(forbid) - FORBIDDABLE)
    if unknown:
        known = ", ".join(sorted(FORBIDDABLE))
        raise PolicyInvalid(f"cannot forbid {', '.join(unknown)}; known: {known}")
    narrowed = replace(policy, forbid=policy.forbid | frozenset(forbid))
    if allow is not None:
        narrowed = replace(narrowed, permitted=(*policy.permitted, frozenset(allow)))
    if prefer_recent is not None:
        policy = replace(policy, keep_recent=int(_figure("keep_recent", prefer_recent, 256, 10**7)))
    if prefer_ratio is not None:
        policy = replace(policy, ratio=_figure("ratio", prefer_ratio, 1.01, 100.0))
    narrowed = replace(narrowed, keep_recent=policy.keep_recent, ratio=policy.ratio)
    if prefer_fit is None:
        return narrowed
    if prefer_fit == "hard":
        recent = max(256, policy.keep_recent // 2)
        return replace(narrowed, ratio=policy.ratio * HARD_RATIO, keep_recent=recent)
    strongest = Way.WHOLE if prefer_fit == "off" else _way(prefer_fit)
    kept = tuple(way for way in policy.allow if at_most(way, strongest))
    return replace(narrowed, allow=kept)


def _figure(name: str, value: object, least: float, most: float) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not least <= float(value) <= most:  # type: ignore[arg-type]  # a number by now
        raise PolicyInvalid(
            f"prefer.{name} is {value!r}; expected a number from {least:g} to {most:g}"
        )
    return float(value)  # type: ignore[arg-type]  # checked above


def at_most(way: Way, strongest: Way) -> bool:
    """Whether ``way`` is no stronger than ``strongest``."""
    return _STRENGTH[way] <= _STRENGTH[strongest]


def _way(name: str) -> Way:
    try:
        return Way(name)
    except ValueError:
        raise PolicyInvalid(
            f"unknown fit {name!r}; known: off, hard, {', '.join(way.value for way in Way)}"
        ) from None

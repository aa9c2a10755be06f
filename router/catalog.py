"""What is known of each model: window, effective context, tokenizer, provider cache.

A card's three lengths answer different questions (docs/concepts/routing.md): ``literal``
for finding words that stand in the question, ``semantic`` for finding what only means the
same, ``multi`` for reading many places at once. What nobody measured follows one rule:
literal = min(window / 2, 64K), semantic = 8K (4K for small models), multi = 16K.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from typing import Any

from router.effective import LENGTHS, PROBE, EffectiveLengths
from router.errors import CatalogInvalid
from router.need import Need, NeedKind

UNKNOWN_WINDOW = 128_000
UNKNOWN_MAX_OUTPUT = 8_192
UNKNOWN_RATIO = 1.2
DEFAULT_LITERAL = 65_536
DEFAULT_SEMANTIC = 8_192
DEFAULT_SEMANTIC_SMALL = 4_096
DEFAULT_MULTI = 16_384
BELOW_ONE_K = 512  # a measured 0 means "below 1K", not "nothing"

_SMALL = re.compile(
    r"(?:^|[-_])(mini|nano|small|lite|flash|haiku|luna)(?:$|[-_])|[-_:]([1-9]|1[0-4])b(?:$|[-_:])"
)
_REGION = re.compile(r"^(?:us|eu|apac|global)\.")
_VENDOR = re.compile(r"^(?:anthropic|meta|mistral|amazon|google|deepseek|qwen|openai)\.")
_VERSION = re.compile(
    r"(?:-v\d+(?::\d+)?|:\d+|@[\w-]+|[-@]\d{8}|-\d{4}-\d{2}-\d{2}|-\d{2}-\d{2}|-\d{4}|-latest|-preview)$"
)


@dataclass(frozen=True, slots=True)
class Measured:
    """Where a length of a card is from.

    ``confidence``: primary (the benchmark's own table), derived (from published scores),
    secondary (a third party), configured (the operator says so) or probed (`weir probe`).
    """

    source: str
    date: str | None
    confidence: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model's limits. Lengths in tokens of the model's own tokenizer.

    ``window`` is the provider's limit of prompt and completion together. ``literal``,
    ``semantic`` and ``multi`` are None where nothing was measured. One token of encoding
    ``tokenizer`` is about ``token_ratio`` tokens of the model; ``exact`` says that it is
    exactly one. ``confidence`` is that of the best-founded length (``Measured``), or default
    where none is known. ``window_known`` is False for a model of which
    nothing at all is known. ``measured`` says of each length that is not None where it is
    from. ``media_rule`` and ``media_figures`` name the rule and figures
    by which images count; ``images`` whether the model reads them.
    """

    model: str
    window: int
    max_output: int
    literal: int | None
    semantic: int | None
    multi: int | None
    tokenizer: str = "o200k_base"
    token_ratio: float = UNKNOWN_RATIO
    media_rule: str = "openai_tiles"
    sources: tuple[str, ...] = ()
    confidence: str = "default"
    cache_min_tokens: int | None = None
    cache_ttl_s: int | None = None
    small: bool = False
    window_known: bool = True
    images: bool = True
    media_figures: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, Measured] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether ``tokenizer`` counts as the provider does (OpenAI's own models only)."""
        return self.token_ratio == 1.0

    def adjusted(
        self, *, window: int | None, effective: int | EffectiveLengths | None
    ) -> ModelCard:
        """This card with an operator's own window and effective context put in.

        One number stands for all three kinds of reading; of lengths by kind, those that are
        not named stay the catalog's.
        """
        card = self
        if window is not None:
            max_output = card.max_output if card.window_known else max(1, window // 4)
            card = replace(
                card, window=window, max_output=min(max_output, window), window_known=True
            )
        if isinstance(effective, int):
            effective = EffectiveLengths(literal=effective, semantic=effective, multi=effective)
        return card if effective is None else _with(card, effective)


def _with(card: ModelCard, lengths: EffectiveLengths) -> ModelCard:
    own = {kind: found for kind in LENGTHS if (found := getattr(lengths, kind)) is not None}
    day = lengths.date.isoformat() if lengths.date else None
    confidence = "probed" if lengths.source == PROBE else "configured"
    said = {kind: Measured(lengths.source, day, confidence) for kind in own}
    return replace(card, confidence=confidence, measured={**card.measured, **said}, **own)


def effective(card: ModelCard, need: Need) -> int:
    """Tokens up to which ``card``'s model reads well enough for this ``need``, >= 512.

    A look-up that names identifiers or quotes needs literal matches; an open question
    semantic ones; everything else may need several places at once. Never above the window.
    """
    literal = card.literal if card.literal is not None else min(card.window // 2, DEFAULT_LITERAL)
    if need.kind is NeedKind.LOOKUP and need.identifiers:
        return _bounded(literal, card.window)
    if need.kind in (NeedKind.LOOKUP, NeedKind.CHAT):
        default = DEFAULT_SEMANTIC_SMALL if card.small else DEFAULT_SEMANTIC
        semantic = card.semantic if card.semantic is not None else min(default, literal)
        return _bounded(semantic, card.window)
    multi = card.multi if card.multi is not None else min(DEFAULT_MULTI, literal)
    return _bounded(multi, card.window)


def _bounded(value: int, window: int) -> int:
    return min(max(value, BELOW_ONE_K), window)


def plain_name(name: str) -> str:
    """A model's name without provider, region, deployment version or date.

    ``bedrock/eu.anthropic.claude-sonnet-5-5-v1:0`` becomes ``claude-sonnet-5-5``.
    """
    plain = name.strip().lower().rsplit("/", 1)[-1]
    plain = _VENDOR.sub("", _REGION.sub("", plain))
    while (shorter := _VERSION.sub("", plain)) != plain and shorter:
        plain = shorter
    return plain


def default_card(name: str) -> ModelCard:
    """The card of a model of which only the name is known."""
    return ModelCard(
        model=name,
        window=UNKNOWN_WINDOW,
        max_output=UNKNOWN_MAX_OUTPUT,
        literal=None,
        semantic=None,
        multi=None,
        small=_SMALL.search(name.lower()) is not None,
        window_known=False,
    )


@dataclass(frozen=True)
class Catalog:
    """All cards, by the model's plain name. Immutable; ``hash`` names the content."""

    cards: Mapping[str, ModelCard]
    aliases: Mapping[str, str] = field(default_factory=dict)
    hash: str = ""

    def lookup(self, name: str) -> ModelCard:
        """The card of ``name``, as written by any provider, or one made by the default rule.

        The exact name wins, then the name without provider, version and date.
        """
        for key in (name, name.lower().rsplit("/", 1)[-1], plain_name(name)):
            card = self.cards.get(self.aliases.get(key, key))
            if card is not None:
                return card
        return self._by_plain_name.get(plain_name(name)) or default_card(name)

    @cached_property
    def _by_plain_name(self) -> dict[str, ModelCard]:
        plain: dict[str, ModelCard] = {}
        for key, card in sorted(self.cards.items()):
            plain.setdefault(plain_name(key), card)
        return plain


def parse_catalog(text: str) -> Catalog:
    """The catalog written in ``text`` (JSON, as in ``router/data/models.json``).

    Raises:
        CatalogInvalid: not JSON, or a card without a name, a window or with a bad length.
    """
    try:
        data = json.loads(text)
        cards = [_card(row) for row in _rows(data)]
        aliases = dict(data.get("aliases", {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CatalogInvalid(f"the model catalog cannot be read: {error!r}") from error
    by_name = {card.model: card for card in cards}
    if len(by_name) != len(cards):
        raise CatalogInvalid("the model catalog names a model twice")
    lost = sorted(alias for alias, model in aliases.items() if model not in by_name)
    if lost:
        raise CatalogInvalid(f"aliases of models without a card: {', '.join(lost)}")
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Catalog(cards=by_name, aliases=aliases, hash=f"sha256:{digest}")


def _rows(data: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    rows: Iterable[Mapping[str, Any]] = data["models"]
    return rows


def _card(row: Mapping[str, Any]) -> ModelCard:
    said = {kind: row[kind] for kind in LENGTHS if row.get(kind) is not None}
    card = ModelCard(
        model=str(row["model"]),
        window=int(row["window"]),
        max_output=int(row["max_output"]),
        literal=_tokens(said.get("literal")),
        semantic=_tokens(said.get("semantic")),
        multi=_tokens(said.get("multi")),
        tokenizer=str(row["tokenizer"]),
        token_ratio=float(row["token_ratio"]),
        media_rule=str(row["media_rule"]),
        sources=tuple(row.get("sources", ())),
        confidence=str(row["confidence"]),
        cache_min_tokens=row.get("cache_min_tokens"),
        cache_ttl_s=row.get("cache_ttl_s"),
        small=bool(row.get("small", False)),
        images=bool(row.get("images", True)),
        media_figures=dict(row.get("media_figures", {})),
        measured={
            kind: Measured(length["source"], length.get("date"), length["confidence"])
            for kind, length in said.items()
        },
    )
    lengths = (card.literal, card.semantic, card.multi)
    if card.window <= 0 or not 0 < card.max_output <= card.window or card.token_ratio <= 0:
        raise ValueError(f"card {card.model!r}: window, max_output or token_ratio out of range")
    if any(length is not None and not 0 <= length <= card.window for length in lengths):
        raise ValueError(f"card {card.model!r}: an effective length beyond its window")
    return card


def _tokens(said: Mapping[str, Any] | None) -> int | None:
    return None if said is None else int(said["tokens"])


def bundled_catalog() -> Catalog:
    """The catalog shipped with the package (sources and dates stand in the file)."""
    folder = resources.files("router").joinpath("data")
    return parse_catalog(folder.joinpath("models.json").read_text(encoding="utf-8"))

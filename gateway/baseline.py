"""The tokenmaxxed baseline of one exchange: its original prompt, whole, to what it asked for."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from decimal import Decimal

from billing.counterfactual import Original, Tokenmaxxed, tokenmaxxed
from billing.errors import PriceMissing
from billing.prices import REGION_FIELD, STANDARD_TIERS, Price
from billing.record import record
from billing.shadow_cache import CacheRule, CacheSplit, Prefix, ShadowCache
from billing.untouched import Norm, Norms, class_of
from billing.usage import Usage
from compressor.conversation import Conversation, Message
from compressor.measure import Measurement
from compressor.recipe import Fitted, Way
from gateway.exchange import Exchange, Parties, Prepared
from gateway.snapshot import Snapshot
from router.catalog import ModelCard

# OpenAI-style automatic caches keep whole blocks of this many tokens.
AUTOMATIC_BLOCK = 128
FINE_BYTES, FINE_UNTIL, COARSE_BYTES = 2_048, 1_048_576, 32_768


def prefixes(
    conversation: Conversation, measurement: Measurement, minimum: int
) -> tuple[Prefix, ...]:
    """Every prefix that ends with a message or with a block inside one, hashed, shortest first.

    A provider's cache matches inside a message, too: the same document with another
    question is warm up to the question. A prompt too small to cache is one prefix.
    """
    if measurement.prompt_tokens < minimum:
        return (Prefix(b"", measurement.prompt_tokens),)
    digest = hashlib.blake2b(digest_size=16)
    for tool in conversation.tools:
        digest.update(tool.encode("utf-8", "surrogatepass"))
    # What stands outside the messages (tools, schema, priming) is read before them.
    tokens = measurement.prompt_tokens - sum(measurement.message_tokens)
    found: list[Prefix] = []
    for message, count in zip(conversation.messages, measurement.message_tokens, strict=True):
        digest.update(b"\x00" + message.role.encode())
        text = b"".join(b"\x01" + p.text.encode("utf-8", "surrogatepass") for p in message.parts)
        start = 0
        for end in _block_ends(len(text)):
            digest.update(text[start:end])
            found.append(Prefix(digest.copy().digest(), tokens + count * end // len(text)))
            start = end
        digest.update(text[start:])
        tokens += count
        found.append(Prefix(digest.copy().digest(), tokens))
    return tuple(found)


def sent_conversation(conversation: Conversation, fitted: Fitted) -> Conversation:
    """The conversation with a fit's edits made."""
    texts = {edit.path: edit.text for edit in fitted.edits}
    messages = []
    for message in conversation.messages:
        parts = tuple(
            replace(part, text=texts[part.path]) if part.path in texts else part
            for part in message.parts
        )
        messages.append(Message(message.role, parts, message.name))
    return replace(conversation, messages=tuple(messages))


def _block_ends(size: int) -> list[int]:
    """Where blocks end inside a message of ``size`` bytes: places that do not depend on it.

    Every 2 KiB in the first megabyte, every 32 KiB beyond, so that a huge prompt costs
    few hashes.
    """
    fine = list(range(FINE_BYTES, min(size, FINE_UNTIL), FINE_BYTES))
    return fine + list(range(FINE_UNTIL, size, COARSE_BYTES))


def cache_rule(card: ModelCard, provider: str, conversation: Conversation) -> CacheRule | None:
    """How the baseline model's provider would have cached this prompt; None: not at all.

    Anthropic caches where the client marks it, and bills the write; the others cache by
    themselves and bill reads alone.
    """
    if card.cache_min_tokens is None or card.cache_ttl_s is None:
        return None
    ttl_ms = card.cache_ttl_s * 1000
    if provider == "anthropic":
        if not any(part.cache_mark for m in conversation.messages for part in m.parts):
            return None
        return CacheRule(ttl_ms, card.cache_min_tokens, write="cache_write_5m")
    return CacheRule(ttl_ms, card.cache_min_tokens, AUTOMATIC_BLOCK)


def special_price(snapshot: Snapshot, ex: Exchange, model: str) -> Price | None:
    """The price of the service tier or region that goes upstream; None: the standard one.

    Raises:
        PriceMissing: a tier that nobody knows the price of.
    """
    body = ex.request.body if ex.request is not None else {}
    tier, region = body.get("service_tier"), body.get(REGION_FIELD)
    if ex.caller is not None and ex.caller.key.region is not None:
        region = ex.caller.key.region.lower()
    if (not tier or tier in STANDARD_TIERS) and not region:
        return None
    return snapshot.price(model, ex.at_ms, str(tier or "default"), str(region) if region else None)


def asked_price(
    snapshot: Snapshot, ex: Exchange, parties: Parties, served: Price | None
) -> Price | None:
    """The price of the request as asked: its model, in the tier and region that it names.

    Where that very request was served, it is what the provider ``served`` it at: a discount
    or a downgrade of the provider's own is on both sides and never our saving.
    """
    if _as_asked(parties) and served is not None:
        return served
    model = parties.prepared.plan.baseline_model
    try:
        special = special_price(snapshot, ex, model)
    except PriceMissing:
        return None
    return special or snapshot.option(parties.caller.key, model, ex.at_ms).price


@record(frozen=True, slots=True)
class Memory:
    """What the counterfactual needs beyond the request: a cache's past, and untouched traffic."""

    shadow: ShadowCache
    norms: Norms


def norm_of(norms: Norms, prepared: Prepared) -> Norm:
    """What untouched traffic says of the model asked for, for requests of this class."""
    return norms.of(prepared.plan.baseline_model, class_of(prepared.decision))


def baseline_of(
    memory: Memory, snapshot: Snapshot, ex: Exchange, usage: Usage, asked: Price | None
) -> Tokenmaxxed:
    """What the request would have cost as received, at the same instant and price book.

    A request that failed would have failed there, too: it costs nothing on either side. How
    long the model asked for reasons is its mean on untouched traffic (so also for that
    traffic itself, or the holdout could not say how far off the mean is); where too little
    is known, and where the request was served as asked, what was reasoned.

    Args:
        asked: the price of the request as asked, None where nobody knows it.
    """
    if ex.status != 200:
        return Tokenmaxxed(0, Usage(source="none"))
    parties = Parties.of(ex)
    prepared, model = parties.prepared, parties.prepared.plan.baseline_model
    option = snapshot.option(parties.caller.key, model, ex.at_ms)
    if asked is None or asked.unpriced:
        return Tokenmaxxed(None, usage, "unpriced")
    conversation = parties.request.conversation
    rule = cache_rule(option.card, option.provider, conversation)
    split = None
    if rule is not None:
        owner = (parties.caller.key.name, model)
        split = memory.shadow.replay(owner, prepared.prefixes, rule, ex.at_ms)
    prompt = prepared.measurement.prompt_tokens
    if _as_asked(parties) and usage.source == "provider":
        # The provider has counted this very prompt: its figure is better than ours.
        prompt, split = usage.prompt_tokens, _scaled(split, prompt, usage.prompt_tokens)
    served = snapshot.cards[prepared.candidate.model]
    ratio = Decimal(str(option.card.token_ratio)) / Decimal(str(served.token_ratio))
    norm = norm_of(memory.norms, prepared)
    reasoned = usage.reasoning_tokens
    if norm.reasoning_tokens is not None and (ex.arm == "holdout" or not _as_asked(parties)):
        reasoned = norm.reasoning_tokens
    original = Original(
        prompt_tokens=prompt,
        completion_tokens=usage.completion_tokens - usage.reasoning_tokens,
        cache=split,
        token_ratio=ratio,
        reasoning_tokens=reasoned,
        retry_rate=norm.retry_rate,
        tool_calls=usage.tool_calls,
    )
    return tokenmaxxed(original, asked, option.card.window)


def _as_asked(parties: Parties) -> bool:
    prepared = parties.prepared
    whole = prepared.fitted is None or prepared.fitted.way is Way.WHOLE
    return whole and prepared.candidate.model == prepared.plan.baseline_model


def _scaled(split: CacheSplit | None, ours: int, theirs: int) -> CacheSplit | None:
    """A split of our count as one of theirs: the difference is new text."""
    if split is None or ours == theirs:
        return split
    fresh = split.fresh + theirs - ours
    if fresh < 0:
        return None
    return CacheSplit(split.read, split.written, fresh, split.write)

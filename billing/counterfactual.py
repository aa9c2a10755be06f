"""Tokenmaxxed: what a request would have cost as received, whole, to the model it asked for.

Same account, same price book, same instant; its cliffs, its tokenizer's count, its shadow
cache. A prompt beyond that model's window is infeasible: left out of savings and counted
on its own. Nothing is floored at zero, so savings may be negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields, replace
from decimal import Decimal
from operator import attrgetter

from billing.errors import PriceMissing
from billing.money import half_even
from billing.prices import Price
from billing.record import record
from billing.shadow_cache import CacheSplit
from billing.usage import Usage

_LEAVES = tuple(one.name for one in fields(Usage) if one.name.endswith("_tokens"))
_leaves = attrgetter(*_LEAVES)


@record(frozen=True, slots=True)
class Original:
    """The request as received, in tokens of the model it asked for.

    ``cache`` is what the shadow cache says, None for none. ``completion_tokens`` (without
    reasoning) are the accepted answer's, counted by the model that served it;
    ``token_ratio`` turns those into the asked-for model's tokens. ``reasoning_tokens`` is
    that model's mean for the class, already in its own tokens. ``retry_rate`` is that
    model's on untouched traffic.
    """

    prompt_tokens: int
    completion_tokens: int
    cache: CacheSplit | None = None
    token_ratio: Decimal = Decimal(1)
    reasoning_tokens: int = 0
    retry_rate: Decimal = Decimal(0)
    tool_calls: Mapping[str, int] = field(default_factory=dict)


@record(frozen=True, slots=True)
class Tokenmaxxed:
    """The counterfactual: ``cost_nano`` None where it is infeasible or unpriced.

    ``why`` is "", ``window`` (does not fit) or ``unpriced``. The cost is that of ``usage``
    times 1 + ``retry_rate``, rounded once more: ``record`` keeps both, so that whoever has the
    price book can work it out again.
    """

    cost_nano: int | None
    usage: Usage
    why: str = ""
    retry_rate: Decimal = Decimal(0)

    def record(self) -> dict[str, object]:
        """The usage without its zeros, and the retry rate as text where there is one."""
        values = zip(_LEAVES, _leaves(self.usage), strict=True)
        found: dict[str, object] = {name: value for name, value in values if value}
        if self.usage.tool_calls:
            found["tool_calls"] = dict(self.usage.tool_calls)
        if self.retry_rate:
            found["retry_rate"] = str(self.retry_rate)
        return found


def usage_of(original: Original) -> Usage:
    """What the provider would have metered."""
    output = scaled(original.completion_tokens, original.token_ratio)
    split = original.cache or CacheSplit(0, 0, original.prompt_tokens)
    if split.read + split.written + split.fresh != original.prompt_tokens:
        raise ValueError("the shadow cache's split is not of this prompt")
    usage = Usage(
        input_tokens=split.fresh,
        cache_read_tokens=split.read,
        output_tokens=output,
        reasoning_tokens=original.reasoning_tokens,
        tool_calls=original.tool_calls,
        source="estimated",
    )
    if split.write is None:
        return usage
    match split.write:
        case "cache_write_5m":
            return replace(usage, cache_write_5m_tokens=split.written)
        case "cache_write_30m":
            return replace(usage, cache_write_30m_tokens=split.written)
        case "cache_write_1h":
            return replace(usage, cache_write_1h_tokens=split.written)
        case "cache_write_12h":
            return replace(usage, cache_write_12h_tokens=split.written)


def tokenmaxxed(original: Original, price: Price, window: int | None) -> Tokenmaxxed:
    """What the request would have cost, nano-USD.

    Args:
        price: of the asked-for model at the request's own instant and tier.
        window: that model's context window in tokens, None where it is not known.
    """
    usage = usage_of(original)
    if window is not None and original.prompt_tokens > window:
        return Tokenmaxxed(None, usage, "window")
    try:
        cost = price.cost(usage)
    except PriceMissing:
        return Tokenmaxxed(None, usage, "unpriced")
    return Tokenmaxxed(scaled(cost, 1 + original.retry_rate), usage, retry_rate=original.retry_rate)


def scaled(count: int, ratio: Decimal) -> int:
    """A count times a ratio, half to even."""
    numerator, denominator = ratio.as_integer_ratio()
    return half_even(count * numerator, denominator)

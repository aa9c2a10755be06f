"""What saved what: tokenmaxxed less paid, split by cause so that the parts add up exactly.

One request is priced step by step, changing one thing at a time in a fixed order:

    whole     the prompt as received, at the model asked for, no cache
    sent      the prompt as sent, at the model asked for, no cache       whole - sent    = trim
    served    the same at the model that served it, no cache             sent - served   = model
    answer    what the accepted attempt was billed, its cache included   see ``cache``
    paid      all attempts and all calls of the gateway itself

Provider-native caching stands on both sides and is never claimed: ``cache`` is our discount
(served - answer) less the one the untouched request would have had (whole - cached), negative
where a rewrite threw a warm prefix away. ``retries`` is what failed attempts cost, less what
the asked-for model's own retries would have. Every part may be negative; their sum is the
saving to the nano, whatever the prices were. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from billing.prices import Price
from billing.record import record
from billing.usage import Usage

CAUSES = ("trim", "model", "cache", "retries", "gateway")


@record(frozen=True, slots=True)
class Steps:
    """One request's prices on the way from tokenmaxxed to paid, nano-USD.

    ``cached_nano`` is tokenmaxxed without its retries; ``whole_nano`` that without its cache.
    ``paid_nano`` includes ``gateway_nano``, the gateway's own calls.
    """

    tokenmaxxed_nano: int
    cached_nano: int
    whole_nano: int
    sent_nano: int
    served_nano: int
    answer_nano: int
    paid_nano: int
    gateway_nano: int


@record(frozen=True, slots=True)
class Split:
    """What each cause saved, nano-USD; negative where it cost. The sum is the whole saving."""

    trim_nano: int = 0
    model_nano: int = 0
    cache_nano: int = 0
    retries_nano: int = 0
    gateway_nano: int = 0

    @property
    def saved_nano(self) -> int:
        """All parts together: tokenmaxxed less paid."""
        return sum(amount for _, amount in self.parts())

    def parts(self) -> Iterator[tuple[str, int]]:
        """(cause, nano-USD) in the fixed order."""
        for cause in CAUSES:
            yield cause, getattr(self, f"{cause}_nano")

    def __add__(self, other: Split) -> Split:
        return Split(*(a + b for (_, a), (_, b) in zip(self.parts(), other.parts(), strict=True)))


def split(steps: Steps) -> Split:
    """The saving of one request by cause; ``saved_nano`` is tokenmaxxed less paid."""
    own = steps.paid_nano - steps.gateway_nano
    return Split(
        trim_nano=steps.whole_nano - steps.sent_nano,
        model_nano=steps.sent_nano - steps.served_nano,
        cache_nano=(steps.served_nano - steps.answer_nano) - (steps.whole_nano - steps.cached_nano),
        retries_nano=(steps.tokenmaxxed_nano - steps.cached_nano) - (own - steps.answer_nano),
        gateway_nano=-steps.gateway_nano,
    )


def failed(paid_nano: int, gateway_nano: int) -> Split:
    """A request without an answer: tokenmaxxed is nothing, all that it cost is a retry's."""
    return split(Steps(0, 0, 0, 0, 0, 0, paid_nano, gateway_nano))


def uncached(usage: Usage) -> Usage:
    """The same tokens, as if no cache had been read or written."""
    if not usage.cache_read_tokens and not usage.cache_write_tokens:
        return usage
    fresh = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    return replace(
        usage,
        input_tokens=fresh,
        cache_read_tokens=0,
        cache_write_5m_tokens=0,
        cache_write_30m_tokens=0,
        cache_write_1h_tokens=0,
        cache_write_12h_tokens=0,
    )


@record(frozen=True, slots=True)
class Journey:
    """One answered request, as received and as served.

    ``original`` is the tokenmaxxed usage, ``tokenmaxxed_nano`` its cost at ``asked`` with
    retries; ``sent_tokens`` the prompt as sent in the asked-for model's tokens (None: whole).
    ``answer`` is what the serving model metered, ``answer_nano`` what that was billed;
    ``served`` None where that has no price.
    """

    original: Usage
    asked: Price
    tokenmaxxed_nano: int
    sent_tokens: int | None
    answer: Usage
    served: Price | None
    answer_nano: int
    paid_nano: int
    gateway_nano: int


def steps_of(journey: Journey) -> Steps:
    """The prices between tokenmaxxed and paid.

    Raises:
        PriceMissing: a component without a rate at either model.
    """
    asked, original = journey.asked, journey.original
    cached = asked.cost(original)
    plain = uncached(original)
    whole = cached if plain is original else asked.cost(plain)
    sent = whole
    if journey.sent_tokens is not None and journey.sent_tokens != plain.input_tokens:
        sent = asked.cost(replace(plain, input_tokens=journey.sent_tokens))
    served = journey.answer_nano
    if journey.served is not None:
        served = journey.served.cost(uncached(journey.answer))
    return Steps(
        tokenmaxxed_nano=journey.tokenmaxxed_nano,
        cached_nano=cached,
        whole_nano=whole,
        sent_nano=sent,
        served_nano=served,
        answer_nano=journey.answer_nano,
        paid_nano=journey.paid_nano,
        gateway_nano=journey.gateway_nano,
    )

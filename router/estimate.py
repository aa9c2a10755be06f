"""What a candidate will probably cost and how long it will take, before it is sent.

Money is integer nano-USD and comes from ``billing.prices`` alone. The provider's cache is
priced in: tokens of a prefix that is warm there cost the cache-read rate, and a rewritten
prompt has no warm prefix left. Times are rough by design: they never decide.
"""

from __future__ import annotations

from math import ceil

from billing.prices import Price
from billing.record import record
from compressor.recipe import Way
from router.need import Need, NeedKind
from router.plan import RequestFacts, Tier

# Expected completion tokens by kind of reading where the caller's own mean is not known.
OUTPUT_BY_NEED = {
    NeedKind.LOOKUP: 250,
    NeedKind.SYNTHESIS: 600,
    NeedKind.CHAT: 350,
    NeedKind.UNKNOWN: 400,
}
REASONING_TOKENS = {"none": 0, "minimal": 100, "low": 300, "medium": 1_000, "high": 3_000}
CACHED_FROM = 1_024  # no provider charges for writing less
PROMPT_MS_PER_1K = 10  # 8-12 ms a 1K prompt tokens (docs/concepts/routing.md)
FIRST_TOKEN_MS = 300
OUTPUT_MS = {Tier.SMALL: 6.0, Tier.MID: 12.0, Tier.LONG: 14.0}  # a completion token
TRIM_MS_PER_1K = 1.0
COMPRESS_MS_PER_1K = 4.0


@record(frozen=True, slots=True)
class Expected:
    """The expected use of one attempt, in tokens of the candidate's own tokenizer.

    ``write`` is the component that new tokens are billed as where a provider charges for
    writing its cache, None where they are plain input.
    """

    prompt_tokens: int
    warm_tokens: int
    output_tokens: int
    choices: int = 1
    write: str | None = None


def expected_cost(price: Price, expected: Expected) -> int:
    """Nano-USD of an attempt: warm tokens at the cache-read rate, the rest as fresh input,
    or as written to the cache.

    Raises:
        PriceMissing: the price has no input or no output rate.
    """
    tokens, warm = expected.prompt_tokens, expected.warm_tokens
    warm = 0 if warm <= 0 else min(warm, tokens)
    output = expected.output_tokens * expected.choices
    if expected.write is not None and tokens >= CACHED_FROM:
        quantities = [
            (expected.write, tokens - warm),
            ("cache_read", warm),
            ("output", output),
            ("request", int("request" in price.rates)),
        ]
        return price.cost_of(quantities, tokens)
    whole = price.estimate(tokens, 0, output)
    if warm == 0:
        return whole
    return min(price.estimate(tokens, warm, output), whole)


def over_conversation(now_nano: int, later_nano: int, turns_left: float) -> int:
    """Nano-USD of this request and of the later ones that are expected, alike but warm."""
    return now_nano + round(max(0.0, turns_left - 1.0) * later_nano)


def expected_output(facts: RequestFacts, need: Need, document_tokens: int) -> int:
    """Completion tokens to expect of one choice, within what the client allows.

    A transform writes about as much as it reads. Reasoning effort adds its own.
    """
    if need.kind is NeedKind.TRANSFORM:
        tokens = max(400, document_tokens)
    else:
        tokens = OUTPUT_BY_NEED[need.kind]
    tokens += REASONING_TOKENS.get(facts.reasoning_effort or "none", 1_000)
    if facts.max_output_tokens is not None:
        tokens = min(tokens, facts.max_output_tokens)
    return max(1, tokens)


def expected_ms(tier: Tier, way: Way, original_tokens: int, expected: Expected) -> int:
    """Milliseconds from request to last token, roughly, the fit's own time included."""
    fresh = expected.prompt_tokens - min(expected.warm_tokens, expected.prompt_tokens)
    time = FIRST_TOKEN_MS + PROMPT_MS_PER_1K * fresh / 1000
    time += OUTPUT_MS[tier] * expected.output_tokens
    if way is Way.TRIM:
        time += TRIM_MS_PER_1K * original_tokens / 1000
    elif way is Way.COMPRESS:
        time += COMPRESS_MS_PER_1K * original_tokens / 1000
    return ceil(time)

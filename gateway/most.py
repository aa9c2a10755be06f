"""The most that a prompt of our own count can cost: providers may count more than we do."""

from __future__ import annotations

from billing.price import Price

# By framing tokens where the tokenizer is the model's own, by more where it is an estimate.
EXACT_SLACK, ESTIMATE_SLACK, FIXED_SLACK = 1.02, 1.25, 64


def most(price: Price, prompt_tokens: int, output_tokens: int, *, exact: bool) -> int:
    """The most that a prompt of our count can cost, nano-USD; the provider may count more.

    Raises:
        PriceMissing: no input or output rate.
    """
    slack = EXACT_SLACK if exact else ESTIMATE_SLACK
    counted = int(prompt_tokens * slack) + FIXED_SLACK
    return price.most(counted, output_tokens)

"""What saved what on one exchange: its bill and its baseline, as ``billing.split`` takes them."""

from __future__ import annotations

from billing.counterfactual import Tokenmaxxed
from billing.errors import PriceMissing
from billing.prices import Price
from billing.receipt import GATEWAY, HELD, Line
from billing.record import record
from billing.split import Journey, Split, failed, split, steps_of
from billing.usage import Usage
from gateway.exchange import Exchange, Parties


@record(frozen=True, slots=True)
class Billed:
    """The bill of one exchange: ``attempt`` is the one whose answer was taken.

    ``price`` is what that was charged at, None where it has no price; ``asked`` that of the
    request as asked. ``cost_nano`` is everything, ``gateway_nano`` of it the gateway's own calls.
    """

    usage: Usage
    lines: tuple[Line, ...]
    attempt: str
    price: Price | None
    asked: Price | None
    cost_nano: int
    gateway_nano: int


def causes_of(ex: Exchange, baseline: Tokenmaxxed, billed: Billed) -> Split | None:
    """The saving by cause, adding up to baseline less cost; None without a baseline."""
    if baseline.cost_nano is None:
        return None
    if ex.status != 200:
        return failed(billed.cost_nano, billed.gateway_nano)
    if billed.asked is None:
        return None
    prepared = Parties.of(ex).prepared
    own = [
        line
        for line in billed.lines
        if line.attempt == billed.attempt and not line.component.startswith(GATEWAY)
    ]
    held = any(line.component == HELD for line in own)
    journey = Journey(
        original=baseline.usage,
        asked=billed.asked,
        tokenmaxxed_nano=baseline.cost_nano,
        sent_tokens=prepared.fitted.prompt_tokens if prepared.fitted else None,
        answer=billed.usage,
        served=None if held else billed.price,
        answer_nano=sum(line.amount_nano for line in own),
        paid_nano=billed.cost_nano,
        gateway_nano=billed.gateway_nano,
    )
    try:
        return split(steps_of(journey))
    except PriceMissing:
        return None

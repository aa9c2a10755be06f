"""One request's receipt: an immutable record of what was done and what it cost.

Money is integer nano-USD; ``receipt_json`` has the outward shape (decimal strings).

What holds of every receipt (``check``): each line's amount is its own quantity times its
own rate, rounded once; the providers' lines sum to the cost less the gateway's own cost;
lines of gateway-made calls (component ``gateway:...``), where listed, sum to that; no
count is negative; no component of an attempt stands twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, field
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

import orjson

from billing.errors import ReceiptInvalid
from billing.money import half_even, text_ratio
from billing.plain import MOST, plain, scrub
from billing.record import record

GATEWAY = "gateway:"
"""Prefix of the components of calls that the gateway itself made."""
SHADOW_LINES, JUDGE_LINES = "gateway:shadow:", "gateway:judge:"
"""Prefixes of those of a shadow label: the model asked for, asked again, and the judge."""
HELD = "hold"
"""Component of a charge at the hold, one nano-dollar a unit: what was metered is unknown."""
HELD_RATE = "0.001"
ANSWERED = "cache"
"""The action of a request whose answer was kept from an earlier one: nothing was asked."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PROMPT = frozenset(
    {
        "input",
        "cache_read",
        "cache_write_5m",
        "cache_write_30m",
        "cache_write_1h",
        "cache_write_12h",
        "input_audio",
        "input_image",
    }
)
COMPLETION = frozenset({"output", "reasoning", "output_audio", "output_image"})
_COUNTS = (
    "original_prompt_tokens",
    "sent_prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "effective_tokens",
    "billed_tokens",
    "cost_nano",
    "gateway_cost_nano",
)
_counts = attrgetter(*_COUNTS)


@record(frozen=True, slots=True)
class Line:
    """``quantity`` units of ``component`` at ``rate`` (USD per million units, decimal text)."""

    attempt: str
    component: str
    quantity: int
    rate: str
    amount_nano: int
    price_book: str
    rule: str


@record(frozen=True, slots=True)
class Attempt:
    """One call to a provider; ``outcome`` is ok, error, timeout, cut, cancelled or refused.

    ``state`` says what its lines rest on: settled (the provider's report), estimated (our
    count), provisional (no word came: the most that it can have cost) or void (not billed).
    """

    id: str
    model: str
    upstream: str
    status: int
    outcome: str
    ttft_ms: float | None
    duration_ms: float
    provider_id: str | None = None
    usage: Mapping[str, object] | None = None
    state: str = "settled"


@record(frozen=True, slots=True)
class Receipt:
    """All that finance and an engineer need to know of one request."""

    request_id: str
    at_ms: int
    team: str
    project: str | None
    key: str
    user: str | None
    session: str | None
    task: str | None
    tags: Mapping[str, str]
    requested_model: str
    served_model: str
    tier: str
    upstream: str
    action: str
    arm: str
    reasons: tuple[Mapping[str, object], ...]
    candidates: tuple[Mapping[str, object], ...]
    original_prompt_tokens: int
    sent_prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    effective_tokens: int
    billed_tokens: int
    cost_nano: int
    gateway_cost_nano: int
    baseline_nano: int | None
    baseline_model: str
    waste_nano: int
    usage_source: str
    lines: tuple[Line, ...]
    attempts: tuple[Attempt, ...]
    overhead_ms: float
    status: int
    policy_hash: str
    prices_hash: str
    catalog_hash: str
    state: str = "settled"
    cuts: tuple[Mapping[str, object], ...] = field(default_factory=tuple)
    session_key: str | None = None
    decision: Mapping[str, object] = field(default_factory=dict)
    """What the plan was made from and what it was, for a replay; never texts."""
    saved_trim_nano: int | None = None
    """What each cause saved (``billing.split``); None where tokenmaxxed is not known."""
    saved_model_nano: int | None = None
    saved_cache_nano: int | None = None
    saved_retries_nano: int | None = None

    @property
    def saved_nano(self) -> int | None:
        """Baseline less cost; negative where routing cost more; None without a baseline."""
        return None if self.baseline_nano is None else self.baseline_nano - self.cost_nano

    @property
    def saved_by(self) -> Mapping[str, int] | None:
        """The saving by cause, in order; the parts add up to ``saved_nano``. None if not split."""
        if self.action == ANSWERED and self.saved_nano is not None:
            return {"answers": self.saved_nano}
        if self.saved_trim_nano is None:
            return None
        return {
            "trim": self.saved_trim_nano,
            "model": self.saved_model_nano or 0,
            "cache": self.saved_cache_nano or 0,
            "retries": self.saved_retries_nano or 0,
            "gateway": -self.gateway_cost_nano,
        }


def check(receipt: Receipt) -> None:
    """Nothing of a receipt contradicts itself.

    Raises:
        ReceiptInvalid: naming what does not add up.
    """
    counts = _counts(receipt)
    if min(counts) < 0 or max(counts) > MOST:
        wrong = [name for name, n in zip(_COUNTS, counts, strict=True) if not 0 <= n <= MOST]
        raise ReceiptInvalid(receipt.request_id, f"{wrong[0]} is negative or beyond any bill")
    seen: set[tuple[str, str]] = set()
    own = providers = 0
    has_own = False
    for line in receipt.lines:
        numerator, denominator = text_ratio(line.rate)
        if (
            not 0 <= line.quantity <= MOST
            or half_even(line.quantity * numerator, denominator) != line.amount_nano
        ):
            raise ReceiptInvalid(
                receipt.request_id,
                f"{line.quantity} {line.component} at {line.rate} are not {line.amount_nano} nano",
            )
        if (line.attempt, line.component) in seen:
            raise ReceiptInvalid(receipt.request_id, f"{line.component} stands twice")
        seen.add((line.attempt, line.component))
        if line.component.startswith(GATEWAY):
            own, has_own = own + line.amount_nano, True
        else:
            providers += line.amount_nano
    if providers != receipt.cost_nano - receipt.gateway_cost_nano:
        raise ReceiptInvalid(
            receipt.request_id,
            f"lines sum to {providers} nano, cost less gateway cost is "
            f"{receipt.cost_nano - receipt.gateway_cost_nano}",
        )
    if has_own and own != receipt.gateway_cost_nano:
        raise ReceiptInvalid(
            receipt.request_id,
            f"gateway lines sum to {own} nano, gateway cost is {receipt.gateway_cost_nano}",
        )
    causes = receipt.saved_by
    if causes is not None and sum(causes.values()) != receipt.saved_nano:
        raise ReceiptInvalid(
            receipt.request_id,
            f"causes sum to {sum(causes.values())} nano, saved is {receipt.saved_nano}",
        )


def held_line(attempt: str, amount_nano: int, price_book: str, rule: str) -> Line:
    """A line that charges a hold, since what was metered has no known amount.

    ``rule`` says why: ``orphan``, ``provisional``, or what has no price.
    """
    return Line(attempt, HELD, amount_nano, HELD_RATE, amount_nano, price_book, rule)


def metered(lines: Iterable[Line]) -> tuple[int, int]:
    """Prompt and completion tokens that providers metered, over all attempts."""
    prompt = completion = 0
    for line in lines:
        if line.component in PROMPT:
            prompt += line.quantity
        elif line.component in COMPLETION:
            completion += line.quantity
    return prompt, completion


def to_fields(receipt: Receipt) -> tuple[Receipt, bytes]:
    """A receipt's own fields as JSON, and the receipt as those fields give it back.

    What JSON or a database cannot hold (half a surrogate pair in a client's text, an
    integer of more than 64 bits among the reasons) is replaced, never a reason to fail.
    """
    try:
        return receipt, orjson.dumps(receipt, default=plain)
    except TypeError:
        fields = orjson.dumps(scrub(asdict(receipt)))
        return from_fields(orjson.loads(fields)), fields


def from_fields(row: Mapping[str, Any]) -> Receipt:
    """A receipt from its own fields as JSON has them (the journal's and the ledger's form)."""
    return Receipt(
        **{
            **row,
            "lines": tuple(Line(**line) for line in row["lines"]),
            "attempts": tuple(Attempt(**one) for one in row["attempts"]),
            "reasons": tuple(row["reasons"]),
            "candidates": tuple(row["candidates"]),
            "cuts": tuple(row["cuts"]),
        }
    )


def iso_ms(at_ms: int) -> str:
    """UTC epoch milliseconds as ``2026-11-21T10:00:00.000Z``."""
    moment = _EPOCH + timedelta(milliseconds=at_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ms_of(text: str) -> int:
    """ISO text with an offset as UTC epoch milliseconds. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset: write for example 2026-11-21T10:00:00Z")
    return (moment - _EPOCH) // timedelta(milliseconds=1)

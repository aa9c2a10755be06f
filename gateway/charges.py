"""What each attempt of an exchange is charged: the provider's count, an estimate, or its worst.

Every attempt posts. One that failed before another took over stands on the receipt with lines
and a state of its own:

    settled       the provider reported what it metered
    estimated     our own count of what was sent and received
    provisional   sent, and no word of what became of it: as much as was held for it
    void          nothing can have been billed: never sent, refused, or failed with a status
"""

from __future__ import annotations

from dataclasses import replace

from billing.errors import PriceMissing
from billing.prices import REGION_FIELD, Price
from billing.receipt import Attempt, Line, held_line
from billing.record import record
from billing.usage import Usage, estimated
from gateway.exchange import Charge, Exchange, Parties, Prepared
from gateway.snapshot import Snapshot

# Sent, and no word of what became of it.
_UNKNOWN_END = frozenset({"timeout", "cut", "cancelled"})


@record(frozen=True, slots=True)
class Bill:
    """All that one exchange costs: its attempts in order, and the gateway's ``own`` calls."""

    charges: tuple[Charge, ...]
    own: tuple[Line, ...]
    own_attempts: tuple[Attempt, ...]
    uncertain: bool

    @property
    def last(self) -> Charge:
        """The attempt whose answer was taken, or that failed last."""
        return self.charges[-1]

    @property
    def usage(self) -> Usage:
        """What the last attempt metered."""
        return self.last.usage or Usage(source="none")

    @property
    def lines(self) -> tuple[Line, ...]:
        """Every line."""
        return (*(line for charge in self.charges for line in charge.lines), *self.own)

    @property
    def own_nano(self) -> int:
        """What the gateway's own calls cost."""
        return sum(line.amount_nano for line in self.own)

    @property
    def cost_nano(self) -> int:
        """Everything."""
        return self.own_nano + sum(charge.cost_nano for charge in self.charges)

    @property
    def billed_tokens(self) -> int:
        """Every token that a provider metered, once."""
        return sum(c.usage.billed_tokens for c in self.charges if c.usage is not None)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every call to a provider: the gateway's own first, since they were."""
        return (*self.own_attempts, *(c.attempt for c in self.charges if c.attempt is not None))

    @property
    def source(self) -> str:
        """Whose count the cost rests on: the provider's, or in any part an estimate."""
        states = {
            charge.attempt.state for charge in self.charges if charge.attempt and charge.lines
        }
        if self.uncertain or states & {"estimated", "provisional"}:
            return "estimated"
        return self.usage.source


def bill_of(snapshot: Snapshot, ex: Exchange) -> Bill:
    """The bill of an exchange that is over; the gateway makes no further call for it."""
    charges, own = (*ex.charges, charged(snapshot, ex)), ex.own
    if own is None:
        return Bill(charges, (), (), uncertain=False)
    return Bill(charges, own.ended(), own.attempts, own.uncertain)


def charged(snapshot: Snapshot, ex: Exchange) -> Charge:
    """What the latest attempt is charged, by what its reply and its end say."""
    if not ex.attempts:
        return Charge(None, None, ())
    usage, state = _used(snapshot, ex)
    reply, last = ex.reply, ex.attempts[-1]
    attempt = Attempt(
        last.id,
        last.model,
        last.upstream,
        last.status,
        reply.outcome if last.outcome == "ok" else last.outcome,
        last.ttft_ms,
        last.duration_ms,
        reply.provider_id,
        reply.raw_usage,
        state,
    )
    lines = _lines(snapshot, ex, usage, attempt) if usage is not None else ()
    return Charge(attempt, usage, lines)


def _used(snapshot: Snapshot, ex: Exchange) -> tuple[Usage | None, str]:
    """What the provider metered, or an estimate, and which; None: nothing can be billed."""
    reply, parties = ex.reply, Parties.of(ex)
    if reply.usage is not None and reply.metered:
        return reply.usage, "settled"
    prepared = parties.prepared
    sent = sent_tokens(prepared)
    if reply.text_pieces or reply.completed:
        counter = snapshot.gauge(prepared.candidate.model).counter
        text = b"".join(reply.text_pieces).decode("utf-8", "replace")
        if reply.usage is not None:  # cut before the completion was counted: the prompt was
            counted = replace(reply.usage, output_tokens=counter.count(text), source="estimated")
        else:
            counted = estimated(sent, counter.count(text))
        return counted, "estimated"
    if reply.outcome == "cancelled" or ex.attempts[-1].outcome in _UNKNOWN_END:
        most = prepared.plan.max_output_tokens * parties.request.facts.choices
        return estimated(sent, most), "provisional"
    return None, "void"


def sent_tokens(prepared: Prepared) -> int:
    """Prompt tokens as sent, by the counter of the model asked for."""
    if prepared.fitted is not None:
        return prepared.fitted.prompt_tokens
    return prepared.measurement.prompt_tokens


def served_price(snapshot: Snapshot, ex: Exchange, model: str) -> Price:
    """The price of what was served: its model and service tier as the reply names them.

    Raises:
        PriceMissing: a service tier that the book does not know for this model.
    """
    tier, served = ex.reply.service_tier, ex.reply.response_model
    region = str(geo) if (geo := (ex.reply.raw_usage or {}).get(REGION_FIELD)) else None
    entry = snapshot.settings.models[model]
    if served and served != (entry.model or model) and entry.price is None and not entry.free:
        try:
            found = snapshot.price_of(model, served, ex.at_ms, tier, region)
            if not found.unpriced:
                return found
        except PriceMissing:
            pass  # a name that only the provider knows; what was asked for prices it
    return snapshot.price(model, ex.at_ms, tier, region)


def known_price(snapshot: Snapshot, ex: Exchange, model: str) -> Price | None:
    """As ``served_price``; None where nobody knows it."""
    try:
        return served_price(snapshot, ex, model)
    except PriceMissing:
        return None


def _lines(snapshot: Snapshot, ex: Exchange, usage: Usage, attempt: Attempt) -> tuple[Line, ...]:
    model = Parties.of(ex).prepared.candidate.model
    try:
        return served_price(snapshot, ex, model).lines(usage, attempt.id)
    except PriceMissing as missing:
        # Served in a way that has no price (an unknown tier, say): its hold stands, visibly.
        left = max(0, ex.held_nano - ex.charged_nano)
        return (held_line(attempt.id, left, snapshot.prices.hash, str(missing)),)


def list_rates(snapshot: Snapshot, ex: Exchange, bill: Bill) -> dict[str, dict[str, str]]:
    """The provider's list rates, by attempt and component, where a contract has others."""
    found = {}
    for charge in bill.charges:
        if charge.attempt is None or charge.usage is None:
            continue
        try:
            last = charge is bill.last
            name, at_ms = charge.attempt.model, ex.at_ms
            price = served_price(snapshot, ex, name) if last else snapshot.price(name, at_ms, None)
            rates = price.list_rates(charge.usage)
        except PriceMissing:
            continue  # charged at its hold
        if rates:
            found[charge.attempt.id] = rates
    return found

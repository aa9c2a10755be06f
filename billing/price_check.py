"""Is the price book still right? Findings, from facts given as arguments.

Three questions: does a second source agree (litellm's packaged price map, read as JSON,
never imported), does everything in use have a price, and what changes soon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from billing.errors import PriceMissing
from billing.money import rate_text
from billing.price import Price
from billing.price_match import provider_id
from billing.prices import ACCOUNT, PriceBook

SOON = timedelta(days=30)
TOLERANCE = Decimal("0.005")
"""Shares of a rate within which two sources agree: they round differently."""
_MILLION = Decimal(1_000_000)
_THEIRS = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "input_audio": "input_cost_per_audio_token",
    "output_audio": "output_cost_per_audio_token",
}
_ABOVE = re.compile(r"_above_(\d+)k_tokens$")


@dataclass(frozen=True, slots=True)
class Used:
    """A model in use: its name in the configuration, the account, and the provider's own name."""

    name: str
    account: str
    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to look at (``look``), or only to know."""

    kind: str
    subject: str
    text: str
    look: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """One rate that differs between two books or instants; None: not there."""

    model: str
    component: str
    before: Decimal | None
    after: Decimal | None

    @property
    def percent(self) -> Decimal | None:
        """By how much it rises, percent to one place."""
        if not self.before or self.after is None:
            return None
        return ((self.after / self.before - 1) * 100).quantize(Decimal("0.1"))


def drift(
    listed: PriceBook, used: Iterable[Used], theirs: Mapping[str, Any], at: datetime
) -> Iterator[Finding]:
    """Where list prices differ from the second source, by component and by step.

    Args:
        listed: the book without contracts and own prices.
        theirs: litellm's price map, its numbers as Decimal.
    """
    for one in used:
        entry = _their_entry(theirs, one)
        try:
            price = listed.price(one.provider, one.model, at)
        except PriceMissing:
            continue
        if entry is None:
            text = "litellm's price map does not know it: no second opinion"
            yield Finding("one-source", one.name, text, look=False)
            continue
        for component, size, rate in _their_rates(entry):
            ours = price.rates.get(component)
            if ours is None:
                continue
            mine = ours.at(size)
            if abs(mine - rate) > TOLERANCE * max(mine, rate):
                above = f" above {size - 1:,} tokens" if size > 1 else ""
                text = (
                    f"{component}{above}: {rate_text(mine)} in the book, "
                    f"{rate_text(rate)} in litellm's map"
                )
                yield Finding("drift", one.name, text)


def coverage(
    book: PriceBook,
    used: Iterable[Used],
    seen: Iterable[tuple[str, str]],
    booked: Mapping[str, int],
    at: datetime,
) -> Iterator[Finding]:
    """What is in use without a price, and what was booked without one.

    Args:
        seen: (model, upstream) of the ledger that the configuration no longer declares.
        booked: requests without a price, by why.
    """
    for one in used:
        try:
            price = book.price(one.provider, one.model, at, context={ACCOUNT: one.account})
        except PriceMissing as missing:
            yield Finding("unpriced", one.name, str(missing))
            continue
        if price.unpriced:
            text = "has no price: it is held and booked at the ceiling of `prices.unpriced`"
            yield Finding("unpriced", one.name, text)
    for model, upstream in seen:
        text = f"stands in the ledger (upstream {upstream}) and is no longer declared"
        yield Finding("undeclared", model, text, look=False)
    for why, count in sorted(booked.items()):
        yield Finding("booked", why, f"{count} requests were booked without a known price")


def upcoming(
    book: PriceBook, used: Iterable[Used], at: datetime, within: timedelta = SOON
) -> Iterator[Finding]:
    """List prices that change, and clauses that end, between ``at`` and ``at + within``."""
    today, last = at.date(), (at + within).date()
    for one in used:
        for day in book.changes(one.provider, one.model):
            if today < day <= last:
                later = at.replace(hour=0, minute=0, second=0, microsecond=0)
                later += timedelta(days=(day - at.date()).days)
                moved = ", ".join(_told(c) for c in _between(book, one, at, later))
                yield Finding("changes", one.name, f"on {day}: {moved or 'the list price'}")
    for clause in book.clauses:
        end = clause.span.end
        if end is not None and today < end <= last:
            text = f"ends on {end} ({clause.author})"
            yield Finding("expires", f"{clause.layer} {clause.model}", text)
        elif end is not None and end <= today:
            text = f"ended on {end}: take it out, or renew it"
            yield Finding("expired", f"{clause.layer} {clause.model}", text)


def contract_steps(book: PriceBook, used: Iterable[Used], at: datetime) -> Iterator[Finding]:
    """Named prices over a list price with a step: above it the list's dearer rate holds."""
    for one in used:
        try:
            price = book.price(one.provider, one.model, at, context={ACCOUNT: one.account})
        except PriceMissing:
            continue
        for component, rate in sorted(price.rates.items()):
            named = rate.layer.startswith(("contract:", "override"))
            top = rate.at(1 << 40)
            if named and rate.steps and top != rate.base:
                text = (
                    f"{component}: {rate_text(rate.base)} by {rate.layer}, {rate_text(top)} above "
                    f"{rate.steps[-1].start:,} tokens"
                )
                yield Finding("step", one.name, text, look=False)


def differences(before: Mapping[str, Price], after: Mapping[str, Price]) -> list[Change]:
    """Every rate that differs, by model and component; steps have a line of their own."""
    found: list[Change] = []
    for model in sorted(before.keys() | after.keys()):
        old, new = flat_rates(before.get(model)), flat_rates(after.get(model))
        found += [
            Change(model, name, old.get(name), new.get(name))
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
    return found


def every_price(
    book: PriceBook, models: Sequence[tuple[str, str]], at: datetime
) -> dict[str, Price]:
    """The standard price of every (provider, model) that has one at an instant."""
    found = {}
    for provider, model in models:
        try:
            found[f"{provider}/{model}"] = book.price(provider, model, at)
        except PriceMissing:
            continue
    return found


def _between(book: PriceBook, one: Used, at: datetime, later: datetime) -> list[Change]:
    context = {ACCOUNT: one.account}
    try:
        prices = [book.price(one.provider, one.model, t, context=context) for t in (at, later)]
    except PriceMissing:
        return []
    return differences({one.name: prices[0]}, {one.name: prices[1]})


def _told(change: Change) -> str:
    before = "none" if change.before is None else rate_text(change.before)
    after = "none" if change.after is None else rate_text(change.after)
    return f"{change.component} {before} -> {after}"


def flat_rates(price: Price | None) -> dict[str, Decimal]:
    """USD per million (or per call) by component, a cliff's rate as ``input >272000``."""
    flat: dict[str, Decimal] = {}
    for name, rate in price.rates.items() if price is not None else ():
        flat[name] = rate.base
        for step in rate.steps:
            flat[f"{name} {'>=' if step.inclusive else '>'}{step.start}"] = step.rate
    return flat


def _their_entry(theirs: Mapping[str, Any], one: Used) -> Mapping[str, Any] | None:
    provider = provider_id(one.provider)
    for name in (one.model, f"{one.provider}/{one.model}", f"{_LITELLM.get(provider)}/{one.model}"):
        entry = theirs.get(name)
        if isinstance(entry, Mapping) and "input_cost_per_token" in entry:
            return entry
    return None


_LITELLM = {
    "google": "gemini",
    "x-ai": "xai",
    "together": "together_ai",
    "fireworks": "fireworks_ai",
}


def _their_rates(entry: Mapping[str, Any]) -> Iterator[tuple[str, int, Decimal]]:
    """(component, prompt size it holds at, USD per million) of litellm's entry."""
    for component, key in _THEIRS.items():
        for name, value in entry.items():
            if not isinstance(value, Decimal | int) or isinstance(value, bool):
                continue
            if name == key:
                yield component, 1, value * _MILLION
            elif name.startswith(key) and (above := _ABOVE.fullmatch(name[len(key) :])):
                yield component, int(above[1]) * 1000 + 1, value * _MILLION

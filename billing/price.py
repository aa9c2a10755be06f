"""One model's prices at one instant, and what a usage costs at them.

A component without a price of its own is charged at its parent's, as the base defines it,
only where the parent cannot be cheaper than the truth: cache reads and images at the input
rate, reasoning at the output rate, short cache writes at the model's one write rate (or, of
a provider without a write fee, at the input rate). Long cache writes, audio, generated
images and tool calls are dearer than any parent, so they raise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from decimal import Decimal
from typing import NamedTuple

from billing.errors import PriceMissing
from billing.money import half_even, rate_ratio, rate_text
from billing.plain import MOST
from billing.price_layers import Rate
from billing.receipt import Line
from billing.record import record
from billing.usage import Usage

_PARENTS: Mapping[str, tuple[str, ...]] = {
    "cache_read": ("cache_read", "input"),
    "cache_write_5m": ("cache_write_5m", "cache_write", "input"),
    "cache_write_30m": ("cache_write_30m", "cache_write", "input"),
    "input_image": ("input_image", "input"),
    "reasoning": ("reasoning", "output"),
}
_WRITTEN = ("cache_write", "cache_write_5m", "cache_write_30m")
_LONG_WRITES = frozenset({"cache_write_1h", "cache_write_12h"})
_UNKNOWN = (0, 1, -1)  # not worked out yet
_ZERO = Rate(Decimal(0), (), "free")


class _Charge(NamedTuple):
    """One component at one size: nano-USD a unit as an exact ratio, the rate as text, the rule."""

    ratio: tuple[int, int]
    text: str
    rule: str


@record(frozen=True, slots=True)
class Price:
    """The prices of one model at one instant for one service tier.

    ``rates`` by component; ``book`` the hash of the price book; ``rule`` names the entry.
    ``unpriced``: nobody knows the price, these are the rates of the declared ceiling.
    ``listed``: the provider's own, where a contract or the configuration says otherwise.
    """

    provider: str
    model: str
    rates: Mapping[str, Rate]
    book: str
    rule: str
    free: bool = False
    unpriced: bool = False
    listed: Mapping[str, Rate] = field(default_factory=dict)
    _known: dict[str, tuple[Rate, dict[int, _Charge]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _first: dict[str, tuple[int, int, int]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Ratios below the first step, and the size where that begins: what nearly all of the some
    fifty questions of a request are about."""

    def component(self, name: str) -> Rate:
        """The rate that a component is charged at. Raises PriceMissing."""
        if self.free:
            return _ZERO
        for candidate in _PARENTS.get(name, (name,)):
            if candidate in self.rates:
                return self.rates[candidate]
        if name in _LONG_WRITES and "cache_write" not in self.rates and "input" in self.rates:
            return self.rates["input"]
        raise PriceMissing(self.provider, self.model, name)

    def rate(self, name: str, prompt_tokens: int) -> Decimal:
        """USD per million units of a component in a request of this size. Raises PriceMissing."""
        return self.component(name).at(prompt_tokens)

    def cost(self, usage: Usage) -> int:
        """What a usage costs, nano-USD: the sum of its lines. Raises PriceMissing."""
        return self.cost_of(self._quantities(usage), usage.prompt_tokens)

    def estimate(self, prompt_tokens: int, cached_tokens: int, output_tokens: int) -> int:
        """What so many tokens of text cost, nano-USD, ``cached_tokens`` of the prompt being read
        from a provider's cache. Raises PriceMissing.
        """
        return self.cost_of(
            (
                ("input", prompt_tokens - cached_tokens),
                ("cache_read", cached_tokens),
                ("output", output_tokens),
                ("request", 1 if "request" in self.rates else 0),
            ),
            prompt_tokens,
        )

    def cost_of(self, quantities: Iterable[tuple[str, int]], prompt_tokens: int) -> int:
        """What quantities of components cost in a request of this size. Raises PriceMissing."""
        total, first = 0, self._first
        for name, quantity in quantities:
            if quantity:
                numerator, denominator, below = first.get(name, _UNKNOWN)
                if prompt_tokens >= below:
                    numerator, denominator = self._charge(name, prompt_tokens).ratio
                if denominator == 1:  # whole nano-dollars a unit, as nearly every rate is
                    total += quantity * numerator
                else:
                    total += half_even(quantity * numerator, denominator)
        return total

    def most(self, prompt_tokens: int, output_tokens: int) -> int:
        """The most that so much text can cost, nano-USD, however it is cached.

        A prompt may be written to a cache at more than the input rate, without being asked.
        Raises PriceMissing.
        """
        kinds = [name for name in ("input", *_WRITTEN) if name == "input" or name in self.rates]
        prompt = max(self.cost_of([(name, prompt_tokens)], prompt_tokens) for name in kinds)
        rest = [("output", output_tokens), ("request", int("request" in self.rates))]
        if "reasoning" in self.rates:
            thought = self.cost_of([("reasoning", output_tokens)], prompt_tokens)
            return prompt + max(thought, self.cost_of(rest, prompt_tokens))
        return prompt + self.cost_of(rest, prompt_tokens)

    def lines(self, usage: Usage, attempt: str) -> tuple[Line, ...]:
        """One line a component with a quantity, each rounded once. Raises PriceMissing."""
        prompt = usage.prompt_tokens
        lines = []
        for name, quantity in self._quantities(usage):
            charge = self._charge(name, prompt)
            numerator, denominator = charge.ratio
            cost = half_even(quantity * numerator, denominator)
            lines.append(Line(attempt, name, quantity, charge.text, cost, self.book, charge.rule))
        return tuple(lines)

    def list_rates(self, usage: Usage) -> dict[str, str]:
        """The provider's list rate of each component of a usage whose charged rate is another."""
        if not self.listed:
            return {}
        public, prompt = replace(self, rates=self.listed, listed={}), usage.prompt_tokens
        found = {}
        for name, _ in self._quantities(usage):
            try:
                said = rate_text(public.rate(name, prompt))
            except PriceMissing:
                continue  # only the contract has a price for it
            if said != self._charge(name, prompt).text:
                found[name] = said
        return found

    def _charge(self, name: str, prompt_tokens: int) -> _Charge:
        """How a component is charged at this size; each step of its rate is worked out once."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = (self.component(name), {})
        rate, charges = known
        step = rate.taken(prompt_tokens) if rate.steps else -1
        charge = charges.get(step)
        if charge is None:
            unit = rate.at(prompt_tokens)
            rule = f"{self.rule}#{rate.rule(prompt_tokens)}"
            charge = charges[step] = _Charge(rate_ratio(unit), rate_text(unit), rule)
            if step == -1:
                begins = min((one.start for one in rate.steps), default=MOST)
                self._first[name] = (*charge.ratio, begins)
        return charge

    def _quantities(self, usage: Usage) -> list[tuple[str, int]]:
        found = _buckets(usage)
        if "request" in self.rates:
            found.append(("request", 1))
        return found


def _buckets(usage: Usage) -> list[tuple[str, int]]:
    """Every bucket that holds something, under its component's name."""
    buckets = (
        ("input", usage.input_tokens),
        ("cache_read", usage.cache_read_tokens),
        ("cache_write_5m", usage.cache_write_5m_tokens),
        ("cache_write_30m", usage.cache_write_30m_tokens),
        ("cache_write_1h", usage.cache_write_1h_tokens),
        ("cache_write_12h", usage.cache_write_12h_tokens),
        ("input_audio", usage.input_audio_tokens),
        ("input_image", usage.input_image_tokens),
        ("output", usage.output_tokens),
        ("reasoning", usage.reasoning_tokens),
        ("output_audio", usage.output_audio_tokens),
        ("output_image", usage.output_image_tokens),
    )
    found = [pair for pair in buckets if pair[1]]
    if usage.tool_calls:
        calls = sorted(usage.tool_calls.items())
        found += [(f"tool_call:{name}", count) for name, count in calls if count]
    return found

"""Calls that the gateway itself pays for on behalf of a request: held before, billed after.

A summary by a model behind an endpoint costs money like any other call. Each one is held in
the same windows as the request before it is sent, priced by the same book, and stands on the
request's receipt as an attempt, with the provider's own report, and lines of its own
(``gateway:input``, ...). What is not known of a call is charged as the most that it can have
cost.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from billing.errors import BudgetExhausted, LedgerUnavailable, PriceMissing, Throttled, UsageInvalid
from billing.ledger import Hold, HoldRequest, Ledger
from billing.prices import ACCOUNT, Price
from billing.receipt import GATEWAY, Attempt, Line
from billing.usage import Usage, chat_usage, estimated
from compressor.kit import Ended, Kit
from compressor.summarizer_openai import OpenAISummarizer
from gateway.ids import new_id
from gateway.snapshot import Snapshot

log = logging.getLogger("weir")
_SLACK, _MORE_TOKENS = 1.25, 64
"""By how much a provider may count more than we do."""


@dataclass(slots=True)
class _Call:
    """One call that is under way: where it went, when, and what it may cost."""

    model: str
    upstream: str
    most: Usage
    price: Price
    began: float


class OwnCalls:
    """The calls of one request. Every method may be called by any thread.

    Args:
        wanted: the request's hold, whatever its amount, as it is made by the first call.
    """

    def __init__(self, ledger: Ledger, snapshot: Snapshot, wanted: HoldRequest) -> None:
        self._ledger, self._snapshot = ledger, snapshot
        self._lock = threading.Lock()
        self._open: dict[str, _Call] = {}
        self._lines: list[Line] = []
        self._attempts: list[Attempt] = []
        self._ended = False
        self.wanted = wanted
        self.hold: Hold | None = None
        self.uncertain = False
        self.held_nano = 0

    def before(self, prompt_tokens: int, output_tokens: int) -> str | None:
        """The name of a call that may be made now; None where it may not.

        It may not where nobody knows its price or a budget has no room: then an extract is
        used, which costs nothing.
        """
        section = self._snapshot.settings.fit.summarizer
        spec = self._snapshot.settings.upstreams[section.upstream or ""]
        moment = datetime.fromtimestamp(self.wanted.at_ms / 1000, UTC)
        most = estimated(int(prompt_tokens * _SLACK) + _MORE_TOKENS, output_tokens)
        with self._lock:
            if self._ended:
                return None
            try:
                price = self._snapshot.prices.price(
                    spec.provider, section.model or "", moment, context={ACCOUNT: spec.name}
                )
                self._reserve(price.cost(most))
            except (BudgetExhausted, Throttled, PriceMissing, LedgerUnavailable) as refused:
                log.warning("no summary by %s: %s", section.model, refused)
                return None
            name = new_id(self.wanted.at_ms)
            began = time.perf_counter()
            self._open[name] = _Call(section.model or "", spec.name, most, price, began)
        return name

    def after(self, call: str, ended: Ended) -> None:
        """A call that ``before`` allowed has ended."""
        with self._lock:
            found = self._open.pop(call, None)
            if found is not None:  # else it was charged when the request ended
                self._charge(call, found, ended)

    def ended(self) -> tuple[Line, ...]:
        """No further call is made; the lines of all that were."""
        with self._lock:
            self._ended = True
            for name, call in self._open.items():
                self._charge(name, call, Ended(0, None, billed=True))
            self._open.clear()
            return tuple(self._lines)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The calls that have ended, in that order."""
        with self._lock:
            return tuple(self._attempts)

    @property
    def cost_nano(self) -> int:
        """What the calls that have ended cost."""
        with self._lock:
            return sum(line.amount_nano for line in self._lines)

    def _reserve(self, amount: int) -> None:
        if amount == 0:
            return
        if self.hold is None:
            self.hold = self._ledger.hold(replace(self.wanted, amount_nano=amount))
        else:
            self._ledger.extend(self.hold, amount)
        self.held_nano += amount

    def _charge(self, name: str, call: _Call, ended: Ended) -> None:
        try:
            usage = chat_usage(ended.usage) if ended.usage else None
        except UsageInvalid:
            usage = None
        state = "void" if usage is None else "settled"
        if usage is None and ended.billed:
            usage, state, self.uncertain = call.most, "provisional", True
        if usage is not None:
            lines = call.price.lines(usage, name)
            self._lines += [replace(line, component=GATEWAY + line.component) for line in lines]
        self._attempts.append(
            Attempt(
                id=name,
                model=call.model,
                upstream=call.upstream,
                status=ended.status,
                outcome=_outcome(ended),
                ttft_ms=None,
                duration_ms=(time.perf_counter() - call.began) * 1000,
                provider_id=ended.provider_id,
                usage=ended.usage,
                state=state,
            )
        )


def _outcome(ended: Ended) -> str:
    if ended.status:
        return "ok" if ended.status < 400 else "refused"
    return "cut" if ended.billed else "error"


def metered(kit: Kit, calls: OwnCalls | None) -> Kit:
    """The kit whose summariser asks ``calls`` before it spends; without, it spends nothing."""
    if not isinstance(kit.summarizer, OpenAISummarizer):
        return kit
    return replace(kit, summarizer=kit.summarizer.metered(calls))

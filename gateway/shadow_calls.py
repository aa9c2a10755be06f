"""The calls of one shadow label: held together before the first, each one billed as it ended.

They belong to no team's request: they have a hold, a budget and a receipt of their own, in the
account ``gateway:shadow``, with lines ``gateway:shadow:...`` (the model asked for, asked again)
and ``gateway:judge:...``. What is not known of a call is charged as the most that it can have
cost, and a call that never began is not charged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from billing.errors import PriceMissing
from billing.ledger import Hold, HoldRequest, Ledger
from billing.receipt import Attempt, Line, Receipt
from billing.recovery import orphan
from billing.usage import Usage, estimated
from gateway.errors import BrokenOff, ConnectTimeout, GatewayError, UpstreamFailed, UpstreamTimeout
from gateway.exchange import Reply
from gateway.ids import new_id
from gateway.relay import read_plain
from gateway.snapshot import Snapshot
from gateway.upstream.protocol import Outbound, Upstream
from gateway.wire.registry import WIRES
from gateway.workers_ledger import held

SHADOW_ARM = "shadow"
TOTAL_S = 180.0
_SLACK, _MORE_TOKENS = 1.25, 64  # by how much a provider may count more than we do


class NoAnswer(Exception):
    """A call of a shadow gave no answer that can be judged."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One call: ``prefix`` of its lines, the public model, and the most it may take."""

    prefix: str
    model: str
    wire: str
    body: bytes
    prompt_tokens: int
    output_tokens: int
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def most(self) -> Usage:
        """The most that can be metered."""
        return estimated(int(self.prompt_tokens * _SLACK) + _MORE_TOKENS, self.output_tokens)


@dataclass(slots=True)
class ShadowCalls:
    """The calls of one label; ``wanted`` is their hold, whatever its amount."""

    ledger: Ledger
    snapshot: Snapshot
    upstreams: Mapping[str, Upstream]
    wanted: HoldRequest
    hold: Hold | None = None
    lines: list[Line] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    uncertain: bool = False

    def most_nano(self, model: str, prompt_tokens: int, output_tokens: int) -> int:
        """The most that one call can cost.

        Raises:
            PriceMissing: nobody knows its price.
        """
        price = self.snapshot.price(model, self.wanted.at_ms, None)
        return price.most(int(prompt_tokens * _SLACK) + _MORE_TOKENS, output_tokens)

    async def reserve(self, amount_nano: int) -> None:
        """So much is held.

        Raises:
            BudgetExhausted, Throttled, LedgerUnavailable: nothing is held.
        """
        self.wanted = replace(self.wanted, amount_nano=amount_nano)
        self.hold = await held(self.ledger, self.wanted)

    async def ask(self, ask: Ask) -> Reply:
        """The answer to one call, which is on the bill whatever becomes of it.

        Raises:
            NoAnswer: refused, failed, too late or cut short. CancelledError.
        """
        reply, began = Reply(keep=True), time.perf_counter()
        name, outcome = new_id(self.wanted.at_ms), "error"
        try:
            async with asyncio.timeout(TOTAL_S):
                outcome = await self._sent(ask, reply)
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except (UpstreamTimeout, TimeoutError) as error:
            outcome = "error" if isinstance(error, ConnectTimeout) else "timeout"
            raise NoAnswer(outcome) from None
        except BrokenOff:
            outcome = "cut" if reply.status in {0, 200} else "error"
            raise NoAnswer(outcome) from None
        except GatewayError as error:
            raise NoAnswer(type(error).__name__) from None
        finally:
            self._charge(name, ask, reply, (outcome, (time.perf_counter() - began) * 1000))
        if reply.status != 200 or reply.finish_reason in {"length", "max_tokens", "incomplete"}:
            raise NoAnswer(str(reply.finish_reason or reply.status))
        return reply

    async def _sent(self, ask: Ask, reply: Reply) -> str:
        entry = self.snapshot.settings.models[ask.model]
        upstream, wire = self.upstreams[entry.upstream], WIRES[ask.wire]
        call = Outbound(
            wire=ask.wire,
            path=wire.path,
            body=ask.body,
            stream=False,
            model=entry.model or ask.model,
            headers=ask.headers,
            max_output=ask.output_tokens,
        )
        opened = await upstream.send(call)
        reply.status = opened.status
        try:
            body = await opened.read()
        finally:
            await opened.close()
        if opened.status != 200:
            return "refused"
        try:
            read_plain(reply, body, upstream.name, wire)
        except UpstreamFailed as error:
            raise BrokenOff(str(error)) from None  # it was answered: it may be billed
        return "ok"

    def _charge(self, name: str, ask: Ask, reply: Reply, end: tuple[str, float]) -> None:
        outcome, duration_ms = end
        usage, state = reply.usage, "settled"
        if usage is None:
            unknown = outcome in {"ok", "cut", "timeout", "cancelled"}
            usage, state = (ask.most, "provisional") if unknown else (None, "void")
            self.uncertain |= unknown
        if usage is not None:
            self.lines += [
                replace(line, component=ask.prefix + line.component)
                for line in self._priced(ask.model, reply.service_tier, usage, name)
            ]
        entry = self.snapshot.settings.models[ask.model]
        self.attempts.append(
            Attempt(
                id=name,
                model=ask.model,
                upstream=entry.upstream,
                status=reply.status,
                outcome=outcome,
                ttft_ms=None,
                duration_ms=duration_ms,
                provider_id=reply.provider_id,
                usage=reply.raw_usage,
                state=state,
            )
        )

    def _priced(self, model: str, tier: str | None, usage: Usage, name: str) -> tuple[Line, ...]:
        try:
            return self.snapshot.price(model, self.wanted.at_ms, tier).lines(usage, name)
        except PriceMissing:  # served in a tier without a price: what it was held at
            return self.snapshot.price(model, self.wanted.at_ms, None).lines(usage, name)

    def settle(self, said: Mapping[str, Any], label: Mapping[str, Any]) -> None:
        """The bill is posted, with what came of it (``label``; empty where nothing did)."""
        if self.hold is None:
            return
        if not self.attempts:
            self.ledger.release(self.hold, "nothing was sent")
            return
        self.ledger.settle(self.hold, self._receipt(said, label))

    def _receipt(self, said: Mapping[str, Any], label: Mapping[str, Any]) -> Receipt:
        cost = sum(line.amount_nano for line in self.lines)
        settings = self.snapshot.settings
        usages = [attempt.usage for attempt in self.attempts]
        return replace(
            orphan(self.wanted, 0, self.hold.at_ms if self.hold else self.wanted.at_ms, "shadow"),
            action=SHADOW_ARM,
            reasons=({"code": "shadow", **said},),
            lines=tuple(self.lines),
            attempts=tuple(self.attempts),
            cost_nano=cost,
            gateway_cost_nano=cost,
            baseline_nano=0,
            usage_source="estimated" if self.uncertain else "provider",
            status=200 if any(usages) else 502,
            state="settled",
            decision={"shadow": dict(label)} if label else {},
            policy_hash=settings.hash,
            prices_hash=self.snapshot.prices.hash,
            catalog_hash=self.snapshot.catalog_hash,
        )

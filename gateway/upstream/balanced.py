"""One upstream of several endpoints: the load spread by weight, the sick passed over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.errors import UpstreamFailed, UpstreamTimeout
from gateway.upstream.health import Health, retry_after_s
from gateway.upstream.protocol import Opened, Outbound, Upstream


@dataclass(slots=True)
class Endpoint:
    """One address with one credential, its share of the load, and how it is."""

    upstream: Upstream
    weight: int = 1
    health: Health = field(default_factory=Health)
    credit: int = 0


class BalancedUpstream:
    """Endpoints of one provider and one price; which of them answers is nobody's concern."""

    def __init__(self, name: str, endpoints: Sequence[Endpoint]) -> None:
        self.name = name
        self.endpoints = endpoints

    async def start(self) -> None:
        """Start every endpoint."""
        for endpoint in self.endpoints:
            start = getattr(endpoint.upstream, "start", None)
            if start is not None:
                await start()

    def ready(self, model: str) -> bool:
        """Whether an endpoint is in order for ``model``."""
        now = asyncio.get_running_loop().time()
        return any(endpoint.health.ready(model, now) for endpoint in self.endpoints)

    async def send(self, call: Outbound) -> Opened:
        """See ``Upstream.send``."""
        endpoint, loop = self._pick(call.model), asyncio.get_running_loop()
        health = endpoint.health
        try:
            reply = await endpoint.upstream.send(call)
        except (UpstreamFailed, UpstreamTimeout):
            health.bad(loop.time())
            raise
        status = reply.status
        if status < 400:
            health.good(call.model)
        elif status == 429:
            headers = reply.headers
            wait_s = retry_after_s(headers.get("retry-after"), headers.get("retry-after-ms"))
            health.limited(call.model, loop.time(), wait_s)
        elif status in {401, 403}:
            health.refused(loop.time())
        elif status >= 500 or status == 408:
            health.bad(loop.time())
        return reply

    def _pick(self, model: str) -> Endpoint:
        """The next in turn among those in order; if none is, the one that is back first.

        Smooth weighted round robin: each gains its weight, who is served pays the sum.
        """
        if len(self.endpoints) == 1:
            return self.endpoints[0]
        now = asyncio.get_running_loop().time()
        well = [e for e in self.endpoints if e.health.ready(model, now)]
        if not well:
            return min(self.endpoints, key=lambda e: e.health.back_at(model))
        for endpoint in well:
            endpoint.credit += endpoint.weight
        chosen = max(well, key=lambda e: e.credit)
        chosen.credit -= sum(endpoint.weight for endpoint in well)
        return chosen

    async def close(self) -> None:
        """Close every endpoint."""
        for endpoint in self.endpoints:
            await endpoint.upstream.close()

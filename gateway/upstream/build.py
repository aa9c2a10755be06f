"""The adapter for one upstream of the configuration."""

from __future__ import annotations

from dataclasses import replace

from gateway.settings import UpstreamSpec
from gateway.upstream.address import environment_proxy, suits
from gateway.upstream.balanced import BalancedUpstream, Endpoint
from gateway.upstream.crossed import CrossingUpstream
from gateway.upstream.lean import LeanUpstream
from gateway.upstream.protocol import Upstream
from gateway.upstream.translated import TranslatedUpstream
from gateway.wire.crossings import CROSSINGS


def build_upstream(spec: UpstreamSpec) -> BalancedUpstream:
    """A provider at all its endpoints, asked in its own wires and in those that cross to them.

    An endpoint has its own address, credential, or both; what it does not say is the upstream's.
    """
    found = [
        Endpoint(
            _crossing(
                replace(
                    spec,
                    base_url=each.base_url or spec.base_url,
                    api_key=each.api_key or spec.api_key,
                )
            ),
            each.weight,
        )
        for each in spec.endpoints
    ]
    return BalancedUpstream(spec.name, found or [Endpoint(_crossing(spec))])


def _crossing(spec: UpstreamSpec) -> Upstream:
    return CrossingUpstream(client(spec), CROSSINGS[spec.kind], spec.output_limit_field)


def client(spec: UpstreamSpec) -> Upstream:
    """What talks to one address."""
    if spec.kind == "litellm":
        return TranslatedUpstream(
            spec.name, spec.timeouts, api_key=spec.api_key, base_url=spec.base_url
        )
    base = spec.base_url or ""
    if suits(base) and environment_proxy(base) is None:
        return LeanUpstream(spec.name, base, spec.api_key, spec.timeouts, spec.kind)
    from gateway.upstream.direct import DirectUpstream  # aiohttp: a tenth of a second, 9 MB

    return DirectUpstream(spec.name, base, spec.api_key, spec.timeouts, spec.kind)

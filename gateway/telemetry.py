"""What is told of a request: one log line, and the metrics.

Counters only, each label set made once; a line is written below no level that is off. Never
a key, a prompt or an answer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from billing.receipt import Receipt
from gateway.spans import Spans

log = logging.getLogger("weir")
MOST_UNKNOWN = 100

_LAG_SECONDS = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1),
    *(0.15, 0.2, 0.3, 0.5, 1, 5),
)
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class _Counted(NamedTuple):
    """The counters that a receipt moves."""

    requests: Counter
    prompt: Counter
    completion: Counter
    cost: Counter


class Telemetry:
    """The process's metrics, in a registry of their own; ``spans`` where a collector is named."""

    def __init__(self, spans: Spans | None = None) -> None:
        self.spans = spans
        self.registry = CollectorRegistry()
        labels = ("team", "model", "action", "status")
        self._requests = Counter(
            "weir_requests", "Requests answered", labels, registry=self.registry
        )
        self._tokens = Counter(
            "weir_tokens", "Tokens billed", ("team", "model", "kind"), registry=self.registry
        )
        self._cost = Counter(
            "weir_cost_usd", "Paid to providers, USD", ("team", "model"), registry=self.registry
        )
        self._baseline = Counter(
            "weir_baseline_usd", "Tokenmaxxed cost, USD", ("team",), registry=self.registry
        )
        self._overhead = Histogram(
            "weir_overhead_seconds",
            "Time the gateway added before the upstream call",
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._duration = Histogram(
            "weir_request_seconds", "Whole request", registry=self.registry, buckets=_SECONDS
        )
        self._errors = Counter(
            "weir_errors", "Errors told to clients", ("code",), registry=self.registry
        )
        self._unknown = Counter(
            "weir_usage_unknown_keys",
            "Usage keys that no bucket takes",
            ("key",),
            registry=self.registry,
        )
        self.unpriced = Counter(
            "weir_unpriced_requests",
            "Requests booked at a ceiling or at their hold, since nobody knows the price",
            ("model",),
            registry=self.registry,
        )
        said = "Messages about budgets"
        self.notices = Counter("weir_notices", said, ("channel", "outcome"), registry=self.registry)
        self.bodies = _bodies(self.registry)
        self.gate_off = _gate_off(self.registry)
        self.shadow = _shadow(self.registry)
        self.loop_lag = _loop_lag(self.registry)
        self.inside = Gauge("weir_requests_inside", "Requests in flight", registry=self.registry)
        self._unknown_keys: set[str] = set()
        self._children: dict[tuple[object, ...], object] = {}
        self._settled: dict[tuple[str, str, str, int], _Counted] = {}

    def settled(self, receipt: Receipt, duration_s: float) -> None:
        """Count a receipt and write its one log line."""
        labels = (receipt.team, receipt.served_model, receipt.action, receipt.status)
        counted = self._settled.get(labels) or self._counted(labels)
        counted.requests.inc()
        counted.prompt.inc(receipt.sent_prompt_tokens)
        counted.completion.inc(receipt.completion_tokens)
        counted.cost.inc(receipt.cost_nano / 1e9)
        if receipt.baseline_nano is not None:
            self._counter(self._baseline, (receipt.team,)).inc(receipt.baseline_nano / 1e9)
        self._overhead.observe(receipt.overhead_ms / 1000)
        self._duration.observe(duration_s)
        if log.isEnabledFor(logging.INFO):
            log.info("%s", _line(receipt, duration_s))

    def _counted(self, labels: tuple[str, str, str, int]) -> _Counted:
        """The counters of one set of labels, looked up once."""
        team, model, action, status = labels
        found = self._settled[labels] = _Counted(
            self._counter(self._requests, (team, model, action, str(status))),
            self._counter(self._tokens, (team, model, "prompt")),
            self._counter(self._tokens, (team, model, "completion")),
            self._counter(self._cost, (team, model)),
        )
        return found

    def refused(self, code: str, request_id: str, status: int, param: str | None = None) -> None:
        """Count and log an error that reached the edge; its message may quote the client."""
        self._counter(self._errors, (code,)).inc()
        if log.isEnabledFor(logging.INFO):
            line = {"request_id": request_id, "status": status, "error": code, "param": param}
            log.info("%s", orjson.dumps(line).decode())

    def unknown(self, key: str) -> None:
        """A usage key that no bucket takes; a provider chooses them, so only so many by name."""
        known = key in self._unknown_keys or len(self._unknown_keys) < MOST_UNKNOWN
        name = key[:64] if known else "other"
        self._unknown_keys.add(name)
        self._unknown.labels(name).inc()

    def _counter(self, parent: Counter, labels: tuple[str, ...]) -> Counter:
        key = (id(parent), *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = parent.labels(*labels)
        if not isinstance(child, Counter):
            raise TypeError("not a counter")
        return child

    def page(self, inside: int) -> bytes:
        """The metrics while so many requests are in flight."""
        self.inside.set(inside)
        return self.render()

    def render(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)


def _bodies(registry: CollectorRegistry) -> Counter:
    """How many bodies were kept where the policy says so, and how many could not be."""
    text = "Bodies that the policy keeps: kept, too_large, dropped, failed"
    return Counter("weir_bodies", text, ("outcome",), registry=registry)


def _loop_lag(registry: CollectorRegistry) -> Histogram:
    said = "How late the event loop wakes: what each request waits for besides its own work"
    return Histogram("weir_loop_lag_seconds", said, registry=registry, buckets=_LAG_SECONDS)


def _shadow(registry: CollectorRegistry) -> Counter:
    said = "Shadow labels, and why others were dropped"
    return Counter("weir_shadow", said, ("outcome",), registry=registry)


def _gate_off(registry: CollectorRegistry) -> Counter:
    said = "Times that changing requests was switched off, since it had cost more than it saved"
    return Counter("weir_gate_off", said, ("scope",), registry=registry)


def _line(receipt: Receipt, duration_s: float) -> str:
    line: Mapping[str, object] = {
        "request_id": receipt.request_id,
        "team": receipt.team,
        "key": receipt.key,
        "requested": receipt.requested_model,
        "served": receipt.served_model,
        "action": receipt.action,
        "status": receipt.status,
        "prompt_tokens": [receipt.sent_prompt_tokens, receipt.original_prompt_tokens],
        "completion_tokens": receipt.completion_tokens,
        "cost_nano_usd": receipt.cost_nano,
        "baseline_nano_usd": receipt.baseline_nano,
        "overhead_ms": round(receipt.overhead_ms, 3),
        "duration_ms": round(duration_s * 1000, 1),
    }
    return orjson.dumps(line).decode()


def configure_logging(level: str) -> None:
    """One JSON line a record on stderr."""
    logging.basicConfig(level=level.upper(), format="%(message)s")

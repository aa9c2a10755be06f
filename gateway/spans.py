"""A request's spans, in the names of OpenTelemetry's GenAI conventions: nothing of its text.

On where the environment names a collector in OpenTelemetry's own variables
(``OTEL_EXPORTER_OTLP_ENDPOINT`` or ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``); its others
(``OTEL_SERVICE_NAME``, ``OTEL_TRACES_SAMPLER``, ``OTEL_EXPORTER_OTLP_HEADERS``, ...) hold as
they do everywhere. Spans are made of the receipt, after it is settled, and sent by a thread of
the library's own from a bounded queue: a collector that is away costs spans, never requests.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from billing.money import usd
from billing.receipt import Attempt, Receipt

if TYPE_CHECKING:  # a third of a second to import: only where spans are on
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

Facts = dict[str, str | int | float | list[str]]
log = logging.getLogger("weir")
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
CLOSE_MS = 5_000
_OPERATIONS = {"completions": "text_completion", "embeddings": "embeddings"}
_SERVED = "ok"


@dataclass(frozen=True, slots=True)
class Ended:
    """What of a request the receipt does not say: the wire, how long it took, who traces it."""

    wire: str
    seconds: float
    finish_reason: str | None
    forwarded: Mapping[str, str]


class Spans:
    """One a process; ``told`` is called from the event loop and never waits."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("tokenweir")

    def told(self, receipt: Receipt, ended: Ended) -> None:
        """Tell of a request; whatever happens here, it is served and billed."""
        try:
            self.settled(receipt, ended)
        except Exception as error:  # noqa: BLE001 - a span is worth no request
            log.warning("request %s has no span: %s", receipt.request_id, type(error).__name__)

    def settled(self, receipt: Receipt, ended: Ended) -> None:
        """Tell of a request: a span of it, and one of each call to a provider below it."""
        from opentelemetry.trace import SpanKind, set_span_in_context

        end_ns = time.time_ns()
        operation = _OPERATIONS.get(ended.wire, "chat")
        whole = self._tracer.start_span(
            f"{operation} {receipt.requested_model}",
            context=_parent(ended.forwarded),
            kind=SpanKind.SERVER,
            start_time=end_ns - int(ended.seconds * 1e9),
            attributes=_of_request(receipt, operation),
        )
        inside, at_ns = set_span_in_context(whole), end_ns
        for attempt in reversed(receipt.attempts):
            start_ns = at_ns - int(attempt.duration_ms * 1e6)
            last = attempt is receipt.attempts[-1]
            span = self._tracer.start_span(
                f"{operation} {attempt.model}",
                context=inside,
                kind=SpanKind.CLIENT,
                start_time=start_ns,
                attributes=_of_attempt(attempt, operation)
                | (_answer(receipt, ended) if last else {}),
            )
            _judge(span, attempt.outcome == _SERVED, attempt.outcome)
            span.end(at_ns)
            at_ns = start_ns
        _judge(whole, receipt.status < 500, str(receipt.status))
        whole.end(end_ns)

    def close(self) -> None:
        """What is queued is sent, or given up after five seconds."""
        self._provider.force_flush(CLOSE_MS)
        self._provider.shutdown()


def spans_from(environ: Mapping[str, str]) -> Spans | None:
    """Spans, where the environment names a collector."""
    if not any(environ.get(name) for name in ENDPOINTS):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = {} if environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: "tokenweir"}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Spans(provider)


def _parent(forwarded: Mapping[str, str]) -> Context:
    """The client's own span, where it named one in ``traceparent``."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(dict(forwarded))


def _of_request(receipt: Receipt, operation: str) -> Facts:
    found: Facts = {
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": receipt.requested_model,
        "http.response.status_code": receipt.status,
        "weir.request_id": receipt.request_id,
        "weir.team": receipt.team,
        "weir.action": receipt.action,
        "weir.arm": receipt.arm,
        "weir.served_model": receipt.served_model,
        "weir.prompt_tokens.original": receipt.original_prompt_tokens,
        "weir.prompt_tokens.sent": receipt.sent_prompt_tokens,
        "weir.cost_usd": usd(receipt.cost_nano),
        "weir.overhead_ms": receipt.overhead_ms,
    }
    if receipt.baseline_nano is not None:
        found["weir.baseline_usd"] = usd(receipt.baseline_nano)
    if receipt.session is not None:
        found["gen_ai.conversation.id"] = receipt.session
    return found


def _of_attempt(attempt: Attempt, operation: str) -> Facts:
    found: Facts = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": attempt.upstream,
        "gen_ai.request.model": attempt.model,
        "http.response.status_code": attempt.status,
        "weir.attempt": attempt.id,
    }
    if attempt.provider_id is not None:
        found["gen_ai.response.id"] = attempt.provider_id
    if attempt.ttft_ms is not None:
        found["gen_ai.server.time_to_first_token"] = attempt.ttft_ms / 1000
    return found


def _answer(receipt: Receipt, ended: Ended) -> Facts:
    """What the last call's answer took; on its span alone, so that no sum counts it twice."""
    found: Facts = {
        "gen_ai.response.model": receipt.served_model,
        "gen_ai.usage.input_tokens": receipt.sent_prompt_tokens,
        "gen_ai.usage.output_tokens": receipt.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": receipt.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": receipt.reasoning_tokens,
    }
    if ended.finish_reason is not None:
        found["gen_ai.response.finish_reasons"] = [ended.finish_reason]
    return found


def _judge(span: Span, fine: bool, kind: str) -> None:
    """An error is one by its kind; what it said stays here."""
    from opentelemetry.trace import StatusCode

    if not fine:
        span.set_attribute("error.type", kind)
        span.set_status(StatusCode.ERROR)

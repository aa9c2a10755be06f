"""Spans as a collector gets them: the current GenAI names, the client's trace, no text."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from processes import free_port, house_in

from gateway.spans import spans_from

SAID = "planted-words-of-a-prompt"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass
class Collector:
    """A collector of the OTLP wire that keeps what it is sent."""

    url: str = ""
    raw: list[bytes] = field(default_factory=list)

    def spans(self) -> list[Any]:
        """Every span, in the order sent."""
        return [
            span
            for body in self.raw
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """One on a socket, named in the environment as OpenTelemetry does."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            packed = self.headers.get("content-encoding") == "gzip"
            found.raw.append(gzip.decompress(body) if packed else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
    yield found
    server.shutdown()
    server.server_close()


def values(span: Any) -> dict[str, Any]:
    """A span's attributes in plain values."""
    found = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        if kind == "array_value":
            value = [one.string_value for one in value.values]
        found[pair.key] = value
    return found


def test_a_request_is_a_span_below_its_clients_and_calls_are_below_it(
    collector: Collector, tmp_path: Path
) -> None:
    """Names, usage and cost of one request; the receipt's id leads from one to the other."""
    with house_in(tmp_path) as house, house.client() as client:
        body = {"model": "gpt-6.1-sol", "messages": [{"role": "user", "content": SAID}]}
        answer = client.post(
            "/v1/chat/completions",
            json=body,
            headers={"traceparent": f"00-{TRACE}-{SPAN}-01", "x-weir-session": "s1"},
        )
        assert answer.status_code == 200
        request_id = answer.headers["x-weir-request-id"]
        receipt = client.get(f"/weir/receipts/{request_id}").json()
    whole, call = sorted(
        collector.spans(), key=lambda span: span.parent_span_id != bytes.fromhex(SPAN)
    )
    asked, called = values(whole), values(call)
    assert whole.trace_id.hex() == call.trace_id.hex() == TRACE
    assert call.parent_span_id == whole.span_id
    assert whole.name == "chat gpt-6.1-sol"
    assert asked["weir.request_id"] == request_id
    assert asked["weir.cost_usd"] == receipt["cost_usd"]
    assert asked["gen_ai.conversation.id"] == "s1"
    assert call.name == f"chat {receipt['served_model']}"
    assert called["gen_ai.operation.name"] == "chat"
    assert called["gen_ai.provider.name"] == "openai"
    assert called["gen_ai.usage.input_tokens"] == receipt["tokens"]["sent_prompt"]
    assert called["gen_ai.usage.output_tokens"] == receipt["tokens"]["completion"]
    assert called["gen_ai.response.finish_reasons"] == ["stop"]
    assert "gen_ai.usage.input_tokens" not in asked
    assert whole.start_time_unix_nano <= call.start_time_unix_nano
    assert call.end_time_unix_nano <= whole.end_time_unix_nano
    sent = b"".join(collector.raw)
    assert SAID.encode() not in sent
    assert house.key.secret.encode() not in sent
    assert b"sk-sim" not in sent


def test_a_collector_that_is_away_costs_no_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Requests are served and billed; the gateway still ends with 0."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with house_in(tmp_path) as house:
        with house.client() as client:
            body = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": SAID}]}
            for _ in range(5):
                assert client.post("/v1/chat/completions", json=body).status_code == 200
        assert house.gateway.stop() == 0
        assert house.totals()["requests"] == 5
        assert SAID not in house.gateway.log.read_text()


def test_without_a_collector_there_are_no_spans() -> None:
    """Nothing is imported or sent unless the environment asks for it."""
    assert spans_from({}) is None
    assert spans_from({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}) is None

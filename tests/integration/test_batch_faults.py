"""What a provider does to a batch at its start, and what it costs then."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from processes import Key, Running, gateway, http

MESSAGES = "/v1/messages/batches"
ROWS = {
    "requests": [
        {
            "custom_id": "one",
            "params": {
                "model": "claude-haiku-5-5",
                "max_tokens": 1000,
                "messages": [{"role": "user", "content": "Hello"}],
            },
        }
    ]
}


@dataclass
class Provider:
    """Answers every request with one status and body; ``asked`` counts them."""

    status: int = 200
    body: bytes = b"{}"
    port: int = 0
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """One on a socket."""
    found = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            found.asked.append(self.path)
            self.send_response(found.status)
            self.send_header("content-length", str(len(found.body)))
            self.end_headers()
            self.wfile.write(found.body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def shop(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A gateway before it, and a client with a key."""
    folder, key = tmp_path_factory.mktemp("shop"), Key.new()
    config = f"""
database: sqlite:///{folder}/weir.db
upstreams:
  a: {{ kind: anthropic, base_url: "http://127.0.0.1:{provider.port}", api_key: k, retries: 0 }}
models: {{ claude-haiku-5-5: {{ upstream: a, tier: small }} }}
teams: {{ t: {{ keys: [main], budget: 100 per month }} }}
keys: {{ main: {key.hash} }}
"""
    with (
        gateway(folder, config) as running,
        http(running.url, authorization=f"Bearer {key.secret}") as client,
    ):
        yield Shop(running, client)


@dataclass(frozen=True)
class Shop:
    """The pair."""

    gateway: Running
    client: Any

    def budget(self) -> tuple[Decimal, Decimal]:
        """Spent and held, USD."""
        row = self.client.get("/weir/budgets").json()["data"][0]
        return Decimal(row["spent_usd"]), Decimal(row["held_usd"])


@pytest.mark.parametrize(
    ("status", "body"),
    [(502, b"<html>bad gateway</html>"), (504, b""), (200, b"{}"), (200, b"no json")],
)
def test_a_start_that_may_have_gone_through_is_charged(
    shop: Shop, provider: Provider, status: int, body: bytes
) -> None:
    """Without a name for the batch, or with a proxy's word only, its hold is spent, not freed."""
    provider.status, provider.body = status, body
    before, _ = shop.budget()
    shop.client.post(MESSAGES, json=ROWS)
    spent, held = shop.budget()
    assert spent > before
    assert held == 0


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
def test_a_start_that_was_refused_is_free(shop: Shop, provider: Provider, status: int) -> None:
    """The provider's own refusal releases the hold."""
    provider.status, provider.body = status, b'{"error": {"message": "no"}}'
    before, _ = shop.budget()
    assert shop.client.post(MESSAGES, json=ROWS).status_code >= 400
    assert shop.budget() == (before, Decimal(0))


@pytest.mark.parametrize(
    "twice", ['"model": "claude-haiku-5-5", "model": "dear"', '"x": 1, "x": 2']
)
def test_a_row_with_a_key_twice_reaches_nobody(shop: Shop, provider: Provider, twice: str) -> None:
    """Two readers could take two rows from it."""
    asked = len(provider.asked)
    raw = json.dumps(ROWS).replace('"model": "claude-haiku-5-5"', twice)
    answer = shop.client.post(MESSAGES, content=raw, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "twice" in answer.text
    assert len(provider.asked) == asked

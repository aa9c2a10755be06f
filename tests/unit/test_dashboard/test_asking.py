"""What is asked of the gateway, and what is said when it does not answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from dashboard.asking import CannotAsk, body_of, explain


def test_a_text_becomes_a_request() -> None:
    """Plain text is one user message; a body stays as it is and keeps its own model."""
    plain = json.loads(body_of(" What is {this}? ", "auto"))
    assert plain == {
        "model": "auto", "messages": [{"role": "user", "content": "What is {this}?"}],
    }  # fmt: skip
    assert json.loads(body_of('{"messages": [], "n": 2}', "m")) == {
        "model": "m", "messages": [], "n": 2,
    }  # fmt: skip
    assert json.loads(body_of('{"model": "own"}', "m"))["model"] == "own"


@pytest.mark.parametrize(("text", "words"), [("  ", "Write a prompt"), ("[1]", "JSON list")])
def test_what_is_no_request_is_said_so(text: str, words: str) -> None:
    """Nothing at all, or a list, is an error that says what is wanted."""
    with pytest.raises(CannotAsk, match=words):
        body_of(text, "auto")


class Stranger(BaseHTTPRequestHandler):
    """Answers everything with a page."""

    def do_POST(self) -> None:
        """One page."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Nothing is printed."""


@pytest.fixture
def stranger() -> Iterator[str]:
    """The address of a server that is no gateway."""
    server = HTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_who_answers_wrongly_or_not_at_all_is_named(
    stranger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No gateway named, none there, another server there: each said, and never the key."""
    monkeypatch.delenv("WEIR_GATEWAY", raising=False)
    with pytest.raises(CannotAsk, match="--gateway URL"):
        explain(b"{}", "secret-key")
    monkeypatch.setenv("WEIR_GATEWAY", "http://127.0.0.1:9")
    with pytest.raises(CannotAsk, match="does not answer: ConnectError") as caught:
        explain(b"{}", "secret-key")
    assert "secret-key" not in str(caught.value)
    monkeypatch.setenv("WEIR_GATEWAY", stranger)
    with pytest.raises(CannotAsk, match="is no gateway"):
        explain(b"{}", "secret-key")
    with pytest.raises(CannotAsk, match="does not answer"):
        explain(b"{}", "a\nkey that is no header")

"""A stream that is silent is kept alive by comments, which no reader of events sees."""

from __future__ import annotations

import re
from pathlib import Path

import openai
import pytest
from fakes import FaultServer
from openai import OpenAI
from processes import Key, gateway, http

COMMENT = b": waiting for the provider\n\n"
BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


def config(folder: Path, server: FaultServer, key: Key, every: str) -> str:
    """A provider that falls silent in the middle of its answer."""
    return f"""
database: sqlite:///{folder}/weir.db
server: {{ heartbeat_seconds: {every} }}
upstreams:
  faulty: {{ kind: openai, base_url: "{server.url}/v1", api_key: k, retries: 0,
             timeouts: {{ idle: 1.6 }} }}
models: {{ m: {{ upstream: faulty, model: s-stall, price: {{ input: 1, output: 2 }},
                context_window: 100000 }} }}
routing: {{ mode: observe }}
teams: {{ t: {{ keys: [main], budget: 100 per month }} }}
keys: {{ main: {key.hash} }}
"""


@pytest.mark.slow
def test_a_silent_stream_gets_comments_between_whole_events(tmp_path: Path) -> None:
    """Comments come while the provider is silent; the SDK sees text and then the error."""
    key = Key.new()
    with (
        FaultServer() as server,
        gateway(tmp_path, config(tmp_path, server, key, "0.3")) as running,
    ):
        with http(running.url, authorization=f"Bearer {key.secret}") as client:
            raw = client.post("/v1/chat/completions", json=BODY).content
        sdk = OpenAI(base_url=f"{running.url}/v1", api_key=key.secret, max_retries=0)
        said: list[str] = []
        stream = sdk.chat.completions.create(**BODY)  # type: ignore[call-overload]
        with pytest.raises(openai.APIError, match="incomplete"):
            said.extend(event.choices[0].delta.content or "" for event in stream)
    assert raw.count(COMMENT) >= 2
    events = [event for event in raw.replace(COMMENT, b"").split(b"\n\n") if event]
    assert all(re.match(rb"data: \{.*\}$", event) for event in events)
    assert "".join(said)


@pytest.mark.slow
def test_no_comment_goes_out_where_none_is_wanted(tmp_path: Path) -> None:
    """`heartbeat_seconds: 0` leaves the provider's bytes alone."""
    key = Key.new()
    with (
        FaultServer() as server,
        gateway(tmp_path, config(tmp_path, server, key, "0")) as running,
        http(running.url, authorization=f"Bearer {key.secret}") as client,
    ):
        raw = client.post("/v1/chat/completions", json=BODY).content
    assert b": waiting" not in raw

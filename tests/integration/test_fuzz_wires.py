"""Bodies of every wire, bent at random: never a failure of our own, never a hang."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import House, Key, gateway, simulator

TEXT: list[Any] = [{"type": "text", "text": "hello"}]
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object"}}
FUNCTION = {"name": "f", "parameters": {"type": "object"}}
VALID: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "both",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": TEXT},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "r"},
        ],
        "tools": [{"type": "function", "function": FUNCTION}],
        "response_format": {"type": "text"},
        "max_tokens": 5,
        "n": 1,
        "temperature": 0.5,
    },
    "/v1/messages": {
        "model": "both",
        "max_tokens": 5,
        "system": TEXT,
        "messages": [
            {"role": "user", "content": TEXT},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": TEXT},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                             "data": "AAAA"}}]},
        ],
        "tools": [TOOL],
        "tool_choice": {"type": "auto"},
        "metadata": {"user_id": "u"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    },
    "/v1/responses": {
        "model": "direct",
        "instructions": "i",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "r"},
        ],
        "text": {"format": {"type": "text"}},
        "reasoning": {"effort": "low"},
        "max_output_tokens": 16,
    },
    "/v1/completions": {"model": "direct", "prompt": ["a", "b"], "max_tokens": 4, "n": 1},
    "/v1/embeddings": {"model": "direct", "input": ["a", "b"], "encoding_format": "float"},
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a body."""
    found = [path] if path else []
    if isinstance(value, dict | list):
        children = value.items() if isinstance(value, dict) else enumerate(value)
        for key, child in children:
            found += spots(child, (*path, key))
    return found


@st.composite
def bent(draw: st.DrawFn, route: str) -> bytes:
    """A valid body with one to three places changed, or its bytes cut or overwritten."""
    body = json.loads(json.dumps(VALID[route]))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(spots(body)))
        inner = body
        for step in path[:-1]:
            inner = inner[step]
        if isinstance(inner, dict) and draw(st.booleans()):
            del inner[path[-1]]
        else:
            inner[path[-1]] = draw(JSON)
        if not spots(body):
            break
    raw = json.dumps(body).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 4)) == 0:
        place = draw(st.integers(0, len(raw)))
        raw = raw[:place] + draw(st.binary(max_size=6)) + raw[place + draw(st.integers(0, 6)) :]
    return raw


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, httpx.Client]]:
    """A gateway with a direct and a crossing upstream, and one connection to it."""
    folder, key = tmp_path_factory.mktemp("fuzz"), Key.new()
    with simulator(folder) as provider:
        config = f"""
database: sqlite:///{folder}/weir.db
upstreams:
  direct: {{ kind: openai, base_url: "{provider.url}/v1", retries: 0 }}
  crossed: {{ kind: anthropic, base_url: "{provider.url}", retries: 0 }}
models:
  direct: {{ upstream: direct, tier: small, price: {{ input: 1, output: 2 }} }}
  both: {{ upstream: crossed, tier: mid, price: {{ input: 3, output: 4 }} }}
routing: {{ mode: route, baseline: both }}
limits: {{ max_output: 50 }}
teams: {{ t: {{ keys: [main], budget: 100000 per month }} }}
keys: {{ main: {key.hash} }}
"""
        with gateway(folder, config) as running:
            house = House(provider, running, key, folder)
            with house.client() as client:
                yield house, client


@pytest.mark.parametrize("route", sorted(VALID))
@settings(
    max_examples=200, deadline=10_000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_bent_body_is_never_a_failure_of_ours(
    served: tuple[House, httpx.Client], route: str, data: st.DataObject
) -> None:
    """Whatever a body says, the answer is an answer or a refusal in the wire's own shape."""
    raw = data.draw(bent(route))
    answer = served[1].post(route, content=raw)
    if answer.status_code == 200:
        return
    error = answer.json()["error"]
    assert error["message"]
    assert error.get("code") != "internal_error"
    assert answer.status_code < 500 or error.get("code") in {"upstream_failed", None}, answer.text
    if answer.status_code == 500:
        raise AssertionError(answer.text)


def test_nothing_is_held_and_nothing_failed_inside(served: tuple[House, httpx.Client]) -> None:
    """After all of it every hold is settled and the log has no failure of ours."""
    house, _ = served
    assert house.totals()["open_holds"] == 0
    assert "failed inside" not in house.gateway.log.read_text()

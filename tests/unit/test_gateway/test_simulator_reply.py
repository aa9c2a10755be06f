"""The simulator's Anthropic wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.simulator import SimSettings, create_simulator

LONG = "A rule of the house is that every visitor signs the book. " * 200
TOOL = {
    "name": "book_room",
    "description": "Book a room",
    "input_schema": {
        "type": "object",
        "properties": {"nights": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["nights"],
    },
}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = create_simulator(SimSettings(), lambda: 1_790_000_000.0)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://sim") as made:
        yield made


def body(*texts: str, **more: Any) -> dict[str, Any]:
    turns = [
        {"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(texts)
    ]
    return {"model": "claude-sonnet-5-5", "max_tokens": 200, "messages": turns, **more}


def marked(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]


def total(usage: dict[str, int]) -> int:
    return (
        usage["input_tokens"]
        + usage["cache_creation_input_tokens"]
        + usage["cache_read_input_tokens"]
    )


async def post(client: httpx.AsyncClient, payload: dict[str, Any]) -> Any:
    reply = await client.post("/v1/messages", json=payload)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_a_marked_prefix_is_written_once_and_then_read(client: httpx.AsyncClient) -> None:
    """input_tokens excludes what the cache wrote or read; the three add up to the prompt."""
    first = (await post(client, body("Hello", system=marked(LONG))))["usage"]
    second = (await post(client, body("Hello again", system=marked(LONG))))["usage"]
    counted = await client.post("/v1/messages/count_tokens", json=body("Hello", system=LONG))
    assert first["cache_creation_input_tokens"] > 1024
    assert first["cache_read_input_tokens"] == 0
    assert second["cache_read_input_tokens"] == first["cache_creation_input_tokens"]
    assert second["cache_creation_input_tokens"] == 0
    assert total(first) == counted.json()["input_tokens"]


async def test_a_longer_marked_prefix_reads_the_old_part_and_writes_the_new(
    client: httpx.AsyncClient,
) -> None:
    """A growing conversation pays the write price for its new turns only."""
    turns = [LONG, "Understood.", "And who signs?"]
    opening = body(LONG)
    opening["messages"][0]["content"] = marked(LONG)
    first = (await post(client, opening))["usage"]
    later = body(*turns)
    later["messages"][2]["content"] = marked(turns[2])
    second = (await post(client, later))["usage"]
    assert second["cache_read_input_tokens"] == first["cache_creation_input_tokens"]
    assert 0 < second["cache_creation_input_tokens"] < 60


async def test_nothing_is_cached_without_a_mark(client: httpx.AsyncClient) -> None:
    """Two equal long prompts without cache_control stay plain input."""
    for _ in range(2):
        usage = (await post(client, body(LONG)))["usage"]
        assert usage["cache_creation_input_tokens"] == usage["cache_read_input_tokens"] == 0


async def test_tools_are_used_and_then_talked_about(client: httpx.AsyncClient) -> None:
    """A tool_use block has an input its schema accepts; after the result comes text."""
    reply = await post(client, body("Book a room please", tools=[TOOL]))
    block = reply["content"][0]
    assert (reply["stop_reason"], block["type"]) == ("tool_use", "tool_use")
    assert 1 <= block["input"]["nights"] <= 9
    result = {"type": "tool_result", "tool_use_id": block["id"], "content": "booked"}
    turns = [
        {"role": "user", "content": "Book a room please"},
        {"role": "assistant", "content": [block]},
        {"role": "user", "content": [result]},
    ]
    after = await post(client, {**body("x", tools=[TOOL]), "messages": turns})
    assert after["stop_reason"] == "end_turn"


@pytest.mark.parametrize("tools", [[], [TOOL]])
async def test_a_stream_says_what_the_whole_message_says(
    client: httpx.AsyncClient, tools: list[dict[str, Any]]
) -> None:
    """Events come in Anthropic's order, and their deltas joined are the block."""
    whole = await post(client, body("Tell me of rooms", tools=tools))
    reply = await client.post(
        "/v1/messages", json=body("Tell me of rooms", tools=tools, stream=True)
    )
    seen = [json.loads(part.split("\ndata: ")[1]) for part in reply.text.strip().split("\n\n")]
    kinds = list(dict.fromkeys(event["type"] for event in seen))
    assert kinds == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    deltas = [event["delta"] for event in seen if event["type"] == "content_block_delta"]
    joined = "".join(delta.get("text", delta.get("partial_json", "")) for delta in deltas)
    block = whole["content"][0]
    assert joined == block["text"] if not tools else json.loads(joined) == block["input"]
    assert seen[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


@pytest.mark.parametrize(
    "bad",
    [
        {"model": "m", "messages": [{"role": "user", "content": "x"}]},
        {"model": "m", "max_tokens": 0, "messages": [{"role": "user", "content": "x"}]},
        {"model": "m", "max_tokens": 5, "messages": [{"role": "system", "content": "x"}]},
        {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": 3}]},
    ],
)
async def test_a_bad_request_gets_anthropics_error_shape(
    client: httpx.AsyncClient, bad: dict[str, Any]
) -> None:
    """A refusal is {"type": "error", "error": {type, message}} with status 400."""
    reply = await client.post("/v1/messages", json=bad)
    assert reply.status_code == 400
    assert reply.json()["type"] == "error"
    assert reply.json()["error"]["type"] == "invalid_request_error"

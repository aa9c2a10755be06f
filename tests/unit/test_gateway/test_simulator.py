"""The simulated provider, over ASGI: wires, honest usage, errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from compressor.tokens import TokenCounter, load_counter
from gateway.simulator import SimSettings, Simulator, create_simulator

MODELS = {"gpt-6-luna": 4_000, "gpt-6.1-sol": 1_000_000}
LONG = "The depot in Riga keeps spare parts. " * 300
TOOL = {
    "type": "function",
    "function": {
        "name": "find_order",
        "description": "Look an order up by its number.",
        "parameters": {
            "type": "object",
            "properties": {"order_id": {"type": "string"}, "fast": {"type": "boolean"}},
            "required": ["order_id", "fast"],
            "additionalProperties": False,
        },
    },
}


class Clock:
    """Seconds that move only when told."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        """The time now."""
        return self.now


@pytest.fixture(scope="module")
def counter() -> TokenCounter:
    return load_counter("o200k_base")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def simulator(clock: Clock) -> Simulator:
    return create_simulator(SimSettings(models=MODELS), clock)


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(simulator)
    async with httpx.AsyncClient(transport=transport, base_url="http://sim") as made:
        yield made


async def chat(client: httpx.AsyncClient, text: str = "Name a river.", **more: Any) -> Any:
    body = {"model": "gpt-6.1-sol", "messages": [{"role": "user", "content": text}], **more}
    reply = await client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json() if not more.get("stream") else events(reply.text)


def events(text: str) -> list[Any]:
    """The data of each event of a stream that ends with [DONE]."""
    assert text.endswith("data: [DONE]\n\n")
    return [json.loads(line[6:]) for line in text.split("\n\n")[:-2]]


def of(payload: Any) -> tuple[str, int]:
    """The first choice's text and the completion tokens."""
    return payload["choices"][0]["message"]["content"], payload["usage"]["completion_tokens"]


async def test_the_prompt_is_counted_by_openais_chat_rule(
    client: httpx.AsyncClient, counter: TokenCounter
) -> None:
    """Prompt tokens are the text's own, 3 and the role for framing, and 3 to prime."""
    reply = await chat(client, "Name a river.")
    expected = counter.count("Name a river.") + counter.count("user") + 6
    assert reply["usage"]["prompt_tokens"] == expected


async def test_completion_tokens_are_those_of_the_text_delivered(
    client: httpx.AsyncClient, counter: TokenCounter
) -> None:
    """The reported completion is exactly the tokens of the text."""
    text, tokens = of(await chat(client))
    assert tokens == counter.count(text) > 0


async def test_the_same_request_gets_the_same_answer_and_another_gets_another(
    client: httpx.AsyncClient,
) -> None:
    """Answers follow from the request alone; the seed changes them."""
    first, again = of(await chat(client)), of(await chat(client))
    other = of(await chat(client, seed=7))
    assert first == again
    assert first != other


async def test_a_limit_ends_the_answer_with_length(
    client: httpx.AsyncClient, counter: TokenCounter
) -> None:
    """max_completion_tokens wins over max_tokens, and neither is ever exceeded."""
    for limits in ({"max_tokens": 4}, {"max_completion_tokens": 4, "max_tokens": 90}):
        reply = await chat(client, **limits)
        text, tokens = of(reply)
        assert tokens == counter.count(text) <= 4
        assert reply["choices"][0]["finish_reason"] == "length"


async def test_reasoning_is_inside_the_completion_and_under_the_limit(
    client: httpx.AsyncClient, counter: TokenCounter
) -> None:
    """Reasoning tokens are part of completion tokens, and use up the limit first."""
    reply = await chat(client, reasoning_effort="medium")
    text, tokens = of(reply)
    thought = reply["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert thought >= 220
    assert tokens == thought + counter.count(text)
    cut = await chat(client, reasoning_effort="medium", max_completion_tokens=50)
    assert cut["choices"][0]["message"]["content"] is None
    assert cut["usage"]["completion_tokens"] == 50


async def test_n_gives_different_choices_and_bills_each(
    client: httpx.AsyncClient, counter: TokenCounter
) -> None:
    """Three choices are three texts, and usage is their sum."""
    reply = await chat(client, n=3)
    texts = [choice["message"]["content"] for choice in reply["choices"]]
    assert len(set(texts)) == 3
    assert reply["usage"]["completion_tokens"] == sum(map(counter.count, texts))


async def test_a_stream_says_what_the_whole_reply_says(client: httpx.AsyncClient) -> None:
    """The deltas joined are the text, usage comes once, last and only if asked for."""
    whole = await chat(client, n=2)
    streamed = await chat(client, n=2, stream=True, stream_options={"include_usage": True})
    for index in range(2):
        deltas = [
            choice["delta"].get("content", "")
            for event in streamed
            for choice in event["choices"]
            if choice["index"] == index
        ]
        assert "".join(deltas) == whole["choices"][index]["message"]["content"]
    assert streamed[-1]["choices"] == []
    assert streamed[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert all(event["usage"] is None for event in streamed[:-1])
    silent = await chat(client, stream=True)
    assert not any("usage" in event for event in silent)


async def test_logprobs_cover_the_text(client: httpx.AsyncClient) -> None:
    """The tokens of logprobs joined are the text, whole and streamed."""
    reply = await chat(client, logprobs=True)
    entries = reply["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == of(reply)[0]
    assert bytes(entries[0]["bytes"]).decode() == entries[0]["token"]


async def test_a_tool_is_called_with_arguments_from_the_prompt(client: httpx.AsyncClient) -> None:
    """A user turn with tools ends in a call that the schema accepts; its result in text."""
    asked = "Please look up order W7766123 for me"
    reply = await chat(client, asked, tools=[TOOL])
    call = reply["choices"][0]["message"]["tool_calls"][0]
    assert reply["choices"][0]["finish_reason"] == "tool_calls"
    assert call["function"]["name"] == "find_order"
    assert json.loads(call["function"]["arguments"])["order_id"] == "W7766123"
    turn = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": '{"status": "shipped"}'},
    ]
    after = await chat(client, messages=turn, tools=[TOOL])
    assert after["choices"][0]["finish_reason"] == "stop"


async def test_a_streamed_tool_call_is_the_whole_one(client: httpx.AsyncClient) -> None:
    """The argument deltas of a stream joined are the arguments of the whole reply."""
    whole = await chat(client, "order W1", tools=[TOOL])
    streamed = await chat(client, "order W1", tools=[TOOL], stream=True)
    parts = [
        call["function"]["arguments"]
        for event in streamed
        for choice in event["choices"]
        for call in choice["delta"].get("tool_calls", [])
    ]
    expected = whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert "".join(parts) == expected


async def test_tool_choice_is_obeyed(client: httpx.AsyncClient) -> None:
    """none forbids a call, a named function forces it."""
    silent = await chat(client, tools=[TOOL], tool_choice="none")
    assert "tool_calls" not in silent["choices"][0]["message"]
    forced = {"type": "function", "function": {"name": "find_order"}}
    reply = await chat(client, tools=[TOOL], tool_choice=forced)
    assert reply["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "find_order"


async def test_images_count_by_their_rule_and_not_as_text(client: httpx.AsyncClient) -> None:
    """A 1x1 image costs its tiles, however long its data URL is."""
    gif = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": gif}},
    ]
    plain = await chat(client, messages=[{"role": "user", "content": content[:1]}])
    shown = await chat(client, messages=[{"role": "user", "content": content}])
    assert shown["usage"]["prompt_tokens"] - plain["usage"]["prompt_tokens"] == 255


async def test_a_question_over_a_document_is_answered_from_what_was_sent(
    client: httpx.AsyncClient,
) -> None:
    """The answer quotes the passage, and cannot quote one that was cut away."""
    fact = "The winter password of the lighthouse is cobalt heron."
    question = "\n\nWhat is the winter password of the lighthouse?"
    kept, _ = of(await chat(client, LONG + fact + LONG + question))
    cut, _ = of(await chat(client, LONG + question))
    assert "cobalt heron" in kept
    assert "cobalt heron" not in cut


async def test_a_repeated_prefix_is_cached_in_whole_blocks_until_it_expires(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    """The second long prompt reports cached tokens, a multiple of 128; after 5 min none."""

    async def cached(text: str) -> int:
        reply = await chat(client, text)
        return int(reply["usage"]["prompt_tokens_details"]["cached_tokens"])

    assert await cached(LONG + "First question?") == 0
    clock.now += 299
    warm = await cached(LONG + "Second question?")
    assert warm % 128 == 0
    assert warm >= 2_000
    clock.now += 301
    assert await cached(LONG + "Third question?") == 0


async def test_cached_prefixes_belong_to_one_key_and_one_model(client: httpx.AsyncClient) -> None:
    """Another API key or another model reads nothing of what the first one warmed."""
    body = {"model": "gpt-6.1-sol", "messages": [{"role": "user", "content": LONG}]}
    found = []
    for key, model in (
        ("a", "gpt-6.1-sol"),
        ("b", "gpt-6.1-sol"),
        ("a", "gpt-6-luna"),
        ("a", "gpt-6.1-sol"),
    ):
        reply = await client.post(
            "/v1/chat/completions",
            json={**body, "model": model},
            headers={"authorization": f"Bearer {key}"},
        )
        found.append(reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"] > 0)
    assert found == [False, False, False, True]


async def test_what_was_served_adds_up_by_model(
    client: httpx.AsyncClient, simulator: Simulator
) -> None:
    """GET /sim/served sums the usage of every reply; a refused request is not in it."""
    usages = [(await chat(client, f"Question {i}", model="gpt-6-luna"))["usage"] for i in range(3)]
    await client.post("/v1/chat/completions", json={"model": "gpt-6-luna", "messages": []})
    served = (await client.get("/sim/served")).json()
    tally = served["models"]["gpt-6-luna"]
    assert served["requests"] == tally["requests"] == 3
    assert tally["prompt_tokens"] == sum(usage["prompt_tokens"] for usage in usages)
    assert tally["completion_tokens"] == sum(usage["completion_tokens"] for usage in usages)
    assert served == simulator.served()


async def test_a_client_that_leaves_is_billed_for_what_was_made(clock: Clock) -> None:
    """A stream broken off mid-way is tallied with fewer tokens than the whole."""
    app = create_simulator(SimSettings(models=MODELS, per_token_ms=2.0), clock)
    body = {"model": "gpt-6.1-sol", "messages": [{"role": "user", "content": "Hi"}]}
    raw = json.dumps({**body, "stream": True}).encode()
    incoming: Iterator[dict[str, Any]] = iter([{"type": "http.request", "body": raw}])
    gone = asyncio.Event()
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        for message in incoming:
            return message
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == 5:
            gone.set()

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
    await app(scope, receive, send)
    made = app.tallies["gpt-6.1-sol"].completion_tokens
    assert app.tallies["gpt-6.1-sol"].requests == 1
    assert 0 < made < 10


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, None),
        (b"[]", 400, None),
        (b'{"messages": [{"role": "user", "content": "x"}]}', 400, None),
        (b'{"model": "gpt-6-luna", "messages": []}', 400, "empty_array"),
        (
            b'{"model": "gpt-6-luna", "messages": [{"role": "king", "content": "x"}]}',
            400,
            "invalid_value",
        ),
        (
            b'{"model": "no", "messages": [{"role": "user", "content": "x"}]}',
            404,
            "model_not_found",
        ),
        (
            b'{"model": "gpt-6-luna", "n": "2", "messages": [{"role": "user", "content": "x"}]}',
            400,
            "invalid_type",
        ),
        (
            json.dumps(
                {"model": "gpt-6-luna", "messages": [{"role": "user", "content": LONG * 3}]}
            ).encode(),
            400,
            "context_length_exceeded",
        ),
    ],
)
async def test_a_bad_request_gets_openais_error_shape(
    client: httpx.AsyncClient, body: bytes, status: int, code: str | None
) -> None:
    """Every refusal is an error object with message, type, param and code."""
    reply = await client.post("/v1/chat/completions", content=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}


async def test_a_wrong_key_is_refused_on_both_wires(clock: Clock) -> None:
    """Where one key is set, any other gets 401 in the wire's own shape."""
    app = create_simulator(SimSettings(api_key="sk-right"), clock)
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://sim") as client:
        wrong = await client.post("/v1/chat/completions", json=body)
        other = await client.post("/v1/messages", json=body, headers={"x-api-key": "sk-no"})
        right = await client.post("/v1/messages", json=body, headers={"x-api-key": "sk-right"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "invalid_api_key")
    assert (other.status_code, other.json()["error"]["type"]) == (401, "authentication_error")
    assert right.status_code == 200


async def test_models_are_listed(client: httpx.AsyncClient) -> None:
    """GET /v1/models names the models served."""
    reply = (await client.get("/v1/models")).json()
    assert [entry["id"] for entry in reply["data"]] == sorted(MODELS)


async def test_latency_is_what_was_asked_for(clock: Clock) -> None:
    """A time to first token of 30 ms is waited for before the reply."""
    app = create_simulator(SimSettings(ttft_ms=30.0), clock)
    loop = asyncio.get_running_loop()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://sim") as client:
        start = loop.time()
        await chat(client)
        assert loop.time() - start >= 0.03

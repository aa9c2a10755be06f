"""The official OpenAI SDK against `weir serve`: nothing but `base_url` differs."""

from __future__ import annotations

import asyncio
import base64
import struct
import zlib
from collections.abc import Iterator

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from processes import House
from pydantic import BaseModel

MODEL = "gpt-6.1-sol"
ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Name three rivers."}]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


class Verdict(BaseModel):
    """A structured answer."""

    sentiment: str
    score: int


@pytest.fixture(scope="module")
def client(house: House) -> Iterator[OpenAI]:
    """The SDK as a user would set it up."""
    with OpenAI(
        base_url=house.gateway.url + "/v1", api_key=house.key.secret, max_retries=0
    ) as made:
        yield made


def png(width: int, height: int) -> str:
    """A grey picture as a data URL."""

    def block(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    rows = b"".join(b"\x00" + b"\x80" * width for _ in range(height))
    data = (
        b"\x89PNG\r\n\x1a\n"
        + block(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + block(b"IDAT", zlib.compress(rows))
        + block(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(data).decode()


def test_a_plain_answer_carries_text_usage_and_our_headers(client: OpenAI) -> None:
    """One question gives one answer, its usage, and the headers that say what was done."""
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=ASK)
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    for name in ("request-id", "action", "model", "tier", "reason", "arm", "overhead-ms"):
        assert raw.headers[f"x-weir-{name}"]
    assert raw.headers["x-weir-prompt-tokens"] == f"{answer.usage.prompt_tokens}/" + str(
        answer.usage.prompt_tokens
    )
    assert float(raw.headers["x-weir-cost-usd"]) > 0
    assert float(raw.headers["x-weir-baseline-usd"]) >= float(raw.headers["x-weir-cost-usd"])
    assert raw.headers["x-weir-budget"].startswith("support/month ")


def test_a_stream_gives_the_same_text_as_a_plain_answer(client: OpenAI) -> None:
    """Streamed pieces add up to the plain answer; nobody asked for usage, none is seen."""
    plain = client.chat.completions.create(model=MODEL, messages=ASK, seed=7)
    stream = client.chat.completions.create(model=MODEL, messages=ASK, seed=7, stream=True)
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == (
        plain.choices[0].message.content
    )
    assert all(chunk.choices for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_stream_shows_usage_to_a_client_that_asks(client: OpenAI) -> None:
    """With include_usage the provider's last event reaches the client."""
    stream = client.chat.completions.create(
        model=MODEL, messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    last = list(stream)[-1]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens > 0


async def test_the_async_client_streams_many_answers_at_once(house: House) -> None:
    """Twenty streams at a time come back whole, each with its own text."""
    async with AsyncOpenAI(
        base_url=house.gateway.url + "/v1", api_key=house.key.secret, max_retries=0
    ) as client:

        async def ask(n: int) -> str:
            stream = await client.chat.completions.create(
                model=MODEL,
                messages=[{"role": "user", "content": f"Say something about number {n}."}],
                stream=True,
                seed=n,
            )
            pieces, finish = [], None
            async for chunk in stream:
                pieces.append(chunk.choices[0].delta.content or "")
                finish = chunk.choices[0].finish_reason or finish
            assert finish == "stop"
            return "".join(pieces)

        answers = await asyncio.gather(*(ask(n) for n in range(20)))
        plain = await client.chat.completions.create(model=MODEL, messages=ASK)
    assert all(answers)
    assert len(set(answers)) > 10
    assert plain.choices[0].message.content


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_call_makes_its_round_trip(client: OpenAI, streamed: bool) -> None:
    """A call comes back with arguments, its result is sent, and the answer is text."""
    messages: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": "What is the weather in Paris?"}
    ]
    if streamed:
        with client.chat.completions.stream(
            model=MODEL, messages=messages, tools=[WEATHER]
        ) as stream:
            message = stream.get_final_completion().choices[0].message
    else:
        message = (
            client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
            .choices[0]
            .message
        )
    assert message.tool_calls
    call = message.tool_calls[0]
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert '"city"' in call.function.arguments
    messages.append(
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.function.name, "arguments": call.function.arguments},
                }
            ],
        }
    )
    messages.append({"role": "tool", "tool_call_id": call.id, "content": '{"celsius": 21}'})
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=messages, tools=[WEATHER]
    )
    assert raw.parse().choices[0].message.content
    assert raw.headers["x-weir-model"] == MODEL  # no switch inside a tool loop


def test_a_structured_answer_parses_into_its_model(client: OpenAI) -> None:
    """`chat.completions.parse` gives a pydantic object, its schema untouched on the way."""
    done = client.chat.completions.parse(
        model=MODEL,
        messages=[{"role": "user", "content": "How good was this film? It was fine."}],
        response_format=Verdict,
    )
    assert isinstance(done.choices[0].message.parsed, Verdict)


def test_a_picture_is_counted_by_its_size_not_as_text(client: OpenAI, house: House) -> None:
    """A data URL of a hundred kilobytes costs its tiles, and its bytes arrive untouched."""
    url = png(512, 512)
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is in this picture?"},
                    {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
                ],
            }
        ],
    )
    usage = raw.parse().usage
    assert usage is not None
    assert usage.prompt_tokens < 500
    with house.client() as http:
        receipt = http.get(f"/weir/receipts/{raw.headers['x-weir-request-id']}").json()
    assert receipt["tokens"]["original_prompt"] < 500


def test_two_choices_come_back_and_are_both_paid(client: OpenAI, house: House) -> None:
    """n=2 gives two texts; the receipt's completion tokens are those of both."""
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=ASK, n=2)
    answer = raw.parse()
    assert [choice.index for choice in answer.choices] == [0, 1]
    with house.client() as http:
        receipt = http.get(f"/weir/receipts/{raw.headers['x-weir-request-id']}").json()
    assert answer.usage is not None
    assert receipt["tokens"]["completion"] == answer.usage.completion_tokens


def test_two_streamed_choices_both_finish(client: OpenAI) -> None:
    """n=2 streamed ends after both choices have said how they ended."""
    stream = client.chat.completions.create(model=MODEL, messages=ASK, n=2, stream=True)
    ends = {
        choice.index: choice.finish_reason
        for chunk in stream
        for choice in chunk.choices
        if choice.finish_reason
    }
    assert ends == {0: "stop", 1: "stop"}


def test_log_probabilities_pass(client: OpenAI) -> None:
    """A field the gateway does not use comes back filled by the provider."""
    answer = client.chat.completions.create(
        model=MODEL, messages=ASK, logprobs=True, top_logprobs=2
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content


def test_unknown_fields_pass(client: OpenAI, house: House) -> None:
    """A field nobody knows reaches the provider as it was written."""
    body = {
        "model": MODEL,
        "messages": ASK,
        "x_future": {"deep": [1, 2.50, "drei"]},
        "temperature": 0.30000000000000004,
    }
    answer = client.chat.completions.create(
        model=MODEL, messages=ASK, extra_body={"x_future": body["x_future"]}
    )
    assert answer.choices
    with house.client() as http:
        sent = http.post("/weir/explain", json=body).json()["would_send"]
    assert sent["x_future"] == body["x_future"]
    assert sent["temperature"] == 0.30000000000000004


def test_auto_lets_the_gateway_choose(client: OpenAI) -> None:
    """`model: auto` is answered by a declared model and compared with the baseline."""
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=ASK)
    assert raw.headers["x-weir-model"] in {"gpt-6-luna", "gpt-6.1-sol", "gemini-4-argon"}
    assert raw.parse().choices[0].message.content


def test_models_lists_what_the_key_may_use(client: OpenAI) -> None:
    """GET /v1/models names every declared model and `auto`; one can be asked for by name."""
    assert {model.id for model in client.models.list()} == {
        "auto",
        "gpt-6-luna",
        "gpt-6.1-sol",
        "gemini-4-argon",
    }
    assert client.models.retrieve("gpt-6-luna").id == "gpt-6-luna"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-nowhere")


def test_the_sdk_raises_its_own_classes(client: OpenAI, house: House) -> None:
    """An unknown model, a bad body and a wrong key are the SDK's own exceptions."""
    with pytest.raises(openai.NotFoundError, match="not declared") as missing:
        client.chat.completions.create(model="gpt-nowhere", messages=ASK)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model=MODEL, messages=[])
    assert bad.value.param == "messages"
    stranger = OpenAI(base_url=house.gateway.url + "/v1", api_key="weir-nobody", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError) as refused:
        stranger.chat.completions.create(model=MODEL, messages=ASK)
    assert refused.value.code == "invalid_api_key"


def test_a_refusal_of_the_provider_reaches_the_sdk_as_it_came(client: OpenAI) -> None:
    """A field that the provider refuses gives the provider's own 400 and words."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model=MODEL,
            messages=ASK,
            response_format={"type": "no_such_format"},  # type: ignore[arg-type]  # on purpose
        )
    assert refused.value.param == "response_format.type"
    assert "no_such_format" in str(refused.value)

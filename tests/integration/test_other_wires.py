"""Responses, completions and embeddings through the real app, by OpenAI's SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from processes import House, Key, gateway, get, simulator
from pydantic import BaseModel

SECRET = "sk-responses-secret"
MODEL, SMALL, VECTORS = "gpt-6.1-sol", "gpt-6-luna", "text-embedding-3-small"
ASK = "Name three rivers and say where they end."
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


class Verdict(BaseModel):
    """A structured answer."""

    good: bool
    why: str


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One provider with chat models and an embedding model, behind one gateway."""
    folder = tmp_path_factory.mktemp("responses")
    key = Key.new()
    with simulator(folder, "--api-key", SECRET) as provider:
        config = f"""
database: sqlite:///{folder}/weir.db
upstreams:
  openai: {{ kind: openai, base_url: "{provider.url}/v1", api_key: {SECRET}, provider: openai }}
  other: {{ kind: anthropic, base_url: "{provider.url}", api_key: {SECRET} }}
models:
  gpt-6-luna: {{ upstream: openai, tier: small }}
  gpt-6.1-sol: {{ upstream: openai, tier: mid }}
  text-embedding-3-small: {{ upstream: openai }}
  claude-haiku-5-5: {{ upstream: other, tier: small }}
routing: {{ mode: route, baseline: gpt-6.1-sol }}
limits: {{ max_output: 4000 }}
teams: {{ t: {{ keys: [main], budget: 100 per month }} }}
keys: {{ main: {key.hash} }}
"""
        with gateway(folder, config) as running:
            yield House(provider, running, key, folder)


@pytest.fixture(scope="module")
def client(house: House) -> Iterator[OpenAI]:
    """The SDK in front of it."""
    url = house.gateway.url + "/v1"
    with OpenAI(base_url=url, api_key=house.key.secret, max_retries=0) as made:
        yield made


def receipt(house: House, request_id: str) -> dict[str, Any]:
    """The receipt of a request."""
    with house.client() as http:
        found: dict[str, Any] = http.get(f"/weir/receipts/{request_id}").json()
    return found


def served(house: House) -> tuple[int, int]:
    """Prompt and completion tokens the provider has counted so far."""
    models = get(house.provider.url + "/sim/served").json()["models"].values()
    return (
        sum(model["prompt_tokens"] for model in models),
        sum(model["completion_tokens"] for model in models),
    )


def test_a_response_and_its_bill(client: OpenAI, house: House) -> None:
    """The SDK reads the answer, the receipt has the provider's count."""
    before = served(house)
    raw = client.responses.with_raw_response.create(model=MODEL, input=ASK)
    answer = raw.parse()
    assert answer.output_text
    after = served(house)
    paid = receipt(house, raw.headers["x-weir-request-id"])
    assert paid["tokens"]["sent_prompt"] == after[0] - before[0]
    assert paid["tokens"]["completion"] == after[1] - before[1]
    assert paid["usage_source"] == "provider"
    assert answer.usage is not None
    assert answer.usage.output_tokens == paid["tokens"]["completion"]


def test_a_streamed_response_and_its_bill(client: OpenAI, house: House) -> None:
    """Every event arrives in its order; the usage in the last one is billed."""
    before = served(house)
    with client.responses.stream(model=MODEL, input=ASK) as stream:
        deltas = [e.delta for e in stream if e.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text
    after = served(house)
    with house.client() as http:
        paid = http.get("/weir/receipts?limit=1").json()["data"][0]
    assert paid["tokens"]["sent_prompt"] == after[0] - before[0]
    assert paid["tokens"]["completion"] == after[1] - before[1]


async def test_the_asynchronous_client_streams_too(house: House) -> None:
    """AsyncOpenAI reads the same events."""
    url = house.gateway.url + "/v1"
    async with AsyncOpenAI(base_url=url, api_key=house.key.secret, max_retries=0) as client:
        kinds = [e.type async for e in await client.responses.create(
            model=MODEL, input=ASK, stream=True
        )]  # fmt: skip
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


def test_a_tool_call_makes_its_round_trip(client: OpenAI) -> None:
    """A call comes back as an item, and its output leads to an answer in words."""
    items: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
    first = client.responses.create(model=MODEL, input=items, tools=[WEATHER])
    call = first.output[0]
    assert call.type == "function_call"
    assert call.name == "get_weather"
    items += [
        call.model_dump(),
        {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"},
    ]
    raw = client.responses.with_raw_response.create(model=MODEL, input=items, tools=[WEATHER])
    assert raw.parse().output_text
    assert raw.headers["x-weir-model"] == MODEL


def test_a_structured_response_parses(client: OpenAI) -> None:
    """`responses.parse` gives a pydantic object."""
    done = client.responses.parse(model=MODEL, input="Was it good?", text_format=Verdict)
    assert isinstance(done.output_parsed, Verdict)


def test_an_earlier_response_is_passed_on_and_never_rewritten(client: OpenAI, house: House) -> None:
    """With `previous_response_id` the body goes as it came, to the model it names."""
    first = client.responses.create(model=MODEL, input=ASK)
    raw = client.responses.with_raw_response.create(
        model=MODEL, input="And three lakes?", previous_response_id=first.id
    )
    assert raw.headers["x-weir-model"] == MODEL
    assert raw.headers["x-weir-action"] == "pass"
    body = {"model": MODEL, "input": "x", "previous_response_id": first.id}
    with house.client() as http:
        told = http.post("/weir/explain", json=body).json()
    assert told["would_send"]["previous_response_id"] == first.id


def test_a_simple_response_is_routed_within_its_provider(client: OpenAI) -> None:
    """Routing works on this wire, and never leaves the provider that keeps the response."""
    raw = client.responses.with_raw_response.create(model="auto", input="What is 2 + 2?")
    assert raw.headers["x-weir-model"] in {MODEL, SMALL}


def test_background_is_refused_in_plain_words(client: OpenAI) -> None:
    """What could not be billed is not begun."""
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.create(model=MODEL, input=ASK, background=True)


def test_an_upstream_without_this_wire_is_named(client: OpenAI) -> None:
    """A model on another wire is a 400 that says so."""
    with pytest.raises(openai.BadRequestError, match="responses wire"):
        client.responses.create(model="claude-haiku-5-5", input=ASK)


def test_embeddings_and_their_bill(client: OpenAI, house: House) -> None:
    """Vectors come back in order; only the input is billed."""
    before = served(house)
    raw = client.embeddings.with_raw_response.create(model=VECTORS, input=["one", "two", "one"])
    rows = raw.parse().data
    assert rows[0].embedding == rows[2].embedding != rows[1].embedding
    paid = receipt(house, raw.headers["x-weir-request-id"])
    assert paid["tokens"]["sent_prompt"] == served(house)[0] - before[0]
    assert paid["tokens"]["completion"] == 0
    assert [line["component"] for line in paid["lines"]] == ["input"]
    assert float(paid["cost_usd"]) > 0


def test_embeddings_need_a_model_by_name(client: OpenAI) -> None:
    """`auto` chooses among chat models; there is nothing to choose here."""
    with pytest.raises(openai.BadRequestError, match="by name"):
        client.embeddings.create(model="auto", input="x")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_completions_and_their_bill(client: OpenAI, house: House, streamed: bool) -> None:
    """The former wire answers, whole and streamed, and is metered."""
    before = served(house)
    if streamed:
        chunks = client.completions.create(model=SMALL, prompt=ASK, max_tokens=60, n=2, stream=True)
        text = "".join(c.choices[0].text for c in chunks if c.choices)
    else:
        text = client.completions.create(model=SMALL, prompt=ASK, max_tokens=60).choices[0].text
    assert text
    with house.client() as http:
        paid = http.get("/weir/receipts?limit=1").json()["data"][0]
    after = served(house)
    assert paid["tokens"]["sent_prompt"] == after[0] - before[0]
    assert paid["tokens"]["completion"] == after[1] - before[1]
    assert paid["usage_source"] == "provider"


def test_what_was_billed_is_what_the_provider_counted(house: House) -> None:
    """After all of it ledger and provider agree, nothing is held, nothing has leaked."""
    totals, provider = house.totals(), served(house)
    assert (totals["prompt_tokens"], totals["completion_tokens"]) == provider
    assert totals["open_holds"] == 0
    log = house.gateway.log.read_text()
    for secret in (SECRET, house.key.secret, "Paris", "Traceback"):
        assert secret not in log

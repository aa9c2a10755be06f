"""Upstreams that litellm translates: another provider's wire behind the same front door."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from processes import House, Key, gateway, get, simulator

pytestmark = pytest.mark.slow

SECRET = "sk-litellm-secret"
MODELS = ("through-openai", "claude-haiku-5-5", "through-anthropic")
TOOL: Any = {
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


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One gateway that imports litellm, once."""
    folder = tmp_path_factory.mktemp("litellm")
    key = Key.new()
    config = f"""
database: sqlite:///{folder}/weir.db
upstreams:
  any: {{ kind: litellm, base_url: "%(url)s/v1", api_key: {SECRET} }}
  anthropic: {{ kind: anthropic, base_url: "%(url)s", api_key: {SECRET} }}
  any-anthropic: {{ kind: litellm, base_url: "%(url)s", api_key: {SECRET} }}
  wrong: {{ kind: litellm, base_url: "%(url)s/v1", api_key: sk-wrong-secret }}
  wrong-a: {{ kind: anthropic, base_url: "%(url)s", api_key: sk-wrong-secret }}
models:
  wrong-openai: {{ upstream: wrong, model: openai/gpt-x, price: {{ input: 1, output: 2 }} }}
  wrong-anthropic: {{ upstream: wrong-a, model: claude-x, price: {{ input: 1, output: 2 }} }}
  through-openai: {{ upstream: any, model: openai/gpt-anything, tier: mid,
                     price: {{ input: 1, output: 2 }} }}
  claude-haiku-5-5: {{ upstream: anthropic, tier: mid }}
  through-anthropic: {{ upstream: any-anthropic, model: anthropic/claude-anything, tier: mid,
                        price: {{ input: 1, output: 2 }} }}
routing: {{ mode: observe }}
limits: {{ max_output: 500 }}
teams: {{ t: {{ keys: [main], budget: 100 per month }} }}
keys: {{ main: {key.hash} }}
"""
    with (
        simulator(folder, "--api-key", SECRET) as provider,
        gateway(folder, config % {"url": provider.url}) as running,
    ):
        yield House(provider, running, key, folder)


@pytest.fixture(scope="module")
def client(house: House) -> Iterator[OpenAI]:
    """The SDK in front of it."""
    with OpenAI(
        base_url=house.gateway.url + "/v1", api_key=house.key.secret, max_retries=0
    ) as made:
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


@pytest.mark.parametrize("model", MODELS)
def test_a_plain_answer_and_its_bill(client: OpenAI, house: House, model: str) -> None:
    """The answer has OpenAI's shape and the receipt the provider's own count."""
    before = served(house)
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": "Name three rivers."}]
    )
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    after = served(house)
    paid = receipt(house, raw.headers["x-weir-request-id"])
    assert paid["tokens"]["sent_prompt"] == after[0] - before[0]
    assert paid["tokens"]["completion"] == after[1] - before[1]
    assert paid["usage_source"] == "provider"
    assert float(paid["cost_usd"]) > 0


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_and_its_bill(client: OpenAI, house: House, model: str) -> None:
    """Pieces arrive as OpenAI chunks, end with a finish, and are billed by hidden usage."""
    before = served(house)
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": "Name three lakes."}], stream=True
    )
    chunks = list(raw.parse())
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    after = served(house)
    paid = receipt(house, raw.headers["x-weir-request-id"])
    assert paid["status"] == 200
    assert paid["usage_source"] == "provider"
    assert paid["tokens"]["sent_prompt"] == after[0] - before[0]
    assert paid["tokens"]["completion"] == after[1] - before[1]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_a_tool_call_survives_the_translation(client: OpenAI, model: str, streamed: bool) -> None:
    """A call and its result make their round trip through the other wire."""
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
    if streamed:
        with client.chat.completions.stream(model=model, messages=messages, tools=[TOOL]) as stream:
            message = stream.get_final_completion().choices[0].message
    else:
        message = (
            client.chat.completions.create(model=model, messages=messages, tools=[TOOL])
            .choices[0]
            .message
        )
    assert message.tool_calls
    call = message.tool_calls[0]
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert '"city"' in call.function.arguments
    messages += [
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.function.name, "arguments": call.function.arguments},
                }
            ],
        },
        {"role": "tool", "tool_call_id": call.id, "content": '{"celsius": 21}'},
    ]
    answer = client.chat.completions.create(model=model, messages=messages, tools=[TOOL])
    assert answer.choices[0].message.content


def test_a_refusal_keeps_its_status(client: OpenAI, house: House) -> None:
    """The provider's 400 stays a 400 in OpenAI's shape, free of charge."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="through-openai",
            messages=[{"role": "user", "content": "x"}],
            tools=[TOOL],
            tool_choice="sometimes",  # type: ignore[call-overload]  # on purpose
        )
    assert refused.value.response.json()["error"]["message"]
    request_id = refused.value.response.headers["x-weir-request-id"]
    assert float(receipt(house, request_id)["cost_usd"]) == 0


@pytest.mark.parametrize("model", ["wrong-openai", "wrong-anthropic"])
def test_a_refused_credential_is_ours_to_mend_and_is_not_shown(
    client: OpenAI, house: House, model: str
) -> None:
    """A key the provider does not take is a 502 that names the setting, never the key."""
    with pytest.raises(openai.InternalServerError) as refused:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])
    assert refused.value.code == "upstream_auth"
    assert "api_key" in str(refused.value)
    assert "sk-wrong-secret" not in refused.value.response.text
    assert "sk-wrong-secret" not in house.gateway.log.read_text()


@pytest.mark.parametrize("model", MODELS)
def test_no_field_of_a_body_chooses_host_or_key(client: OpenAI, house: House, model: str) -> None:
    """litellm's own arguments in a body move nothing: the call goes where the file says."""
    before = served(house)
    answer = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Hello"}],
        extra_body={
            "api_base": "http://127.0.0.1:1/v1",
            "base_url": "http://127.0.0.1:1/v1",
            "api_key": "sk-of-the-caller",
            "mock_response": "made up",
            "custom_llm_provider": "azure",
        },
    )
    assert answer.choices[0].message.content != "made up"
    assert served(house)[0] > before[0]


def test_what_was_billed_is_what_the_provider_counted(house: House) -> None:
    """After all of it the ledger and the provider agree, and nothing is held."""
    totals = house.totals()
    prompt, completion = served(house)
    assert (totals["prompt_tokens"], totals["completion_tokens"]) == (prompt, completion)
    assert totals["open_holds"] == 0
    log = house.gateway.log.read_text()
    for secret in (SECRET, house.key.secret, "Paris", "Traceback"):
        assert secret not in log

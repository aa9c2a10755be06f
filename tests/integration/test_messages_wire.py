"""Anthropic's wire through the real app: its SDK, streams, tools, both kinds of upstream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic
from openai import OpenAI
from processes import House, Key, gateway, get, simulator

SECRET = "sk-anthropic-secret"
DIRECT, CROSSED = "claude-haiku-5-5", "gpt-6-luna"
BOTH = (DIRECT, CROSSED)
ASK: Any = [{"role": "user", "content": "Name three rivers and say where they end."}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One provider that speaks both wires, behind one gateway."""
    folder = tmp_path_factory.mktemp("messages")
    key = Key.new()
    with simulator(folder, "--api-key", SECRET) as provider:
        config = f"""
database: sqlite:///{folder}/weir.db
upstreams:
  anthropic: {{ kind: anthropic, base_url: "{provider.url}", api_key: {SECRET} }}
  openai: {{ kind: openai, base_url: "{provider.url}/v1", api_key: {SECRET}, provider: openai }}
  wrong: {{ kind: anthropic, base_url: "{provider.url}", api_key: sk-wrong-secret }}
models:
  claude-haiku-5-5: {{ upstream: anthropic, tier: mid }}
  gpt-6-luna: {{ upstream: openai, tier: mid }}
  wrong: {{ upstream: wrong, model: claude-haiku-5-5, tier: mid }}
routing: {{ mode: observe }}
limits: {{ max_output: 4000 }}
teams: {{ t: {{ keys: [main], budget: 100 per month }} }}
keys: {{ main: {key.hash} }}
"""
        with gateway(folder, config) as running:
            yield House(provider, running, key, folder)


@pytest.fixture(scope="module")
def client(house: House) -> Iterator[Anthropic]:
    """The SDK in front of it."""
    with Anthropic(base_url=house.gateway.url, api_key=house.key.secret, max_retries=0) as made:
        yield made


def receipt(house: House, request_id: str) -> dict[str, Any]:
    """The receipt of a request."""
    with house.client() as http:
        found: dict[str, Any] = http.get(f"/weir/receipts/{request_id}").json()
    return found


def served(house: House) -> dict[str, int]:
    """What the provider has counted so far."""
    models = get(house.provider.url + "/sim/served").json()["models"].values()
    names = ("prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens")
    return {name: sum(model[name] for model in models) for name in names}


@pytest.mark.parametrize("model", BOTH)
def test_a_plain_answer_and_its_bill(client: Anthropic, house: House, model: str) -> None:
    """The answer has Anthropic's shape; the receipt has the provider's own count."""
    before = served(house)
    raw = client.messages.with_raw_response.create(model=model, max_tokens=300, messages=ASK)
    answer = raw.parse()
    assert answer.type == "message"
    assert answer.content[0].type == "text"
    assert answer.stop_reason == "end_turn"
    after = served(house)
    paid = receipt(house, raw.headers["x-weir-request-id"])
    assert paid["served_model"] == model
    assert paid["usage_source"] == "provider"
    assert paid["tokens"]["sent_prompt"] == after["prompt_tokens"] - before["prompt_tokens"]
    assert paid["tokens"]["completion"] == after["completion_tokens"] - before["completion_tokens"]
    assert answer.usage.output_tokens == paid["tokens"]["completion"]
    assert float(paid["cost_usd"]) > 0


@pytest.mark.parametrize("model", BOTH)
def test_a_stream_and_its_bill(client: Anthropic, house: House, model: str) -> None:
    """The SDK's stream helper reads every event, and the usage at its end is billed."""
    before = served(house)
    with client.messages.stream(model=model, max_tokens=300, messages=ASK) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
        request_id = stream.response.headers["x-weir-request-id"]
    assert message.content[0].type == "text"
    assert message.content[0].text == text
    after = served(house)
    paid = receipt(house, request_id)
    assert paid["status"] == 200
    assert paid["usage_source"] == "provider"
    assert paid["tokens"]["sent_prompt"] == after["prompt_tokens"] - before["prompt_tokens"]
    assert paid["tokens"]["completion"] == after["completion_tokens"] - before["completion_tokens"]
    assert message.usage.output_tokens == paid["tokens"]["completion"]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", BOTH)
def test_a_tool_call_makes_its_round_trip(client: Anthropic, model: str, streamed: bool) -> None:
    """A call comes with its input parsed, and its result leads to an answer in words."""
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
    asked: dict[str, Any] = {"model": model, "max_tokens": 500, "tools": [WEATHER]}
    if streamed:
        with client.messages.stream(**asked, messages=messages) as stream:
            message = stream.get_final_message()
    else:
        message = client.messages.create(**asked, messages=messages)
    assert message.stop_reason == "tool_use"
    call = next(block for block in message.content if block.type == "tool_use")
    assert call.name == "get_weather"
    assert set(call.input) == {"city"}
    messages += [
        {"role": "assistant", "content": [block.model_dump() for block in message.content]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "21 degrees"}],
        },
    ]
    raw = client.messages.with_raw_response.create(**asked, messages=messages)
    assert raw.parse().content[0].type == "text"
    assert raw.headers["x-weir-model"] == model  # no switch inside a tool loop


@pytest.mark.parametrize("model", BOTH)
def test_forty_turns_with_tools_keep_their_prefix_warm(
    client: Anthropic, house: House, model: str
) -> None:
    """An agent's session of forty turns: each call is answered, and what was sent before is cached.

    Both kinds of upstream see the same growing prefix, turn by turn.
    """
    system = [{"type": "text", "text": "You are careful. " * 600}]
    if model == DIRECT:
        system[0]["cache_control"] = {"type": "ephemeral"}  # type: ignore[assignment]
    messages: list[Any] = []
    names = []
    before = served(house)
    for turn in range(40):
        messages.append({"role": "user", "content": f"What is the weather in town {turn}?"})
        answer = client.messages.create(
            model=model, max_tokens=400, system=system, tools=[WEATHER], messages=messages
        )
        call = next(block for block in answer.content if block.type == "tool_use")
        names.append(call.name)
        messages.append({"role": "assistant", "content": [b.model_dump() for b in answer.content]})
        result = {"type": "tool_result", "tool_use_id": call.id, "content": f"{turn} degrees"}
        messages.append({"role": "user", "content": [result]})
        messages.append({"role": "assistant", "content": "Noted."})
    assert names == ["get_weather"] * 40
    after = served(house)
    prompt = after["prompt_tokens"] - before["prompt_tokens"]
    cached = after["cached_tokens"] - before["cached_tokens"]
    assert cached > 0.6 * prompt


def test_thinking_and_its_signature_come_through_untouched(client: Anthropic, house: House) -> None:
    """A signed thought reaches the client, goes back, and pins the model."""
    asked: dict[str, Any] = {
        "model": DIRECT,
        "max_tokens": 3000,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    answer = client.messages.create(**asked, messages=ASK)
    thought = answer.content[0]
    assert thought.type == "thinking"
    assert thought.signature
    history = [
        *ASK,
        {"role": "assistant", "content": [block.model_dump() for block in answer.content]},
        {"role": "user", "content": "And now three lakes."},
    ]
    raw = client.messages.with_raw_response.create(**asked, messages=history)
    assert raw.headers["x-weir-model"] == DIRECT
    assert raw.parse().content[-1].type == "text"
    with client.messages.stream(**asked, messages=history) as stream:
        final = stream.get_final_message()
    assert final.content[0].type == "thinking"
    assert final.content[0].signature


def test_beta_headers_reach_the_provider_and_credentials_do_not(house: House) -> None:
    """What a beta names is passed on letter for letter; the client's key stays here."""
    with house.client() as http:
        told = http.post(
            "/v1/messages?beta=true",
            json={"model": DIRECT, "max_tokens": 50, "messages": ASK},
            headers={
                "anthropic-version": "2023-06-01",
                "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
            },
        )
    assert told.status_code == 200
    seen = get(house.provider.url + "/sim/headers").json()
    assert seen["anthropic-beta"] == "claude-code-20250219,interleaved-thinking-2025-05-14"
    assert seen["anthropic-version"] == "2023-06-01"
    assert house.key.secret not in json.dumps(seen)


@pytest.mark.parametrize("model", BOTH)
def test_counting_tokens_costs_nothing(client: Anthropic, house: House, model: str) -> None:
    """The count is the provider's where it offers one, else ours; nothing is booked."""
    before = house.totals()["requests"]
    counted = client.messages.count_tokens(model=model, messages=ASK, tools=[WEATHER])
    answer = client.messages.create(model=model, max_tokens=50, messages=ASK, tools=[WEATHER])
    assert counted.input_tokens == pytest.approx(answer.usage.input_tokens, abs=12)
    assert house.totals()["requests"] == int(str(before)) + 1


def test_models_are_listed_for_this_sdk_too(client: Anthropic) -> None:
    """GET /v1/models reads well in Anthropic's SDK."""
    assert {model.id for model in client.models.list()} >= {*BOTH, "auto"}


def test_errors_are_the_sdks_own_classes(client: Anthropic, house: House) -> None:
    """A bad key, an unknown model and a bad body are the SDK's own exceptions."""
    with pytest.raises(anthropic.NotFoundError, match="not declared"):
        client.messages.create(model="claude-nowhere", max_tokens=5, messages=ASK)
    with pytest.raises(anthropic.BadRequestError) as bad:
        client.messages.create(model=DIRECT, max_tokens=5, messages=[])
    assert bad.value.body["type"] == "error"  # type: ignore[index,call-overload]
    stranger = Anthropic(base_url=house.gateway.url, api_key="weir-nobody", max_retries=0)
    with stranger, pytest.raises(anthropic.AuthenticationError):
        stranger.messages.create(model=DIRECT, max_tokens=5, messages=ASK)


def test_a_refused_credential_of_ours_is_a_502_without_it(client: Anthropic, house: House) -> None:
    """The provider's 401 about our key names the setting, never the key."""
    with pytest.raises(anthropic.InternalServerError) as refused:
        client.messages.create(model="wrong", max_tokens=5, messages=ASK)
    assert refused.value.status_code == 502
    assert "api_key" in str(refused.value)
    assert "sk-wrong-secret" not in refused.value.response.text


def test_what_the_other_wire_cannot_say_is_refused(client: Anthropic) -> None:
    """A tool that only Anthropic runs is a 400 at an OpenAI model, before anything is sent."""
    with pytest.raises(anthropic.BadRequestError, match="web_search"):
        client.messages.create(
            model=CROSSED,
            max_tokens=50,
            messages=ASK,
            tools=[{"type": "web_search_20250305", "name": "web_search"}],
        )


def test_a_chat_client_reaches_an_anthropic_upstream(house: House) -> None:
    """OpenAI's SDK, streaming and whole, in front of the other provider's wire."""
    with OpenAI(base_url=house.gateway.url + "/v1", api_key=house.key.secret) as chat:
        whole = chat.chat.completions.create(model=DIRECT, messages=ASK)
        chunks = list(
            chat.chat.completions.create(
                model=DIRECT, messages=ASK, stream=True, stream_options={"include_usage": True}
            )
        )
    assert whole.choices[0].message.content
    assert whole.usage is not None
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_what_was_billed_is_what_the_provider_counted(house: House) -> None:
    """After all of it ledger and provider agree, nothing is held, nothing has leaked."""
    totals, provider = house.totals(), served(house)
    assert totals["prompt_tokens"] == provider["prompt_tokens"]
    assert totals["completion_tokens"] == provider["completion_tokens"]
    assert totals["open_holds"] == 0
    log = house.gateway.log.read_text()
    for secret in (SECRET, house.key.secret, "Paris", "Traceback"):
        assert secret not in log

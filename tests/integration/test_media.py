"""Pictures and sound through the real app, by OpenAI's SDK: bytes as they came, and the bill."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import openai
import pytest
from fakes import FaultServer, plain
from openai import OpenAI
from processes import House, Key, gateway, get, http, simulator

from gateway.simulator_media import wav

SECRET = "sk-media-secret"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One provider of pictures and sound behind one gateway."""
    folder = tmp_path_factory.mktemp("media")
    key, poor = Key.new(), Key.new()
    with simulator(folder, "--api-key", SECRET) as provider:
        config = f"""
database: sqlite:///{folder}/weir.db
upstreams:
  openai: {{ kind: openai, base_url: "{provider.url}/v1", api_key: {SECRET}, provider: openai }}
models:
  gpt-image-1.5: {{ upstream: openai }}
  painter: {{ upstream: openai, model: dall-e-3, price: {{ image: 0.04 }} }}
  dall-e-2: {{ upstream: openai }}
  tts-1: {{ upstream: openai }}
  gpt-4o-mini-tts: {{ upstream: openai }}
  whisper-1: {{ upstream: openai }}
  gpt-4o-transcribe: {{ upstream: openai }}
  mine: {{ upstream: openai, model: whisper-mine, free: true }}
routing: {{ baseline: gpt-image-1.5 }}
teams:
  t: {{ keys: [main], budget: 100 per month }}
  p: {{ keys: [poor], budget: 0.0001 per month, allow: [gpt-image-1.5, tts-1] }}
keys: {{ main: {key.hash}, poor: {poor.hash} }}
"""
        (folder / "poor").write_text(poor.secret)
        with gateway(folder, config) as running:
            yield House(provider, running, key, folder)


@pytest.fixture(scope="module")
def client(house: House) -> Iterator[OpenAI]:
    """The SDK in front of it."""
    url = house.gateway.url + "/v1"
    with OpenAI(base_url=url, api_key=house.key.secret, max_retries=0) as made:
        yield made


def bill(house: House, answer: Any) -> dict[str, Any]:
    """The receipt of a raw answer; its lines by component."""
    with house.client() as found:
        receipt = found.get(f"/weir/receipts/{answer.headers['x-weir-request-id']}").json()
    lines = {line["component"]: line["quantity"] for line in receipt["lines"]}
    return {**receipt, "lines": lines, "cost": Decimal(receipt["cost_usd"])}


def test_pictures_are_billed_by_the_tokens_that_are_reported(house: House, client: OpenAI) -> None:
    """Text in, pictures in and pictures out, each at its own rate."""
    raw = client.images.with_raw_response.generate(
        model="gpt-image-1.5", prompt="A weir in the morning.", n=2, size="1024x1024"
    )
    made = raw.parse()
    found = bill(house, raw)
    assert made.usage is not None
    assert found["lines"] == {"input": made.usage.input_tokens, "output_image": 544}
    assert found["cost"] == Decimal(5 * made.usage.input_tokens + 32 * 544) / 1_000_000
    assert raw.headers["x-weir-cost-usd"] == found["cost_usd"]
    edit = client.images.with_raw_response.edit(
        model="gpt-image-1.5", image=("a.png", PNG), prompt="Add a boat."
    )
    assert bill(house, edit)["lines"]["input_image"] == 100


def test_pictures_are_billed_by_the_picture_where_that_is_the_price(
    house: House, client: OpenAI
) -> None:
    """Two cost twice as much as one; the provider gets its own name for the model."""
    raw = client.images.with_raw_response.generate(model="painter", prompt="A weir.", n=2)
    assert bill(house, raw)["lines"] == {"image": 2}
    assert bill(house, raw)["cost"] == Decimal("0.08")
    changed = client.images.with_raw_response.create_variation(
        model="painter", image=("a.png", PNG)
    )
    assert bill(house, changed)["lines"] == {"image": 1}
    assert "dall-e-3" in get(house.provider.url + "/sim/served").json()["models"]


def test_streamed_pictures_are_billed_from_their_last_event(house: House, client: OpenAI) -> None:
    """Partial pictures go out as they come."""
    raw = client.images.with_raw_response.generate(
        model="gpt-image-1.5", prompt="A weir.", stream=True, partial_images=1
    )
    kinds = [event.type for event in raw.parse()]
    assert kinds == ["image_generation.partial_image", "image_generation.completed"]
    assert bill(house, raw)["lines"]["output_image"] == 272


def test_speech_is_billed_by_the_character_or_by_its_tokens(house: House, client: OpenAI) -> None:
    """Sound comes byte for byte; where no usage can come with it, an estimate says so."""
    text = "The pump was inspected on Monday, and it was fine."
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=text
    ) as raw:
        assert raw.read() == wav(len(text) / 15)
        assert raw.headers["content-type"] == "audio/wav"
    found = bill(house, raw)
    assert found["lines"] == {"character": len(text)}
    assert found["cost"] == Decimal(15 * len(text)) / 1_000_000
    assert found["usage_source"] == "provider"
    guessed = client.audio.speech.with_raw_response.create(
        model="gpt-4o-mini-tts", voice="alloy", input=text
    )
    assert bill(house, guessed)["usage_source"] == "estimated"
    assert bill(house, guessed)["cost"] > 0
    with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="alloy", input=text, stream_format="sse"
    ) as told:
        assert b"speech.audio.done" in told.read()
    assert bill(house, told)["lines"]["output_audio"] == int(len(text) / 15 * 10)


def test_transcripts_are_billed_by_the_second_or_by_tokens(house: House, client: OpenAI) -> None:
    """A form goes through byte for byte; text without usage is billed by the file's own length."""
    sound = ("a.wav", wav(12.5))
    raw = client.audio.transcriptions.with_raw_response.create(model="whisper-1", file=sound)
    assert raw.parse().text.startswith("The pump")
    assert bill(house, raw)["lines"] == {"second": 13}
    text = client.audio.transcriptions.with_raw_response.create(
        model="whisper-1", file=sound, response_format="text"
    )
    assert bill(house, text)["lines"] == {"second": 13}
    assert bill(house, text)["usage_source"] == "estimated"
    tokens = client.audio.transcriptions.with_raw_response.create(
        model="gpt-4o-transcribe", file=sound
    )
    assert bill(house, tokens)["lines"] == {"input_audio": 125, "output": 7}
    stream = client.audio.transcriptions.with_raw_response.create(
        model="gpt-4o-transcribe", file=sound, stream=True
    )
    assert [event.type for event in stream.parse()][-1] == "transcript.text.done"
    assert bill(house, stream)["lines"] == {"input_audio": 125, "output": 7}
    moved = client.audio.translations.with_raw_response.create(model="whisper-1", file=sound)
    assert bill(house, moved)["lines"] == {"second": 13}
    mine = client.audio.transcriptions.with_raw_response.create(model="mine", file=sound)
    assert bill(house, mine)["cost"] == 0


def test_what_has_no_price_or_no_room_is_refused_before_it_is_sent(
    house: House, client: OpenAI
) -> None:
    """402 for both; another model than the key's is 403, an unknown one 404."""
    before = get(house.provider.url + "/sim/served").json()["requests"]
    with pytest.raises(openai.APIStatusError) as unpriced:
        client.images.generate(model="dall-e-2", prompt="A weir.")
    assert (unpriced.value.status_code, unpriced.value.code) == (402, "price_missing")
    with pytest.raises(openai.NotFoundError):
        client.images.generate(model="nowhere", prompt="A weir.")
    with OpenAI(
        base_url=house.gateway.url + "/v1",
        api_key=(house.folder / "poor").read_text(),
        max_retries=0,
    ) as poor:
        with pytest.raises(openai.APIStatusError) as empty:
            poor.images.generate(model="gpt-image-1.5", prompt="A weir.")
        with pytest.raises(openai.PermissionDeniedError):
            poor.images.generate(model="painter", prompt="A weir.")
    assert (empty.value.status_code, empty.value.code) == (402, "budget_exhausted")
    with pytest.raises(openai.APIStatusError) as capped:
        client.images.generate(
            model="painter", prompt="A weir.", extra_headers={"x-weir-max-cost-usd": "0.01"}
        )
    assert capped.value.status_code == 402
    assert get(house.provider.url + "/sim/served").json()["requests"] == before


def test_a_repeated_key_gets_the_same_picture_and_one_bill(house: House, client: OpenAI) -> None:
    """Idempotency-Key holds for pictures, too."""
    headers = {"idempotency-key": "one-picture"}
    ask: Any = {"model": "painter", "prompt": "Once.", "extra_headers": headers}
    first = client.images.with_raw_response.generate(**ask)
    again = client.images.with_raw_response.generate(**ask)
    assert again.headers["x-weir-replayed"] == "true"
    assert again.headers["x-weir-request-id"] == first.headers["x-weir-request-id"]
    assert again.content == first.content


TWICE = (
    b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n'
    b"--x\r\ncontent-disposition: form-data; name=model\r\n\r\nb\r\n--x--\r\n"
)
BAD_FORMS = {
    "no boundary": (b"--x\r\n\r\n", "multipart/form-data"),
    "cut off": (b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\npainter', ""),
    "two models": (TWICE, ""),
    "no model": (b'--x\r\ncontent-disposition: form-data; name="n"\r\n\r\n1\r\n--x--\r\n', ""),
    "no head": (b"--x\r\nnothing\r\n--x--\r\n", ""),
    "not json": (b"{", "application/json"),
}


@pytest.mark.parametrize("why", BAD_FORMS)
def test_a_body_that_cannot_be_read_is_a_400(house: House, why: str) -> None:
    """Nothing is sent that two readers could understand differently."""
    body, kind = BAD_FORMS[why]
    headers = {"content-type": kind or "multipart/form-data; boundary=x"}
    with house.client(**headers) as found:
        answer = found.post("/v1/images/edits", content=body)
    assert answer.status_code == 400, answer.text


def test_a_provider_that_fails_is_charged_as_far_as_it_may_have_worked(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A refusal is free and comes as it came; a cut answer is charged at its hold."""
    folder, key = tmp_path_factory.mktemp("faulty"), Key.new()
    refusal = b'{"error":{"message":"no such size","type":"invalid_request_error"}}'
    faults = {
        "refused": plain(400, refusal),
        "broken": plain(500, b"oops"),
        "empty": plain(200, b'{"created":1,"data":[]}'),
    }
    with FaultServer(faults) as server:
        models = "\n".join(f"  {n}: {{ upstream: o, price: {{ image: 0.5 }} }}" for n in faults)
        config = f"""
database: sqlite:///{folder}/weir.db
upstreams: {{ o: {{ kind: openai, base_url: "{server.url}/v1", api_key: sk-f }} }}
models:
{models}
teams: {{ t: {{ keys: [main], budget: 100 per month }} }}
keys: {{ main: {key.hash} }}
"""
        with (
            gateway(folder, config) as running,
            http(running.url, authorization=f"Bearer {key.secret}") as found,
        ):
            ask = {"prompt": "x"}
            post = "/v1/images/generations"
            told = {name: found.post(post, json={"model": name, **ask}) for name in faults}
            receipts = found.get("/weir/receipts").json()["data"]
    assert told["refused"].content == refusal
    assert [told[name].status_code for name in faults] == [400, 502, 502]
    costs = {receipt["served_model"]: receipt["cost_usd"] for receipt in receipts}
    assert costs == {"refused": "0", "broken": "0", "empty": "0.5"}

"""The example server, as a client meets it: the official SDK, and raw HTTP where it must fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from served import LocalModel

pytestmark = [pytest.mark.local_model, pytest.mark.timeout(300)]

CAPITAL = "What is the capital of France? Answer with one word."
LONG: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Count from 1 to 400, one number a line."}],
    "temperature": 0,
    "max_tokens": 900,
}


@pytest.fixture
def client(local_model: LocalModel) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=local_model.url + "/v1", api_key="none", max_retries=0, timeout=200
    ) as made:
        yield made


def wait_until_free(url: str) -> float:
    """Seconds until a tiny request is answered."""
    begun = time.monotonic()
    tiny = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    while httpx.post(url + "/v1/chat/completions", json=tiny, timeout=200).status_code != 200:
        time.sleep(0.2)
    return time.monotonic() - begun


def test_it_answers_a_simple_question(client: OpenAI) -> None:
    """A whole reply is right, stops by itself, and its usage adds up."""
    reply = client.chat.completions.create(
        model="local-qwen", messages=[{"role": "user", "content": CAPITAL}], temperature=0
    )
    assert "Paris" in (reply.choices[0].message.content or "")
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert 0 < reply.usage.completion_tokens < 20 < reply.usage.prompt_tokens
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_a_stream_says_the_same_with_usage_at_its_end(client: OpenAI) -> None:
    """The pieces join to the whole reply; the last chunk has the same usage and no choice."""
    whole = client.chat.completions.create(
        model="local-qwen", messages=[{"role": "user", "content": "Name three rivers."}],
        temperature=0, max_tokens=24,
    )  # fmt: skip
    chunks = list(
        client.chat.completions.create(
            model="local-qwen", messages=[{"role": "user", "content": "Name three rivers."}],
            temperature=0, max_tokens=24, stream=True, stream_options={"include_usage": True},
        )
    )  # fmt: skip
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == whole.choices[0].message.content
    assert sum(bool(text) for text in texts) > 3
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:-1]] == [
        whole.choices[0].finish_reason
    ]


def test_stop_strings_and_limits_hold(client: OpenAI) -> None:
    """Text ends before a stop string; ``max_tokens`` ends a reply with ``length``."""
    ask = "Repeat exactly: one two three four five six"
    stopped = client.chat.completions.create(
        model="local-qwen", messages=[{"role": "user", "content": ask}], temperature=0,
        stop=["four"], max_tokens=40,
    )  # fmt: skip
    text = stopped.choices[0].message.content or ""
    assert "three" in text
    assert "four" not in text
    assert stopped.choices[0].finish_reason == "stop"
    short = client.chat.completions.create(
        model="local-qwen", messages=[{"role": "user", "content": ask}], max_tokens=2
    )
    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None
    assert short.usage.completion_tokens == 2


def test_a_seed_repeats_a_sample(client: OpenAI) -> None:
    """At temperature 1 the same seed gives the same reply."""
    said = {
        client.chat.completions.create(
            model="local-qwen", messages=[{"role": "user", "content": "Invent a word."}],
            temperature=1, seed=11, max_tokens=12,
        ).choices[0].message.content
        for _ in range(2)
    }  # fmt: skip
    assert len(said) == 1


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"messages', "not JSON"),
        (b"[]", "JSON object"),
        (b"{}", "messages"),
        (b'{"messages": [{"role": "king", "content": "x"}]}', "role"),
        (b'{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', "text only"),
        (b'{"messages": [{"role": "user", "content": "x"}], "temperature": "hot"}', "temperature"),
        (b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 0}', "max_tokens"),
        (b'{"messages": [{"role": "user", "content": "x"}], "n": 3}', "n must be 1"),
        (b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 99999999}', "window"),
    ],
)
def test_a_bad_request_is_told_why(local_model: LocalModel, body: bytes, says: str) -> None:
    """Status 400 with OpenAI's error object, and the process lives on."""
    reply = httpx.post(local_model.url + "/v1/chat/completions", content=body, timeout=30)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert says in error["message"]
    assert error["type"] == "invalid_request_error"
    assert httpx.get(local_model.url + "/healthz", timeout=10).json()["status"] == "ok"


def test_too_long_a_prompt_is_named_so(client: OpenAI) -> None:
    """A prompt beyond the window is 400 ``context_length_exceeded``."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="local-qwen", messages=[{"role": "user", "content": "word " * 40_000}]
        )
    assert caught.value.code == "context_length_exceeded"


def test_a_client_that_leaves_stops_the_generation(local_model: LocalModel) -> None:
    """After a broken stream, and after an abandoned plain request, the model is soon free."""
    url = local_model.url + "/v1/chat/completions"
    begun = time.monotonic()
    with httpx.stream("POST", url, json={**LONG, "stream": True}, timeout=100) as reply:
        for _, _line in zip(range(6), reply.iter_lines(), strict=False):
            pass
    wait_until_free(local_model.url)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url, json=LONG, timeout=3)
    wait_until_free(local_model.url)
    assert time.monotonic() - begun < 60  # writing either to its end takes minutes


def test_one_runs_one_waits_the_next_is_told_to_come_back(local_model: LocalModel) -> None:
    """With the model busy and the queue full the reply is 503 with Retry-After."""
    url = local_model.url + "/v1/chat/completions"
    leave = threading.Event()

    def occupy() -> None:
        with httpx.stream("POST", url, json={**LONG, "stream": True}, timeout=200) as reply:
            for _ in reply.iter_lines():
                if leave.is_set():
                    return

    threads = [threading.Thread(target=occupy) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while not httpx.get(local_model.url + "/healthz", timeout=10).json()["busy"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        refused = httpx.post(url, json=LONG, timeout=30)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "overloaded"
    finally:
        leave.set()
        for thread in threads:
            thread.join(timeout=100)
    wait_until_free(local_model.url)
    assert not any(thread.is_alive() for thread in threads)


def test_it_lists_its_model(client: OpenAI) -> None:
    """`GET /v1/models` names what is served."""
    assert [model.id for model in client.models.list()] == ["local-qwen"]

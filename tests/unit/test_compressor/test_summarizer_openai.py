"""Any OpenAI-wire endpoint can summarise, and no failure of it costs more than a summary."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from compressor.abstractive import PREFIX, Judge
from compressor.summarize import ExtractiveSummarizer
from compressor.summarizer_openai import Endpoint, OpenAISummarizer
from compressor.tokens import TokenCounter, load_counter

TEXT = (
    "The pump P-101 was stopped at 14:05. "
    + "People in the control room waited for a while. " * 12
    + "It was restarted at 15:40."
)
GOOD = "Pump P-101 stopped at 14:05 and restarted at 15:40."

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(scope="module")
def counter() -> TokenCounter:
    return load_counter("o200k_base")


def completion(content: object) -> httpx.Response:
    return httpx.Response(200, json={"choices": [{"message": {"content": content}}]})


def summarizer(handler: Handler, counter: TokenCounter, **options: float) -> OpenAISummarizer:
    endpoint = Endpoint("http://models.test/v1/", "small", "secret", **options)  # type: ignore[arg-type]
    client = httpx.Client(transport=httpx.MockTransport(handler))
    return OpenAISummarizer(endpoint, Judge(ExtractiveSummarizer(None, counter), counter), client)


def test_it_asks_as_the_wire_says(counter: TokenCounter) -> None:
    """One deterministic chat completion a text, with the key as bearer token."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return completion(GOOD)

    out = summarizer(handler, counter).summarize([TEXT, TEXT + " Later."], 60, "")
    assert out == [PREFIX + GOOD, PREFIX + GOOD]
    assert {str(request.url) for request in seen} == {"http://models.test/v1/chat/completions"}
    assert {request.headers["authorization"] for request in seen} == {"Bearer secret"}
    body = json.loads(seen[0].content)
    assert (body["model"], body["temperature"]) == ("small", 0)
    assert body["max_tokens"] >= 60
    assert TEXT in body["messages"][1]["content"]


def refused(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def slow(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("slow", request=request)


@pytest.mark.parametrize(
    "handler",
    [
        refused,
        slow,
        lambda _: httpx.Response(500, text="oops"),
        lambda _: httpx.Response(200, text="not json"),
        lambda _: httpx.Response(200, json={"choices": []}),
        lambda _: httpx.Response(200, json=[]),
        lambda _: completion(None),
        lambda _: completion("The pump P-999 exploded at 03:00."),
    ],
    ids=["refused", "slow", "500", "text", "no choice", "list", "null", "invented"],
)
def test_every_failure_is_an_extract(handler: Handler, counter: TokenCounter) -> None:
    """Whatever the endpoint does, each text gets its own sentences instead."""
    out = summarizer(handler, counter).summarize([TEXT], 40, "")
    assert out == ExtractiveSummarizer(None, counter).summarize([TEXT], 40, "")


def test_a_failure_costs_only_its_own_text(counter: TokenCounter) -> None:
    """The other texts of a call keep their summaries, in order."""

    def handler(request: httpx.Request) -> httpx.Response:
        broken = "BROKEN" in request.content.decode()
        return httpx.Response(503) if broken else completion(GOOD)

    out = summarizer(handler, counter).summarize([TEXT, "BROKEN. " + TEXT, TEXT], 60, "")
    assert [text == PREFIX + GOOD for text in out] == [True, False, True]


def test_after_the_deadline_nothing_more_is_asked(counter: TokenCounter) -> None:
    """With no time left every text is extracted and no request is made."""

    def handler(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"asked {request.url}")

    made = summarizer(handler, counter, deadline_s=0.0)
    assert made.summarize([TEXT], 40, "") == ExtractiveSummarizer(None, counter).summarize(
        [TEXT], 40, ""
    )
    assert made.summarize([], 40, "") == []


def test_an_unknown_host_is_an_extract(counter: TokenCounter) -> None:
    """With its own client and nobody listening it still answers, also after it was closed."""
    endpoint = Endpoint("http://127.0.0.1:9/v1", "small", timeout_s=1.0)
    made = OpenAISummarizer(endpoint, Judge(ExtractiveSummarizer(None, counter), counter))
    out = made.summarize([TEXT], 40, "")
    assert out == ExtractiveSummarizer(None, counter).summarize([TEXT], 40, "")
    made.close()
    assert made.summarize([TEXT], 40, "") == out
    made.close()
